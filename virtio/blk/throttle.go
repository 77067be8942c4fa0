package blk

import (
	"sync"
	"time"

	"github.com/gureum/gureum/virtio/ratelimit"
)

// throttle is the rate limiter that the device's lanes share.
type throttle struct {
	mu      sync.Mutex
	limiter *ratelimit.Limiter
}

func (d *Device) setLimiter(l *ratelimit.Limiter) {
	if l == nil {
		d.throttle.Store(nil)
		return
	}
	d.throttle.Store(&throttle{limiter: l})
}

// SetLimit changes what the device may do from now on. A request that waits is looked at
// again. It may be called at any time.
func (d *Device) SetLimit(c ratelimit.Config) error {
	if err := c.Validate(); err != nil {
		return err
	}
	d.setLimiter(ratelimit.New(c))
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.running == nil {
		return nil
	}
	for _, l := range d.running.lanes {
		if l != nil {
			l.kick()
		}
	}
	return nil
}

// admit begins a request, or holds it until its tokens are there. Nothing more is
// taken from the queue in the meantime.
func (l *lane) admit(r *request) {
	if l.d.throttle.Load() == nil || r.op == opRefused {
		l.begin(r)
		return
	}
	l.held = r
	if l.release() {
		return
	}
	l.d.stats.throttled.Add(1)
}

// release begins the held request if its tokens are there. Else the timer kicks
// the queue when they may be.
func (l *lane) release() bool {
	r, t := l.held, l.d.throttle.Load()
	if t == nil { // there was one when the request came
		l.held = nil
		l.begin(r)
		return true
	}
	var bytes uint64
	if r.op == opRead || r.op == opWrite {
		bytes = uint64(r.size)
	}
	t.mu.Lock()
	ok, wait := t.limiter.Take(1, bytes)
	t.mu.Unlock()
	if ok {
		l.held = nil
		l.begin(r)
		return true
	}
	wait = max(wait, time.Millisecond) // never busy
	if l.timer == nil {
		l.timer = time.AfterFunc(wait, l.kick)
	} else {
		l.timer.Reset(wait)
	}
	return false
}
