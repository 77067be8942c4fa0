package memory

import (
	"encoding/binary"
	"fmt"
)

// AccessError is an access that does not lie wholly in guest RAM.
type AccessError struct {
	GPA uint64 // first byte
	Len uint64 // bytes
}

func (e *AccessError) Error() string {
	return fmt.Sprintf("access of %d bytes at guest address %#x: not in RAM", e.Len, e.GPA)
}

// find returns the n bytes at gpa if they lie in one region. The arithmetic is
// done on offsets into a region and cannot overflow.
func (m *Memory) find(gpa, n uint64) []byte {
	blocks := m.blocks()
	for i := range blocks {
		b := &blocks[i]
		off, size := gpa-b.gpa, uint64(len(b.mem))
		if gpa >= b.gpa && off <= size && n <= size-off {
			return b.mem[off : off+n : off+n]
		}
	}
	return nil
}

// bad is the error for an access that find refused.
func (m *Memory) bad(gpa, n uint64) error {
	if m.blocks() == nil {
		return ErrClosed
	}
	return &AccessError{GPA: gpa, Len: n}
}

// Contains tells whether the n bytes at gpa are RAM of one region. No bytes are
// contained everywhere from a region's start up to and including its end.
func (m *Memory) Contains(gpa, n uint64) bool { return m.find(gpa, n) != nil }

// Slice returns the n bytes at gpa, which must lie in one region, as a view of
// the RAM: a running guest may change it at any time, so what is checked must be
// copied out first. It is valid until Close.
func (m *Memory) Slice(gpa, n uint64) ([]byte, error) {
	if s := m.find(gpa, n); s != nil {
		return s, nil
	}
	return nil, m.bad(gpa, n)
}

// Iovecs appends views of the n bytes at gpa to dst. In contrast to Slice the
// range may run on into a region that starts where another ends. On error dst is
// returned unchanged.
func (m *Memory) Iovecs(dst [][]byte, gpa, n uint64) ([][]byte, error) {
	if s := m.find(gpa, n); s != nil {
		return append(dst, s), nil
	}
	blocks, at, left, kept := m.blocks(), gpa, n, len(dst)
	for i := range blocks {
		b := &blocks[i]
		off, size := at-b.gpa, uint64(len(b.mem))
		if at < b.gpa || off >= size {
			continue
		}
		take := min(left, size-off)
		dst = append(dst, b.mem[off:off+take:off+take])
		if left -= take; left == 0 {
			return dst, nil
		}
		at += take
	}
	clear(dst[kept:])
	return dst[:kept], m.bad(gpa, n)
}

// ReadAt fills p from the RAM at gpa. Nothing is read if not all of it is RAM of
// one region.
func (m *Memory) ReadAt(p []byte, gpa uint64) error {
	s := m.find(gpa, uint64(len(p)))
	if s == nil {
		return m.bad(gpa, uint64(len(p)))
	}
	copy(p, s)
	return nil
}

// WriteAt copies p to the RAM at gpa. Nothing is written if not all of it is RAM
// of one region.
func (m *Memory) WriteAt(p []byte, gpa uint64) error {
	s := m.find(gpa, uint64(len(p)))
	if s == nil {
		return m.bad(gpa, uint64(len(p)))
	}
	copy(s, p)
	return nil
}

// ReadU16 reads a little-endian value; one atomic load if gpa is a multiple of 2.
func (m *Memory) ReadU16(gpa uint64) (uint16, error) {
	s := m.find(gpa, 2)
	if s == nil {
		return 0, m.bad(gpa, 2)
	}
	if gpa%2 != 0 {
		return binary.LittleEndian.Uint16(s), nil
	}
	return load16(s), nil
}

// ReadU32 reads a little-endian value; one atomic load if gpa is a multiple of 4.
func (m *Memory) ReadU32(gpa uint64) (uint32, error) {
	s := m.find(gpa, 4)
	if s == nil {
		return 0, m.bad(gpa, 4)
	}
	if gpa%4 != 0 {
		return binary.LittleEndian.Uint32(s), nil
	}
	return load32(s), nil
}

// ReadU64 reads a little-endian value; one atomic load if gpa is a multiple of 8.
func (m *Memory) ReadU64(gpa uint64) (uint64, error) {
	s := m.find(gpa, 8)
	if s == nil {
		return 0, m.bad(gpa, 8)
	}
	if gpa%8 != 0 {
		return binary.LittleEndian.Uint64(s), nil
	}
	return load64(s), nil
}

// WriteU16 writes a little-endian value; one atomic store, and a full barrier
// behind it, if gpa is a multiple of 2.
func (m *Memory) WriteU16(gpa uint64, v uint16) error {
	s := m.find(gpa, 2)
	if s == nil {
		return m.bad(gpa, 2)
	}
	if gpa%2 != 0 {
		binary.LittleEndian.PutUint16(s, v)
		return nil
	}
	store16(s, v)
	return nil
}

// WriteU32 writes a little-endian value; one atomic store, and a full barrier
// behind it, if gpa is a multiple of 4.
func (m *Memory) WriteU32(gpa uint64, v uint32) error {
	s := m.find(gpa, 4)
	if s == nil {
		return m.bad(gpa, 4)
	}
	if gpa%4 != 0 {
		binary.LittleEndian.PutUint32(s, v)
		return nil
	}
	store32(s, v)
	return nil
}

// WriteU64 writes a little-endian value; one atomic store, and a full barrier
// behind it, if gpa is a multiple of 8.
func (m *Memory) WriteU64(gpa uint64, v uint64) error {
	s := m.find(gpa, 8)
	if s == nil {
		return m.bad(gpa, 8)
	}
	if gpa%8 != 0 {
		binary.LittleEndian.PutUint64(s, v)
		return nil
	}
	store64(s, v)
	return nil
}
