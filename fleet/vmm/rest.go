package vmm

import (
	"sync"
	"time"
)

// rests are how long after the last question to it, or its agent's first answer, the process
// is taken not to need any more what that took. It gives that back several times, each so
// long after the one before: guests on a busy host are slow to come to rest.
var rests = []time.Duration{2 * time.Second, 10 * time.Second, time.Minute}

// rest gives memory back when nobody has asked for a while.
type rest struct {
	mu    sync.Mutex
	timer *time.Timer
	trim  func()
	next  int // of rests
	over  bool
}

func newRest(trim func()) *rest {
	r := &rest{trim: trim}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.timer = time.AfterFunc(rests[0], r.rested)
	return r
}

// disturbed begins anew.
func (r *rest) disturbed() {
	r.mu.Lock()
	defer r.mu.Unlock()
	if !r.over {
		r.next = 0
		r.timer.Reset(rests[0])
	}
}

func (r *rest) rested() {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.over {
		return
	}
	r.trim()
	if r.next++; r.next < len(rests) {
		r.timer.Reset(rests[r.next])
	}
}

// end waits for what is under way; nothing comes after.
func (r *rest) end() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.over = true
	r.timer.Stop()
}
