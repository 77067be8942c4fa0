package queue

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math/bits"
	"sync/atomic"

	"github.com/gureum/gureum/kvm"
)

// MaxSize is the largest split ring (section 2.7).
const MaxSize = 32768

// ErrStopped is returned by Wait and Next after Stop.
var ErrStopped = errors.New("virtqueue is stopped")

// Error is a rule that the driver broke. The queue is broken from then on.
type Error struct {
	Queue int    // index of the queue
	What  string // what is wrong
}

func (e *Error) Error() string { return fmt.Sprintf("virtqueue %d: %s", e.Queue, e.What) }

// Config says where a queue lies and what the driver and the device agreed on.
type Config struct {
	// Index is the queue's number in its device.
	Index int
	// Size is the number of descriptors, a power of two up to MaxSize.
	Size uint16
	// Desc, Driver and Device are the GPAs of descriptor table, available ring
	// and used ring (section 2.7).
	Desc, Driver, Device uint64
	// EventIdx and Indirect tell that the feature was negotiated.
	EventIdx, Indirect bool
	// Kick is signalled when the driver notifies the queue. It outlives the
	// queue and belongs to the transport.
	Kick *kvm.EventFD
	// Interrupt raises the queue's interrupt.
	Interrupt func()
	// Broken is called once, when the driver breaks a rule.
	Broken func(error)
}

// Memory is the guest's RAM as queues see it; *memory.Memory is one.
type Memory interface {
	// Slice gives a view of the n bytes at gpa, or an error if not all of them
	// are RAM in one piece.
	Slice(gpa, n uint64) ([]byte, error)
	// Size is the amount of RAM in bytes.
	Size() uint64
}

// Queue is one virtqueue while its device is active.
type Queue struct {
	cfg  Config
	mem  Memory
	mask uint16

	desc  []byte // descriptor table
	avail []byte // available ring
	used  []byte // used ring

	nextAvail uint16 // next entry of the available ring to take
	nextUsed  uint16 // next entry of the used ring to write
	signalled uint16 // nextUsed at the last interrupt
	underWay  uint16 // chains taken and not yet given back
	broken    error
	stopped   atomic.Bool
	counters  counters
}

// Sizes in bytes of the three parts (section 2.7), events included.
const (
	descSize  = 16
	availHead = 4
	usedHead  = 4
	usedElem  = 8
	eventSize = 2
)

// New checks that the rings lie in guest memory, aligned and apart from one
// another, and makes the queue. Errors are *Error.
func New(m Memory, cfg Config) (*Queue, error) {
	q := &Queue{cfg: cfg, mem: m, mask: cfg.Size - 1}
	n := uint64(cfg.Size)
	if n == 0 || n > MaxSize || bits.OnesCount16(cfg.Size) != 1 {
		return nil, q.errorf("size %d is not a power of two up to %d", n, MaxSize)
	}
	parts := []struct {
		name             string
		view             *[]byte
		gpa, size, align uint64
	}{
		{"descriptor table", &q.desc, cfg.Desc, descSize * n, 16},
		{"available ring", &q.avail, cfg.Driver, availHead + 2*n + eventSize, 2},
		{"used ring", &q.used, cfg.Device, usedHead + usedElem*n + eventSize, 4},
	}
	for i, p := range parts {
		if p.gpa%p.align != 0 {
			return nil, q.errorf("%s at %#x is not aligned to %d bytes", p.name, p.gpa, p.align)
		}
		view, err := m.Slice(p.gpa, p.size)
		if err != nil {
			return nil, q.errorf("%s: %v", p.name, err)
		}
		for _, o := range parts[:i] {
			if p.gpa < o.gpa+o.size && o.gpa < p.gpa+p.size {
				return nil, q.errorf("%s overlaps the %s", p.name, o.name)
			}
		}
		*p.view = view
	}
	return q, nil
}

func (q *Queue) errorf(format string, args ...any) error {
	return &Error{Queue: q.cfg.Index, What: fmt.Sprintf(format, args...)}
}

// fail breaks the queue.
func (q *Queue) fail(format string, args ...any) error {
	if q.broken == nil {
		q.broken = q.errorf(format, args...)
		q.counters.errors.Add(1)
		if q.cfg.Broken != nil {
			q.cfg.Broken(q.broken)
		}
	}
	return q.broken
}

// Fail breaks the queue for a reason that the device found, such as a request
// that no answer can be written to.
func (q *Queue) Fail(err error) error { return q.fail("%v", err) }

// Index is the queue's number in its device.
func (q *Queue) Index() int { return q.cfg.Index }

// Size is the number of descriptors.
func (q *Queue) Size() uint16 { return q.cfg.Size }

// Config is what New got: addresses for a back end in the kernel (vhost).
func (q *Queue) Config() Config { return q.cfg }

// Stop ends Wait and Next for good. It may be called from any goroutine.
func (q *Queue) Stop() {
	q.stopped.Store(true)
	q.Kick()
}

// Kick wakes the owner as if the driver had notified the queue: for work that
// arrived from elsewhere.
func (q *Queue) Kick() { _ = q.cfg.Kick.Signal() }

// Wait parks the owner until the driver kicks. It returns ErrStopped after Stop,
// and the queue's error for as long as it is broken, once Stop was called.
func (q *Queue) Wait() error {
	if q.stopped.Load() {
		return ErrStopped
	}
	if _, err := q.cfg.Kick.Read(); err != nil {
		return err
	}
	if q.stopped.Load() {
		return ErrStopped
	}
	q.counters.kicks.Add(1)
	return nil
}

// Next takes the next request that the driver made available and puts it into c,
// whose slices are used again. It gives false when there is none, or when the
// queue is stopped or broken (then with an error).
func (q *Queue) Next(c *Chain) (bool, error) {
	if q.stopped.Load() {
		return false, ErrStopped
	}
	if q.broken != nil {
		return false, q.broken
	}
	// An acquiring load: what the driver wrote to ring, descriptors and buffers
	// before it stored the index is seen after it.
	idx := load16(q.avail[2:])
	waiting := idx - q.nextAvail
	if waiting == 0 {
		return false, nil
	}
	if waiting > q.cfg.Size {
		return false, q.fail("available index %d is %d ahead, more than the queue's size %d", idx, waiting, q.cfg.Size)
	}
	// A driver that never waits for its chains could have any number of them under
	// way; an honest one has at most as many as there are descriptors.
	if q.underWay >= q.cfg.Size {
		return false, q.fail("more chains made available than the queue's size %d, none of them given back", q.cfg.Size)
	}
	head := binary.LittleEndian.Uint16(q.avail[availHead+2*int(q.nextAvail&q.mask):])
	if err := q.collect(c, head); err != nil {
		return false, err
	}
	q.nextAvail++
	q.underWay++
	q.counters.chains.Add(1)
	q.counters.bytesOut.Add(c.ReadLen)
	return true, nil
}

// Unget puts back the last chain that Next gave; Next will give it again.
func (q *Queue) Unget() {
	q.nextAvail--
	q.underWay--
}

// Put gives a chain back to the driver, written being the number of bytes that
// the device wrote to the start of its writable part. Interrupts come with Flush.
func (q *Queue) Put(head uint16, written uint32) {
	q.write(q.nextUsed, head, written)
	q.publish(q.nextUsed + 1)
}

// write fills an entry of the used ring.
func (q *Queue) write(i, head uint16, written uint32) {
	elem := q.used[usedHead+usedElem*int(i&q.mask):][:usedElem]
	binary.LittleEndian.PutUint32(elem[0:], uint32(head))
	binary.LittleEndian.PutUint32(elem[4:], written)
	q.counters.bytesIn.Add(uint64(written))
}

// publish shows the driver all entries up to next. It is a releasing store: entries
// and buffers are visible before the index.
func (q *Queue) publish(next uint16) {
	q.underWay -= next - q.nextUsed
	q.nextUsed = next
	store16(q.used[2:], next)
}

// Flush raises an interrupt if the driver wants one for what was Put since the
// last (section 2.7.7 and 2.7.10).
func (q *Queue) Flush() {
	if q.nextUsed == q.signalled {
		return
	}
	old := q.signalled
	q.signalled = q.nextUsed
	// The used index must be visible before the driver's wish is read: x86 may do a
	// load before an earlier store. The driver does it the other way round.
	fence()
	if !q.wanted(old) {
		q.counters.suppressed.Add(1)
		return
	}
	q.counters.interrupts.Add(1)
	q.cfg.Interrupt()
}

// noInterrupt is VIRTQ_AVAIL_F_NO_INTERRUPT, noNotify VIRTQ_USED_F_NO_NOTIFY.
const (
	noInterrupt = 1
	noNotify    = 1
)

func (q *Queue) wanted(old uint16) bool {
	if !q.cfg.EventIdx {
		return load16(q.avail[0:])&noInterrupt == 0
	}
	event := load16(q.avail[availHead+2*int(q.cfg.Size):])
	return q.nextUsed-event-1 < q.nextUsed-old
}

// DisableKicks asks the driver not to notify: the owner is awake and looks.
func (q *Queue) DisableKicks() {
	if !q.cfg.EventIdx {
		store16(q.used[0:], noNotify)
	}
	// With EVENT_IDX an avail_event that is never reached does it: it stays where
	// it is, behind nextAvail.
}

// EnableKicks asks for notifications and tells whether requests came in the
// meantime: then the owner goes on instead of waiting.
func (q *Queue) EnableKicks() (more bool) {
	if q.cfg.EventIdx {
		store16(q.used[usedHead+usedElem*int(q.cfg.Size):], q.nextAvail)
	} else {
		store16(q.used[0:], 0)
	}
	// A load may overtake a store on x86. With the barrier either the driver sees
	// the wish, or we see its index.
	fence()
	return load16(q.avail[2:]) != q.nextAvail
}

// Drain handles all chains that are there, with notifications switched off in
// the meantime, and raises an interrupt if one is due. handle returns the number
// of bytes it wrote; an error breaks the queue.
func (q *Queue) Drain(c *Chain, handle func(*Chain) (uint32, error)) error {
	for {
		q.DisableKicks()
		for {
			ok, err := q.Next(c)
			if err != nil {
				return err
			}
			if !ok {
				break
			}
			n, err := handle(c)
			if err != nil {
				return q.Fail(err)
			}
			q.Put(c.Head, n)
		}
		q.Flush()
		if !q.EnableKicks() {
			return nil
		}
	}
}

// Serve waits for requests and handles them until Stop: the loop of a device
// that answers at once. After an error the queue stays silent until then.
func (q *Queue) Serve(handle func(*Chain) (uint32, error)) {
	var c Chain
	// Requests may have come before the queue had an owner.
	_ = q.Drain(&c, handle)
	for q.Wait() == nil {
		_ = q.Drain(&c, handle)
	}
}
