package service

import (
	"sync"
	"time"
)

// limiter gives each client so many tokens a second, and so many at once. What one
// client asks is thus bounded, and so is the memory: a client that has its tokens again
// is forgotten when there are too many.
type limiter[K comparable] struct {
	rate  float64 // a second
	burst float64
	most  int // clients

	mu      sync.Mutex
	clients map[K]*bucket
}

type bucket struct {
	tokens float64
	at     time.Time
}

func newLimiter[K comparable](rate, burst float64, most int) *limiter[K] {
	return &limiter[K]{rate: rate, burst: burst, most: most, clients: map[K]*bucket{}}
}

// allow takes a client's token, if it has one.
func (l *limiter[K]) allow(client K, now time.Time) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	b := l.clients[client]
	if b == nil {
		if len(l.clients) >= l.most && !l.forget(now) {
			return false
		}
		b = &bucket{tokens: l.burst, at: now}
		l.clients[client] = b
	}
	b.tokens = min(l.burst, b.tokens+now.Sub(b.at).Seconds()*l.rate)
	b.at = now
	if b.tokens < 1 {
		return false
	}
	b.tokens--
	return true
}

// forget drops the clients that have all their tokens; it says whether there is room.
func (l *limiter[K]) forget(now time.Time) bool {
	for k, b := range l.clients {
		if b.tokens+now.Sub(b.at).Seconds()*l.rate >= l.burst {
			delete(l.clients, k)
		}
	}
	return len(l.clients) < l.most
}

// gate bounds how much is under way at once, for each client and in all.
type gate[K comparable] struct {
	each, all int

	mu    sync.Mutex
	total int
	now   map[K]int
}

func newGate[K comparable](each, all int) *gate[K] {
	return &gate[K]{each: each, all: all, now: map[K]int{}}
}

func (g *gate[K]) enter(client K) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.total >= g.all || g.now[client] >= g.each {
		return false
	}
	g.total++
	g.now[client]++
	return true
}

func (g *gate[K]) leave(client K) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.total--
	if g.now[client]--; g.now[client] == 0 {
		delete(g.now, client)
	}
}
