package vm

import (
	"io"
	"sync"
)

// ring keeps the last bytes that were written to it.
type ring struct {
	mu   sync.Mutex
	buf  []byte
	next int  // where the next byte goes
	full bool // buf[next:] is older than buf[:next]
}

func newRing(size int) *ring { return &ring{buf: make([]byte, size)} }

// Write implements io.Writer. It never fails.
func (r *ring) Write(p []byte) (int, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	n := len(p)
	if len(p) > len(r.buf) {
		p = p[len(p)-len(r.buf):]
	}
	for len(p) > 0 {
		k := copy(r.buf[r.next:], p)
		p = p[k:]
		r.next += k
		if r.next == len(r.buf) {
			r.next, r.full = 0, true
		}
	}
	return n, nil
}

// bytes is a copy of what the ring holds, oldest first.
func (r *ring) bytes() []byte {
	r.mu.Lock()
	defer r.mu.Unlock()
	if !r.full {
		return append([]byte(nil), r.buf[:r.next]...)
	}
	return append(append([]byte(nil), r.buf[r.next:]...), r.buf[:r.next]...)
}

// tee writes to a ring, and to a writer whose failure concerns that writer alone.
type tee struct {
	ring *ring
	out  io.Writer
}

// Write implements io.Writer.
func (t *tee) Write(p []byte) (int, error) {
	_, _ = t.ring.Write(p)
	if t.out != nil {
		if _, err := t.out.Write(p); err != nil {
			t.out = nil
		}
	}
	return len(p), nil
}
