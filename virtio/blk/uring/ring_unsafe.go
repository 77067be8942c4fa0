package uring

import (
	"sync/atomic"
	"unsafe"

	"golang.org/x/sys/unix"
)

const (
	entrySize  = uint32(unsafe.Sizeof(entry{}))
	resultSize = uint32(unsafe.Sizeof(result{}))
)

// The memory of both rings is shared with the kernel. Whoever writes an index has
// written what it covers before; sync/atomic orders both.

// submission is the ring of entries, which we write and the kernel reads.
type submission struct {
	head, tail *uint32
	mask       uint32
	entries    []entry
}

// completion is the ring of results, which the kernel writes and we read.
type completion struct {
	head, tail, flags *uint32
	mask              uint32
	results           []result
}

// attach finds the parts of the rings where the kernel said they are.
func (r *Ring) attach(p *params) {
	word := func(off uint32) *uint32 { return (*uint32)(unsafe.Pointer(&r.rings[off])) }
	r.sq = submission{
		head: word(p.sq.head), tail: word(p.sq.tail), mask: *word(p.sq.mask),
		entries: unsafe.Slice((*entry)(unsafe.Pointer(&r.sqes[0])), p.sqEntries),
	}
	r.cq = completion{
		head: word(p.cq.head), tail: word(p.cq.tail), flags: word(p.cq.flags), mask: *word(p.cq.mask),
		results: unsafe.Slice((*result)(unsafe.Pointer(&r.rings[p.cq.cqes])), p.cqEntries),
	}
	array := unsafe.Slice(word(p.sq.array), p.sqEntries)
	for i := range array { // the order of entries is always theirs
		array[i] = uint32(i)
	}
}

func (s *submission) consumed() uint32              { return atomic.LoadUint32(s.head) }
func (s *submission) publish(tail uint32)           { atomic.StoreUint32(s.tail, tail) }
func (s *submission) put(index uint32, e *entry)    { s.entries[index&s.mask] = *e }
func (s *submission) data(index uint32) (id uint64) { return s.entries[index&s.mask].data }

func (c *completion) ready() bool { return *c.head != atomic.LoadUint32(c.tail) }

func (c *completion) take() (result, bool) {
	head := *c.head // ours alone
	if head == atomic.LoadUint32(c.tail) {
		return result{}, false
	}
	got := c.results[head&c.mask]
	atomic.StoreUint32(c.head, head+1)
	return got, true
}

// quiet is a full barrier: the caller's next look at the tail comes after it.
func (c *completion) quiet(on bool) {
	var v uint32
	if on {
		v = cqEventFDDisabled
	}
	atomic.StoreUint32(c.flags, v)
}

func vecAddr(vec []unix.Iovec) uint64 {
	return uint64(uintptr(unsafe.Pointer(unsafe.SliceData(vec))))
}

func setup(entries uint32, p *params) (int, error) {
	fd, _, errno := unix.Syscall(unix.SYS_IO_URING_SETUP, uintptr(entries), uintptr(unsafe.Pointer(p)), 0)
	if errno != 0 {
		return -1, errno
	}
	return int(fd), nil // io_uring_setup always sets close-on-exec
}

// fewEntries is how many submissions take so little time that the scheduler need not
// hear of them.
const fewEntries = 16

func enter(fd int, submit, wait, flags uint32) (int, error) {
	call := unix.Syscall6
	if wait == 0 && submit <= fewEntries {
		// Submitting does not wait. Were the scheduler told, its monitor would wake up
		// and take the CPU from a guest.
		call = unix.RawSyscall6
	}
	n, _, errno := call(unix.SYS_IO_URING_ENTER, uintptr(fd), uintptr(submit), uintptr(wait), uintptr(flags), 0, 0)
	if errno != 0 {
		return 0, errno
	}
	return int(n), nil
}

// registerOne registers a single descriptor.
func registerOne(fd int, op uintptr, arg int32) error {
	_, _, errno := unix.Syscall6(unix.SYS_IO_URING_REGISTER, uintptr(fd), op, uintptr(unsafe.Pointer(&arg)), 1, 0, 0)
	if errno != 0 {
		return errno
	}
	return nil
}
