package uring

import (
	"errors"
	"fmt"

	"golang.org/x/sys/unix"
)

// MaxEntries is the most that New takes (IORING_MAX_ENTRIES).
const MaxEntries = 32768

// Ring is one io_uring with one file.
type Ring struct {
	fd    int
	file  int32  // that operations are on
	rings []byte // both rings, mapped
	sqes  []byte // the entries, mapped
	sq    submission
	cq    completion

	tail     uint32 // entries that were filled
	accepted uint32 // entries that the kernel took
	flight   int    // operations in the kernel, cancels included
}

// cancelData marks the result of a CancelAll, which Next keeps to itself.
const cancelData = ^uint64(0)

// New makes a ring with room for at least the given number of operations at a
// time, for the file with descriptor file. Each result signals eventfd, unless it
// is negative. Errors wrap the errno: ENOSYS and EPERM mean that this host has no
// io_uring for us.
func New(entries, file, eventfd int) (*Ring, error) {
	if entries < 1 || entries > MaxEntries {
		return nil, fmt.Errorf("io_uring of %d entries: give 1 to %d", entries, MaxEntries)
	}
	// Room for the result of each operation and of a cancel, so none overflows.
	p := params{flags: setupCQSize | setupClamp, cqEntries: 2 * uint32(entries)}
	fd, err := setup(uint32(entries), &p)
	if err != nil {
		return nil, fmt.Errorf("io_uring_setup: %w", err)
	}
	r := &Ring{fd: fd, file: int32(file)}
	if err := r.open(&p, eventfd); err != nil {
		return nil, errors.Join(err, r.Close())
	}
	return r, nil
}

// needed is what the ring's kernel must have: vectors may be used again as soon as
// Submit returns, and workers are threads of ours, which die with us.
const needed = featSingleMmap | featNoDrop | featSubmitStable | featRWCurPos | featNative

func (r *Ring) open(p *params, eventfd int) error {
	if p.features&needed != needed {
		return fmt.Errorf("io_uring with features %#x, %#x are needed (Linux 5.12): %w", p.features, needed, unix.ENOSYS)
	}
	size := max(p.sq.array+4*p.sqEntries, p.cq.cqes+resultSize*p.cqEntries)
	var err error
	if r.rings, err = mapArea(r.fd, offRings, int(size)); err != nil {
		return fmt.Errorf("map io_uring: %w", err)
	}
	if r.sqes, err = mapArea(r.fd, offSQEs, int(entrySize*p.sqEntries)); err != nil {
		return fmt.Errorf("map io_uring entries: %w", err)
	}
	r.attach(p)
	if eventfd < 0 {
		return nil
	}
	if err := registerOne(r.fd, registerEventFD, int32(eventfd)); err != nil {
		return fmt.Errorf("register eventfd with io_uring: %w", err)
	}
	return nil
}

func mapArea(fd int, off int64, size int) ([]byte, error) {
	return unix.Mmap(fd, off, size, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED|unix.MAP_POPULATE)
}

// Close gives the ring up. Operations in the kernel would go on without it, so
// there must be none: InFlight is 0.
func (r *Ring) Close() error {
	var errs []error
	for _, area := range []*[]byte{&r.rings, &r.sqes} {
		if *area != nil {
			errs = append(errs, unix.Munmap(*area))
			*area = nil
		}
	}
	if r.fd >= 0 {
		errs = append(errs, unix.Close(r.fd))
		r.fd = -1
	}
	return errors.Join(errs...)
}

// InFlight is the number of operations that were filled in and whose results Next
// has not given yet.
func (r *Ring) InFlight() int { return r.flight + int(r.tail-r.accepted) }

// Pending is the number of operations that wait for Submit.
func (r *Ring) Pending() int { return int(r.tail - r.accepted) }

// Readv fills in a read at off of the file into vec, which must stay as it is
// until Submit, and the memory it points to until the result. Next gives data back
// with the result. It is false when the ring is full: Submit first.
func (r *Ring) Readv(data uint64, vec []unix.Iovec, off int64) bool {
	return r.add(entry{opcode: opReadv, off: uint64(off), addr: vecAddr(vec), size: uint32(len(vec)), data: data})
}

// Writev is a write like Readv. flags are those of pwritev2 (RWF_DSYNC).
func (r *Ring) Writev(data uint64, vec []unix.Iovec, off int64, flags uint32) bool {
	return r.add(entry{opcode: opWritev, off: uint64(off), addr: vecAddr(vec), size: uint32(len(vec)), opFlags: flags, data: data})
}

// Sync fills in an fdatasync: what was written when it is submitted, that is what
// had its result before, is on stable storage when its own result is there.
func (r *Ring) Sync(data uint64) bool {
	return r.add(entry{opcode: opFsync, opFlags: fsyncDataSync, data: data})
}

// Nop fills in an operation that does nothing.
func (r *Ring) Nop(data uint64) bool {
	return r.add(entry{opcode: opNop, data: data})
}

// CancelAll asks the kernel to give up what it has not begun. Each operation still
// gets its result, ECANCELED or what came of it. Kernels before 5.19 ignore it.
func (r *Ring) CancelAll() bool {
	return r.add(entry{opcode: opAsyncCancel, opFlags: cancelAll | cancelAny, data: cancelData, fd: -1})
}

func (r *Ring) add(e entry) bool {
	if r.tail-r.sq.consumed() > r.sq.mask {
		return false
	}
	// The file is not registered: a ring that goes away lets go of its files later,
	// and so would keep the disk's lock for a while.
	if e.opcode != opAsyncCancel {
		e.fd = r.file
	}
	r.sq.put(r.tail, &e)
	r.tail++
	return true
}

// Submit hands what was filled in to the kernel and waits until wait results are
// there; with 0 it does not wait. On error (EAGAIN, EBUSY: the kernel is short of
// memory for now) some operations are still pending: Submit again or Withdraw.
func (r *Ring) Submit(wait int) error {
	r.sq.publish(r.tail)
	var flags uint32
	if wait > 0 {
		flags = enterGetEvents
	}
	for r.tail != r.accepted || wait > 0 {
		n, err := enter(r.fd, r.tail-r.accepted, uint32(wait), flags)
		if errors.Is(err, unix.EINTR) {
			continue
		}
		if err != nil {
			return fmt.Errorf("io_uring_enter: %w", err)
		}
		r.accepted += uint32(n)
		r.flight += n
		if r.tail == r.accepted {
			return nil // with wait, the kernel has waited in this call
		}
		if n == 0 {
			return fmt.Errorf("io_uring_enter took nothing: %w", unix.EAGAIN)
		}
	}
	return nil
}

// Withdraw takes back the operations that the kernel did not accept and calls f
// for the data of each.
func (r *Ring) Withdraw(f func(data uint64)) {
	first := r.accepted
	for i := first; i != r.tail; i++ {
		if data := r.sq.data(i); data != cancelData {
			f(data)
		}
	}
	r.tail = first
	r.sq.publish(first)
}

// Next takes a result: the operation's data, and its count or negative errno.
func (r *Ring) Next() (data uint64, res int32, ok bool) {
	for {
		c, ok := r.cq.take()
		if !ok {
			return 0, 0, false
		}
		r.flight--
		if c.data != cancelData {
			return c.data, c.res, true
		}
	}
}

// Quiet stops results from signalling the eventfd, as the owner is awake and
// looks; with false they signal again, and the owner must look once more before it
// waits: Ready tells whether results came in the meantime.
func (r *Ring) Quiet(on bool) { r.cq.quiet(on) }

// Ready tells whether Next has a result.
func (r *Ring) Ready() bool { return r.cq.ready() }

// Available tells why this host has no io_uring for us, or nil.
func Available() error {
	r, err := New(1, -1, -1)
	if err != nil {
		return err
	}
	return r.Close()
}
