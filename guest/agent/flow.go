package agent

import "sync"

// credit is a sender's right to send bytes of one stream. The receiver grants
// it, so a receiver that does not consume stops the sender and nothing else.
type credit struct {
	mu     sync.Mutex
	cond   sync.Cond
	n      int
	closed bool
}

func newCredit(n int) *credit {
	c := &credit{n: n}
	c.cond.L = &c.mu
	return c
}

// take waits for credit and takes up to want bytes of it. 0 means closed.
func (c *credit) take(want int) int {
	c.mu.Lock()
	defer c.mu.Unlock()
	for c.n == 0 && !c.closed {
		c.cond.Wait()
	}
	if c.closed {
		return 0
	}
	n := min(want, c.n)
	c.n -= n
	return n
}

// add grants more. It reports false when the peer grants more than may be.
func (c *credit) add(delta int) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if delta > MaxWindow-c.n {
		return false
	}
	c.n += delta
	c.cond.Broadcast()
	return true
}

func (c *credit) close() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.closed = true
	c.cond.Broadcast()
}

// queue holds received bytes until they are consumed: never more than the
// window that was announced to the sender. Two buffers take turns, so bytes
// are copied once.
type queue struct {
	mu     sync.Mutex
	cond   sync.Cond
	window int
	fill   []byte // received, not yet taken
	spare  []byte // the buffer that is being consumed, or idle
	held   int    // bytes received and not yet consumed
	owed   int    // bytes consumed and not yet granted again
	eof    bool
	closed bool
}

func newQueue(window int) *queue {
	q := &queue{window: window}
	q.cond.L = &q.mu
	return q
}

// put stores p. It reports false when the sender overran its credit. After
// close or eof the bytes are dropped, which a sender may not know yet.
func (q *queue) put(p []byte) bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	if len(p) > q.window-q.held-q.owed {
		return false
	}
	if q.closed || q.eof {
		q.owed += len(p)
		return true
	}
	q.held += len(p)
	q.fill = append(q.fill, p...)
	q.cond.Broadcast()
	return true
}

// take waits for bytes and returns all there are; they are the caller's until
// it calls done. nil means end of stream.
func (q *queue) take() []byte {
	q.mu.Lock()
	defer q.mu.Unlock()
	for len(q.fill) == 0 && !q.eof && !q.closed {
		q.cond.Wait()
	}
	if len(q.fill) == 0 || q.closed {
		return nil
	}
	p := q.fill
	q.fill, q.spare = q.spare[:0], p[:0]
	return p
}

// done says that n taken bytes were consumed. It returns how many bytes to
// grant to the sender now: small amounts are gathered, since the sender still
// has most of its window.
func (q *queue) done(n int) int {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.held -= n
	q.owed += n
	if q.owed < q.window/4 {
		return 0
	}
	grant := q.owed
	q.owed = 0
	return grant
}

// end marks the end of the stream; what is held can still be taken.
func (q *queue) end() {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.eof = true
	q.cond.Broadcast()
}

// close drops what is held and whatever still comes.
func (q *queue) close() {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.closed = true
	q.owed += len(q.fill)
	q.held -= len(q.fill)
	q.fill = nil
	q.cond.Broadcast()
}
