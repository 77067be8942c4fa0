package rng

import (
	"fmt"
	"time"

	"github.com/gureum/gureum/virtio/queue"
	"github.com/gureum/gureum/virtio/ratelimit"
)

// MaxRequest is the largest answer to one request, in bytes. A device need not
// fill a buffer (section 5.4.6.2), and a guest shall not buy hours of the host's
// time with one descriptor.
const MaxRequest = 64 << 10

// request is a chain, understood: how many bytes it asks for.
type request struct{ bytes int }

// parse cannot fail. What the driver made readable is none of our business
// (section 5.4.6.1).
func parse(c *queue.Chain) request {
	return request{bytes: int(min(c.WriteLen, MaxRequest))}
}

// worker answers the requests of one activation, on the queue's goroutine.
type worker struct {
	source func([]byte) error
	limit  *ratelimit.Limiter
	stop   <-chan struct{}
}

// handle answers one chain with as many bytes as it says.
func (w *worker) handle(c *queue.Chain) (uint32, error) {
	r := parse(c)
	if r.bytes == 0 || !w.admit(r) {
		return 0, nil
	}
	left := r.bytes
	for _, b := range c.Writable {
		b = b[:min(left, len(b))]
		if err := w.source(b); err != nil {
			return 0, fmt.Errorf("host's random numbers: %w", err)
		}
		if left -= len(b); left == 0 {
			break
		}
	}
	return uint32(r.bytes), nil
}

// admit waits until the rate limit lets the request pass. It gives false when the
// device is reset in the meantime.
func (w *worker) admit(r request) bool {
	for {
		ok, wait := w.limit.Take(1, uint64(r.bytes))
		if ok {
			return true
		}
		timer := time.NewTimer(wait)
		select {
		case <-timer.C:
		case <-w.stop:
			timer.Stop()
			return false
		}
	}
}
