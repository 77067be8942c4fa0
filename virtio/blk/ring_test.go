package blk

import (
	"errors"
	"testing"

	"golang.org/x/sys/unix"
)

// TestRingTriesAgain: what the kernel has not carried out, for reasons of its own, a worker
// does, and the guest sees no error; but nothing is begun in a device that is reset.
func TestRingTriesAgain(t *testing.T) {
	for _, errno := range []unix.Errno{unix.EAGAIN, unix.EINTR, unix.ECANCELED} {
		for _, stopping := range []bool{false, true} {
			p := newPool(nil, 1)
			p.made.Store(maxWorkers) // none is started
			l := &lane{run: &running{pool: p}}
			l.stopping.Store(stopping)
			r := &request{lane: l, command: command{op: opFlush}}
			done := (&ring{lane: l}).advance(r, -int32(errno))
			switch {
			case stopping && (!done || !errors.Is(r.err, errno) || len(p.jobs) > 0):
				t.Errorf("%v while the device is reset: done %v, %v, %d jobs", errno, done, r.err, len(p.jobs))
			case !stopping && (done || r.err != nil || len(p.jobs) != 1):
				t.Errorf("%v: done %v, %v, %d jobs", errno, done, r.err, len(p.jobs))
			}
		}
	}
}

// TestRingTellsErrors: other errors are the guest's to know.
func TestRingTellsErrors(t *testing.T) {
	r := &request{command: command{op: opRead}}
	if g := (&ring{lane: &lane{}}); !g.advance(r, -int32(unix.EIO)) || !errors.Is(r.err, unix.EIO) {
		t.Errorf("%v", r.err)
	}
}
