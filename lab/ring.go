package lab

import (
	"strings"
	"sync"
)

// ringSize is how much of L1's console is kept, in bytes.
const ringSize = 64 << 10

// ring keeps the last bytes written to it. Safe for concurrent use.
type ring struct {
	mu  sync.Mutex
	buf []byte
}

// Write never fails.
func (r *ring) Write(p []byte) (int, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.buf = append(r.buf, p...)
	if over := len(r.buf) - ringSize; over > 0 {
		r.buf = append(r.buf[:0], r.buf[over:]...)
	}
	return len(p), nil
}

// tail returns at most n last lines, without the terminal's carriage returns.
func (r *ring) tail(n int) string {
	r.mu.Lock()
	text := strings.ReplaceAll(string(r.buf), "\r", "")
	r.mu.Unlock()
	lines := strings.Split(strings.TrimRight(text, "\n"), "\n")
	if len(lines) > n {
		lines = lines[len(lines)-n:]
	}
	return strings.Join(lines, "\n")
}

// contains says whether s is in what is kept.
func (r *ring) contains(s string) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return strings.Contains(string(r.buf), s)
}
