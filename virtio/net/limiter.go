package net

import (
	"sync"
	"time"

	"github.com/gureum/gureum/virtio/ratelimit"
)

// limiter is one rate limit for the queues of one direction. Its lock is not
// taken when there is no limit.
type limiter struct {
	tokens *ratelimit.Limiter
	mu     sync.Mutex
}

// take asks for a frame of n bytes; 0 lets it pass, else it is to be asked for
// again after that time.
func (l *limiter) take(n int) time.Duration {
	if l.tokens == nil {
		return 0
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if ok, wait := l.tokens.Take(1, uint64(n)); !ok {
		return max(wait, time.Microsecond)
	}
	return 0
}
