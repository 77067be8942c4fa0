package kvm

import (
	"sync/atomic"

	"golang.org/x/sys/unix"
)

// closedBit is set in descriptor.state by Close; the bits below count the calls in flight.
const closedBit = int64(1) << 62

// descriptor owns one file descriptor. It exists instead of os.File because KVM's
// descriptors cannot be polled, because ioctls need the bare number without an allocation,
// and because a vCPU's mapping must live exactly as long as its descriptor.
type descriptor struct {
	n       int
	state   atomic.Int64
	destroy func() // releases what hangs on the descriptor, before it is closed; may be nil
}

func newDescriptor(n int) *descriptor {
	return &descriptor{n: n}
}

// acquire keeps the descriptor open until release. It does not allocate.
func (d *descriptor) acquire() error {
	for {
		s := d.state.Load()
		if s&closedBit != 0 {
			return ErrClosed
		}
		if d.state.CompareAndSwap(s, s+1) {
			return nil
		}
	}
}

func (d *descriptor) release() {
	if d.state.Add(-1) == closedBit {
		// The last user after Close. There is nobody left to hear of a close error.
		_ = d.finish()
	}
}

func (d *descriptor) closed() bool {
	return d.state.Load()&closedBit != 0
}

// Close marks the descriptor closed. It is closed at once if no call is using it, else by
// the last of those calls. The second Close does nothing and gives nil.
func (d *descriptor) Close() error {
	for {
		s := d.state.Load()
		if s&closedBit != 0 {
			return nil
		}
		if !d.state.CompareAndSwap(s, s|closedBit) {
			continue
		}
		if s == 0 {
			return d.finish()
		}
		return nil
	}
}

func (d *descriptor) finish() error {
	if d.destroy != nil {
		d.destroy()
	}
	// Linux closes the descriptor even when close gives EINTR; repeating it could close
	// somebody else's.
	if err := unix.Close(d.n); err != nil && err != unix.EINTR {
		return opError("close", err)
	}
	return nil
}
