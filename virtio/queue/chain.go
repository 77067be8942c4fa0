package queue

import "encoding/binary"

// Chain is one request: views of guest memory, first what the device may read,
// then what it may write. The guest can change the bytes at any time, so what is
// checked must be copied out first.
type Chain struct {
	// Head names the chain when it is given back.
	Head uint16
	// Readable and Writable are the chain's parts in order; none is empty.
	Readable, Writable [][]byte
	// ReadLen and WriteLen are the sums of their lengths.
	ReadLen, WriteLen uint64
}

// Descriptor flags (section 2.7.5).
const (
	flagNext     = 1
	flagWrite    = 2
	flagIndirect = 4
)

type descriptor struct {
	addr  uint64
	size  uint32
	flags uint16
	next  uint16
}

// descAt copies descriptor i out of a table. Each word is read from guest memory
// once (a Go compiler never reads again what it has read, see the memory model), so
// the guest cannot change what was checked.
func descAt(table []byte, i uint16) descriptor {
	b := table[int(i)*descSize:][:descSize]
	low, high := binary.LittleEndian.Uint64(b), binary.LittleEndian.Uint64(b[8:])
	return descriptor{addr: low, size: uint32(high), flags: uint16(high >> 32), next: uint16(high >> 48)}
}

// collect walks the chain that starts at head, and gives it back as c.
//
// A chain has at most as many buffers as Config.MaxChain, those of an indirect table
// included (section 2.7.5.3.1); that ends loops as well. Normal descriptors may
// come before the indirect one (section 2.7.5.3.2), which does not count itself.
func (q *Queue) collect(c *Chain, head uint16) error {
	c.Head = head
	c.Readable, c.Writable = c.Readable[:0], c.Writable[:0]
	c.ReadLen, c.WriteLen = 0, 0
	table, limit := q.desc, uint32(q.cfg.Size)
	i, nested, writing := head, false, false
	for left := q.cfg.MaxChain; ; left-- {
		if uint32(i) >= limit {
			return q.fail("descriptor %d of a table of %d", i, limit)
		}
		d := descAt(table, i)
		if d.flags&flagIndirect != 0 {
			view, err := q.indirect(d, nested)
			if err != nil {
				return err
			}
			table, limit, nested = view, uint32(len(view)/descSize), true
			d = descAt(table, 0)
			if d.flags&flagIndirect != 0 {
				return q.fail("indirect descriptor in an indirect table")
			}
		}
		if left == 0 {
			return q.fail("chain %d has more than %d descriptors, or a loop", head, q.cfg.MaxChain)
		}
		if d.flags&flagWrite != 0 {
			writing = true
		} else if writing {
			return q.fail("a readable descriptor behind a writable one") // section 2.7.4.2
		}
		if err := q.add(c, d, writing); err != nil {
			return err
		}
		if d.flags&flagNext == 0 {
			return nil
		}
		i = d.next
	}
}

// indirect gives the table that d refers to. Whether d is for reading or writing
// is ignored (section 2.7.5.3.2).
func (q *Queue) indirect(d descriptor, nested bool) ([]byte, error) {
	switch {
	case !q.cfg.Indirect:
		return nil, q.fail("indirect descriptor without VIRTIO_F_INDIRECT_DESC")
	case nested:
		return nil, q.fail("indirect descriptor in an indirect table")
	case d.flags&flagNext != 0:
		return nil, q.fail("indirect descriptor with a next one")
	case d.size == 0 || d.size%descSize != 0:
		return nil, q.fail("indirect table of %d bytes", d.size)
	}
	view, err := q.mem.Slice(d.addr, uint64(d.size))
	if err != nil {
		return nil, q.fail("indirect table: %v", err)
	}
	return view, nil
}

// add appends one buffer. One without bytes is legal and left out, wherever it says
// that it lies. Buffers may overlap: a guest may well send one page many times. But
// what a chain has in all is bounded by the size of RAM, and by 4 GiB (section
// 2.7.5.2), so that no device believes in more data than there can be.
func (q *Queue) add(c *Chain, d descriptor, write bool) error {
	if d.size == 0 {
		return nil
	}
	view, err := q.mem.Slice(d.addr, uint64(d.size))
	if err != nil {
		return q.fail("buffer: %v", err)
	}
	if write {
		c.Writable = append(c.Writable, view)
		c.WriteLen += uint64(d.size)
	} else {
		c.Readable = append(c.Readable, view)
		c.ReadLen += uint64(d.size)
	}
	if total := c.ReadLen + c.WriteLen; total > q.maxBytes {
		return q.fail("chain of %d bytes, more than there is memory: its buffers overlap", total)
	}
	return nil
}

// Read copies the readable part, from its start, and returns how much there was.
func (c *Chain) Read(p []byte) int { return c.ReadAt(p, 0) }

// ReadAt copies from the readable part, off bytes in.
func (c *Chain) ReadAt(p []byte, off uint64) int {
	n := 0
	for _, b := range c.Readable {
		if off >= uint64(len(b)) {
			off -= uint64(len(b))
			continue
		}
		n += copy(p[n:], b[off:])
		off = 0
		if n == len(p) {
			break
		}
	}
	return n
}

// WriteAt copies p to the writable part, off bytes in, and returns how much fitted.
func (c *Chain) WriteAt(p []byte, off uint64) int {
	n := 0
	for _, b := range c.Writable {
		if off >= uint64(len(b)) {
			off -= uint64(len(b))
			continue
		}
		n += copy(b[off:], p[n:])
		off = 0
		if n == len(p) {
			break
		}
	}
	return n
}
