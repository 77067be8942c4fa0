package blk

import (
	"errors"
	"os"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/gureum/gureum/virtio/blk/uring"
)

// TestRingTriesAgain: what the kernel has not carried out, for reasons of its own, is for a worker
// to do, and the guest sees no error; but nothing is begun in a device that is reset.
func TestRingTriesAgain(t *testing.T) {
	for _, errno := range []unix.Errno{unix.EAGAIN, unix.EINTR, unix.ECANCELED} {
		for _, stopping := range []bool{false, true} {
			l := &lane{}
			l.stopping.Store(stopping)
			r := &request{lane: l, command: command{op: opFlush}}
			next := (&ring{lane: l}).advance(r, -int32(errno))
			switch {
			case stopping && (next != finished || !errors.Is(r.err, errno)):
				t.Errorf("%v while the device is reset: %v, %v", errno, next, r.err)
			case !stopping && (next != elsewhere || r.err != nil):
				t.Errorf("%v: %v, %v", errno, next, r.err)
			}
		}
	}
}

// TestRingTriesAgainOnce: what the kernel gave up is for a worker alone. Were it in the ring again
// as well, the driver would get one answer too many, and takes its queue for broken then.
func TestRingTriesAgainOnce(t *testing.T) {
	pr, pw, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer pr.Close()
	defer pw.Close()
	u, err := uring.New(8, int(pr.Fd()), -1)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = u.Close() }()
	p := newPool(nil, 8)
	p.made.Store(maxWorkers) // none is started
	l := &lane{run: &running{pool: p}, flight: 1}
	r := &request{lane: l, command: command{op: opRead, size: 512}}
	l.slots, l.ring = []*request{r}, &ring{lane: l, ring: u, vec: make([]unix.Iovec, vectorRoom)}
	buf := make([]byte, 512)
	vec := []unix.Iovec{{Base: &buf[0], Len: uint64(len(buf))}}
	if !u.Readv(0, vec, 0) || u.Submit(0) != nil || !u.CancelAll() || u.Submit(2) != nil { // the read's result, and the cancel's
		t.Fatal("the read is not begun and cancelled")
	}
	l.ring.reap()
	if len(p.jobs) != 1 || u.InFlight() != 0 || l.flight != 1 {
		t.Errorf("%d jobs, %d operations in the ring, %d requests under way, want 1, 0, 1", len(p.jobs), u.InFlight(), l.flight)
	}
}

// TestRingTellsErrors: other errors are the guest's to know.
func TestRingTellsErrors(t *testing.T) {
	r := &request{command: command{op: opRead}}
	if g := (&ring{lane: &lane{}}); g.advance(r, -int32(unix.EIO)) != finished || !errors.Is(r.err, unix.EIO) {
		t.Errorf("%v", r.err)
	}
}
