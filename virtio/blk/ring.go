package blk

import (
	"errors"
	"io"

	"golang.org/x/sys/unix"

	"github.com/gureum/gureum/virtio/blk/uring"
)

// vectorRoom is the number of buffers of all requests that one submit hands over.
const vectorRoom = 512

// ring carries a lane's reads, writes and flushes out by io_uring. What it cannot
// do, it leaves to the pool.
type ring struct {
	lane *lane
	ring *uring.Ring
	vec  []unix.Iovec // of the requests since the last submit; the kernel copies it
	used int
}

func newRing(l *lane) (*ring, error) {
	r, err := uring.New(int(l.queue.Size()), l.d.fd, l.queue.Config().Kick.FD())
	if err != nil {
		return nil, err
	}
	return &ring{lane: l, ring: r, vec: make([]unix.Iovec, vectorRoom)}, nil
}

// start takes a request, or what is left of it. It is false if the request is
// nothing for the ring.
func (g *ring) start(r *request) bool {
	if r.op == opFlush {
		return g.ring.Sync(uint64(r.index))
	}
	if r.op != opRead && r.op != opWrite {
		return false
	}
	if len(g.vec)-g.used < maxVector {
		g.submit()
	}
	parts, skip := r.data()
	room := g.vec[g.used:min(len(g.vec), g.used+maxVector)]
	n, size := fill(room, parts, skip+r.done, min(r.size-r.done, maxPiece))
	if !g.lane.d.suits(room[:n], size) {
		return false
	}
	g.used += n
	at := r.offset + r.done
	if r.op == opRead {
		return g.ring.Readv(uint64(r.index), room[:n], at)
	}
	return g.ring.Writev(uint64(r.index), room[:n], at, uint32(g.lane.writeFlags()))
}

// submit hands over what was started. What the kernel does not accept goes to the
// pool: it is short of memory for now.
func (g *ring) submit() {
	if g.ring.Pending() > 0 && g.ring.Submit(0) != nil {
		g.ring.Withdraw(g.reject)
	}
	clear(g.vec[:g.used])
	g.used = 0
}

func (g *ring) reject(data uint64) {
	g.lane.run.pool.start(g.lane.slots[data])
}

// reap takes results, and gives the lane the requests that are done.
func (g *ring) reap() {
	for {
		data, res, ok := g.ring.Next()
		if !ok {
			return
		}
		r := g.lane.slots[data]
		switch g.advance(r, res) {
		case finished:
			g.lane.finish(r)
		case onward:
			g.lane.start(r)
		case elsewhere:
			g.lane.run.pool.start(r)
		}
	}
}

// step is what is next for a request.
type step int

const (
	finished  step = iota // it is done
	onward                // its rest is to be started
	elsewhere             // it is for the pool: the kernel has not begun it
)

// advance takes the result of a request's operation and tells what is next.
func (g *ring) advance(r *request, res int32) step {
	stopping := g.lane.stopping.Load()
	switch {
	case res < 0:
		r.err = unix.Errno(-res)
		if notBegun(r.err) && !stopping {
			r.err = nil
			return elsewhere
		}
		return finished
	case r.op == opFlush:
		return finished
	}
	r.done += int64(res)
	switch {
	case r.done >= r.size:
	case r.op == opRead && r.atEnd(&g.lane.d.backend):
		r.zeroRest()
	case res == 0 && r.op == opRead:
		r.err = errShort
	case res == 0:
		r.err = io.ErrShortWrite
	case stopping:
		r.err = errStopped
	default:
		return onward
	}
	return finished
}

// notBegun tells of errors that say that the operation was not begun or can be tried again.
// The kernel cancels on its own what waits for a worker thread that it fails to make, as when
// signals come too often (io-wq.c), and what is in flight of a thread that ends.
func notBegun(err error) bool {
	return errors.Is(err, unix.EAGAIN) || errors.Is(err, unix.EINTR) || errors.Is(err, unix.ECANCELED)
}

// drain ends what is in flight: when it returns, the kernel has no buffer any more.
func (g *ring) drain() {
	g.submit()
	g.ring.CancelAll()
	for g.ring.InFlight() > 0 {
		if g.ring.Submit(1) != nil {
			g.ring.Withdraw(g.reject)
		}
		g.reap()
	}
}
