package queue

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math"
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
	// MaxChain is the largest number of descriptors of a chain; 0 is Size. A driver
	// may choose a smaller Size than the device offered and still make indirect
	// tables as long as the device's largest: Linux does.
	MaxChain uint16
	// Start is where the queue goes on; the zero value for a fresh one.
	Start State
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

	nextAvail uint16   // next entry of the available ring to take
	nextUsed  uint16   // next entry of the used ring to write
	signalled uint16   // nextUsed at the last interrupt
	last      uint16   // head that Next gave last, for Unget
	underWay  int      // chains taken and not yet given back
	held      []uint64 // a bit for each head that is under way
	room      []uint32 // by head: how much the chain under way can take, in bytes
	maxBytes  uint64   // of a chain
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
	if cfg.MaxChain == 0 {
		cfg.MaxChain = cfg.Size
	}
	q := &Queue{
		cfg: cfg, mem: m, mask: cfg.Size - 1, maxBytes: min(m.Size(), math.MaxUint32),
		nextAvail: cfg.Start.NextAvail, nextUsed: cfg.Start.NextUsed, signalled: cfg.Start.Signalled,
	}
	n := uint64(cfg.Size)
	if n == 0 || n > MaxSize || bits.OnesCount16(cfg.Size) != 1 {
		return nil, q.errorf("size %d is not a power of two up to %d", n, MaxSize)
	}
	views := [...]*[]byte{&q.desc, &q.avail, &q.used}
	parts := cfg.parts()
	for i, p := range parts {
		if p.gpa%p.align != 0 {
			return nil, q.errorf("%s at %#x is not aligned to %d bytes", p.name, p.gpa, p.align)
		}
		view, err := m.Slice(p.gpa, p.size)
		if err != nil {
			return nil, q.errorf("%s: %v", p.name, err)
		}
		for _, o := range parts[:i] {
			if p.overlaps(o) {
				return nil, q.errorf("%s overlaps the %s", p.name, o.name)
			}
		}
		*views[i] = view
	}
	q.held = make([]uint64, (n+63)/64)
	q.room = make([]uint32, n)
	return q, nil
}

func (q *Queue) errorf(format string, args ...any) error {
	return &Error{Queue: q.cfg.Index, What: fmt.Sprintf(format, args...)}
}

// fail breaks the queue. The driver still hears of what was Put before.
func (q *Queue) fail(format string, args ...any) error {
	if q.broken == nil {
		q.Flush()
		q.broken = q.errorf(format, args...)
		q.counters.errors.add(1)
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

// Wait parks the owner until the driver kicks, be the queue broken or not. It
// returns ErrStopped after Stop.
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
	q.counters.kicks.add(1)
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
	head := binary.LittleEndian.Uint16(q.avail[availHead+2*int(q.nextAvail&q.mask):])
	if err := q.collect(c, head); err != nil {
		return false, err
	}
	// A descriptor that is under way is the device's (section 2.7.13). Were a head
	// let in again, a guest could have any number of requests under way, and devices
	// could not tell them apart.
	bit := uint64(1) << (head & 63)
	if q.held[head>>6]&bit != 0 {
		return false, q.fail("chain %d made available again while it is under way", head)
	}
	q.held[head>>6] |= bit
	q.room[head] = uint32(c.WriteLen) // at most maxBytes
	q.last = head
	q.nextAvail++
	q.underWay++
	q.counters.chains.add(1)
	q.counters.bytesOut.add(c.ReadLen)
	return true, nil
}

// Unget puts back the chain that Next gave last, once; Next will give it again. The
// driver may have changed it by then, so what was read of it must be forgotten.
func (q *Queue) Unget() {
	q.nextAvail--
	q.underWay--
	q.held[q.last>>6] &^= 1 << (q.last & 63)
}

// UnderWay is the number of chains taken and not yet given back, for the owner.
func (q *Queue) UnderWay() int { return q.underWay }

// quiet tells that nothing may be written to the rings any more: the driver may
// have other uses for their memory, or has been told to reset the device.
func (q *Queue) quiet() bool { return q.broken != nil || q.stopped.Load() }

// Put gives a chain back to the driver, written being the number of bytes that
// the device wrote to the start of its writable part. Interrupts come with Flush.
// On a stopped or broken queue it does nothing.
func (q *Queue) Put(head uint16, written uint32) {
	if !q.quiet() && q.write(q.nextUsed, head, written) {
		q.publish(q.nextUsed + 1)
	}
}

// write fills an entry of the used ring. It gives false, and the queue is broken,
// if head is not under way, or the chain has no room for so many bytes: a fault of
// the device.
func (q *Queue) write(i, head uint16, written uint32) bool {
	bit := uint64(1) << (head & 63)
	if head >= q.cfg.Size || q.held[head>>6]&bit == 0 {
		q.counters.faults.add(1)
		_ = q.fail("the device gave back chain %d, which is not under way", head)
		return false
	}
	if written > q.room[head] {
		q.counters.faults.add(1)
		_ = q.fail("the device says that it wrote %d bytes to chain %d, which has room for %d", written, head, q.room[head])
		return false
	}
	q.held[head>>6] &^= bit
	elem := q.used[usedHead+usedElem*int(i&q.mask):][:usedElem]
	binary.LittleEndian.PutUint64(elem, uint64(head)|uint64(written)<<32)
	q.counters.bytesIn.add(uint64(written))
	return true
}

// publish shows the driver all entries up to next. It is a releasing store: entries
// and buffers are visible before the index.
func (q *Queue) publish(next uint16) {
	q.underWay -= int(next - q.nextUsed)
	q.nextUsed = next
	store16(q.used[2:], next)
}

// Flush raises an interrupt if the driver wants one for what was Put since the
// last (section 2.7.7 and 2.7.10).
func (q *Queue) Flush() {
	if q.nextUsed == q.signalled || q.quiet() {
		return
	}
	old := q.signalled
	q.signalled = q.nextUsed
	// The used index must be visible before the driver's wish is read: x86 may do a
	// load before an earlier store. The driver does it the other way round.
	fence()
	if !q.wanted(old) {
		q.counters.suppressed.add(1)
		return
	}
	q.counters.interrupts.add(1)
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
