package virtiotest

import (
	"encoding/binary"
	"runtime"
	"time"

	"github.com/gureum/gureum/virtio"
)

// Descriptor is a descriptor as the driver writes it (section 2.7.5).
type Descriptor struct {
	Addr  uint64
	Len   uint32
	Flags uint16
	Next  uint16
}

// Flags of a Descriptor.
const (
	FlagNext     = 1
	FlagWrite    = 2
	FlagIndirect = 4
)

// Queue is the driver's side of a split virtqueue.
type Queue struct {
	// Desc, Avail and Used are the GPAs of its parts.
	Desc, Avail, Used uint64
	// Size is the number of descriptors.
	Size uint16
	// Indirect makes Submit put each chain into an indirect table.
	Indirect bool

	d        *Driver
	index    int
	end      uint64
	free     []uint16
	avail    uint16 // next index to publish
	seen     uint16 // used index up to which Wait has looked
	inFlight map[uint16]*Request
}

// Request is one chain on its way to the device and back.
type Request struct {
	// Head is its first descriptor.
	Head     uint16
	descs    []uint16
	writable [][]byte
	done     bool
	written  uint32
}

// Writable is the i-th part that the device could write.
func (r *Request) Writable(i int) []byte { return r.writable[i] }

// AllWritable is a copy of all that the device could write, in one piece.
func (r *Request) AllWritable() []byte {
	var all []byte
	for _, w := range r.writable {
		all = append(all, w...)
	}
	return all
}

const descSize = 16

func newQueue(d *Driver, n int, size uint16, base uint64) *Queue {
	q := &Queue{d: d, index: n, Size: size, inFlight: map[uint16]*Request{}}
	s := uint64(size)
	q.Desc = (base + 15) &^ 15
	q.Avail = q.Desc + descSize*s
	q.Used = (q.Avail + 6 + 2*s + 3) &^ 3
	q.end = (q.Used + 6 + 8*s + 4095) &^ 4095
	if view, err := d.Memory.Slice(q.Desc, q.end-q.Desc); err == nil {
		clear(view)
	}
	for i := range size {
		q.free = append(q.free, size-1-i)
	}
	return q
}

// enable writes the queue's registers.
func (q *Queue) enable() {
	c, n := q.d.Core, q.index
	c.SetQueueSize(n, q.Size)
	for part, gpa := range map[virtio.Part]uint64{
		virtio.PartDesc: q.Desc, virtio.PartDriver: q.Avail, virtio.PartDevice: q.Used,
	} {
		c.SetQueueAddr(n, part, false, uint32(gpa))
		c.SetQueueAddr(n, part, true, uint32(gpa>>32))
	}
	c.SetQueueEnabled(n, true)
}

// WriteDesc writes descriptor i of the queue's table.
func (q *Queue) WriteDesc(i uint16, d Descriptor) { q.writeDesc(q.Desc+descSize*uint64(i), d) }

func (q *Queue) writeDesc(gpa uint64, d Descriptor) {
	var b [descSize]byte
	binary.LittleEndian.PutUint64(b[0:], d.Addr)
	binary.LittleEndian.PutUint32(b[8:], d.Len)
	binary.LittleEndian.PutUint16(b[12:], d.Flags)
	binary.LittleEndian.PutUint16(b[14:], d.Next)
	_ = q.d.Memory.WriteAt(b[:], gpa)
}

// Publish makes the chain at head available, without a kick.
func (q *Queue) Publish(head uint16) {
	_ = q.d.Memory.WriteU16(q.Avail+4+2*uint64(q.avail%q.Size), head)
	q.avail++
	_ = q.d.Memory.WriteU16(q.Avail+2, q.avail)
}

// SetAvailIndex writes the index of the available ring, whatever it was.
func (q *Queue) SetAvailIndex(v uint16) {
	q.avail = v
	_ = q.d.Memory.WriteU16(q.Avail+2, v)
}

// UsedIndex is the device's index into the used ring.
func (q *Queue) UsedIndex() uint16 {
	v, _ := q.d.Memory.ReadU16(q.Used + 2)
	return v
}

// Kick notifies the device.
func (q *Queue) Kick() { _ = q.d.kicks[q.index].Signal() }

// Submit makes a chain available: readable parts with their contents, then
// writable ones of the given lengths. It does not kick.
func (q *Queue) Submit(readable [][]byte, writable ...int) *Request {
	q.d.t.Helper()
	r := &Request{}
	parts := make([]Descriptor, 0, len(readable)+len(writable))
	for _, b := range readable {
		gpa, view := q.d.Alloc(len(b))
		copy(view, b)
		parts = append(parts, Descriptor{Addr: gpa, Len: uint32(len(b))})
	}
	for _, n := range writable {
		gpa, view := q.d.Alloc(n)
		r.writable = append(r.writable, view)
		parts = append(parts, Descriptor{Addr: gpa, Len: uint32(n), Flags: FlagWrite})
	}
	if q.Indirect {
		parts = []Descriptor{q.table(parts)}
	}
	if len(parts) == 0 || len(parts) > len(q.free) {
		q.d.t.Fatalf("queue %d: %d descriptors wanted, %d are free", q.index, len(parts), len(q.free))
	}
	for range parts {
		last := len(q.free) - 1
		r.descs = append(r.descs, q.free[last])
		q.free = q.free[:last]
	}
	for i, p := range parts {
		if i < len(parts)-1 {
			p.Flags |= FlagNext
			p.Next = r.descs[i+1]
		}
		q.WriteDesc(r.descs[i], p)
	}
	r.Head = r.descs[0]
	q.inFlight[r.Head] = r
	q.Publish(r.Head)
	return r
}

// table writes parts to an indirect table and gives the descriptor of it.
func (q *Queue) table(parts []Descriptor) Descriptor {
	gpa, _ := q.d.Alloc(descSize * len(parts))
	for i, p := range parts {
		if i < len(parts)-1 {
			p.Flags |= FlagNext
			p.Next = uint16(i + 1)
		}
		q.writeDesc(gpa+descSize*uint64(i), p)
	}
	return Descriptor{Addr: gpa, Len: uint32(descSize * len(parts)), Flags: FlagIndirect}
}

// Done tells whether the device has given r back.
func (q *Queue) Done(r *Request) bool {
	q.reap()
	return r.done
}

// Wait waits for the device to give r back and returns how many bytes it says it
// has written. It polls, so that it works without interrupts as well.
func (q *Queue) Wait(r *Request) uint32 {
	q.d.t.Helper()
	for end, n := time.Now().Add(Timeout), 0; !q.Done(r); n++ {
		if time.Now().After(end) {
			q.d.t.Fatalf("queue %d: request %d did not come back in %s (device status %#x)", q.index, r.Head, Timeout, q.d.Core.Status())
		}
		// A goroutine that only yields keeps the runtime from looking for the kick.
		if n < 10 {
			runtime.Gosched()
		} else {
			time.Sleep(10 * time.Microsecond)
		}
	}
	return r.written
}

// Do submits, kicks and waits.
func (q *Queue) Do(readable [][]byte, writable ...int) (*Request, uint32) {
	q.d.t.Helper()
	r := q.Submit(readable, writable...)
	q.Kick()
	return r, q.Wait(r)
}

// reap takes what the device has given back.
func (q *Queue) reap() {
	q.d.t.Helper()
	idx := q.UsedIndex()
	for q.seen != idx {
		at := q.Used + 4 + 8*uint64(q.seen%q.Size)
		id, _ := q.d.Memory.ReadU32(at)
		written, _ := q.d.Memory.ReadU32(at + 4)
		q.seen++
		r := q.inFlight[uint16(id)]
		if r == nil || id > 0xFFFF {
			q.d.t.Fatalf("queue %d: the device gave back %d, which is not under way", q.index, id)
		}
		delete(q.inFlight, r.Head)
		r.done, r.written = true, written
		q.free = append(q.free, r.descs...)
	}
	// Interrupts for what comes next (section 2.7.10).
	_ = q.d.Memory.WriteU16(q.Avail+4+2*uint64(q.Size), q.seen)
}
