package net

import (
	"errors"
	"sync"
	"sync/atomic"
	"time"

	"github.com/gureum/gureum/virtio/ratelimit"
)

// limiter is one rate limit for the queues of one direction. Its lock is not
// taken when there is no limit.
type limiter struct {
	tokens atomic.Pointer[ratelimit.Limiter] // nil without a limit
	mu     sync.Mutex
}

func (l *limiter) on() bool { return l.tokens.Load() != nil }

// take asks for a frame of n bytes; 0 lets it pass, else it is to be asked for
// again after that time.
func (l *limiter) take(n int) time.Duration {
	tokens := l.tokens.Load()
	if tokens == nil {
		return 0
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if ok, wait := tokens.Take(1, uint64(n)); !ok {
		return max(wait, time.Microsecond)
	}
	return 0
}

// ErrKernel is returned by SetLimit while the host's kernel moves the frames.
var ErrKernel = errors.New("the host's kernel moves the frames (vhost), and knows no limit")

// SetLimit changes what the device may receive and send from now on. It may be called at any
// time, but not while vhost-net moves the frames.
func (d *Device) SetLimit(rx, tx ratelimit.Config) error {
	if err := errors.Join(rx.Validate(), tx.Validate()); err != nil {
		return err
	}
	if d.InKernel() {
		return ErrKernel
	}
	d.rxLimit.tokens.Store(ratelimit.New(rx))
	d.txLimit.tokens.Store(ratelimit.New(tx))
	return nil
}
