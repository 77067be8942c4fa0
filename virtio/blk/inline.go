package blk

import (
	"errors"
	"time"

	"golang.org/x/sys/unix"
)

const (
	// maxInline is the size in bytes of the largest request that a lane carries out
	// itself: longer copies hold up the requests behind them.
	maxInline = 256 << 10
	// slow is how long a call takes that has waited for the disk.
	slow = 500 * time.Microsecond
	// slowRest is for how many requests a lane then leaves it to others.
	slowRest = 256
)

// governor decides whether a lane makes calls itself that may wait: as long as
// they do not. A copy to or from the host's page cache is quicker than the way to
// another thread and back.
type governor struct{ rest int }

func (g *governor) allows() bool {
	if g.rest > 0 {
		g.rest--
		return false
	}
	return true
}

func (g *governor) took(d time.Duration) {
	if d > slow {
		g.rest = slowRest
	}
}

// inline carries a request out on the spot, if that does not wait. It is false if
// the request, or what is left of it, is to be started.
func (l *lane) inline(r *request) bool {
	if l.d.direct() || r.size > maxInline {
		return false
	}
	if r.op == opRead && l.d.nowait {
		return l.ring == nil && l.cached(r) // a ring does the same for many at once
	}
	if r.op == opWrite && l.through() {
		return false
	}
	g := &l.reads
	if r.op == opWrite {
		g = &l.writes
	}
	if !g.allows() {
		return false
	}
	start := time.Now()
	r.err = l.exec.run(&l.d.backend, r)
	g.took(time.Since(start))
	return true
}

// cached reads what is in the page cache.
func (l *lane) cached(r *request) bool {
	r.err = l.exec.read(&l.d.backend, r, unix.RWF_NOWAIT)
	if errors.Is(r.err, unix.EAGAIN) || errors.Is(r.err, unix.EOPNOTSUPP) {
		r.err = nil
		return false
	}
	return true
}
