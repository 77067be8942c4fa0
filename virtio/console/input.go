package console

import (
	"errors"
	"sync"

	"github.com/gureum/gureum/virtio/queue"
)

// inputBuffer is how much the host may write ahead of the guest, in bytes.
const inputBuffer = 16 << 10

// ErrClosed is returned by a Write to a port whose device has been closed.
var ErrClosed = errors.New("console port is closed")

// input carries what the host wrote to the guest.
type input struct {
	turn sync.Mutex // one writer at a time, so that each Write stays in one piece

	mu     sync.Mutex
	buf    []byte // a ring; nil until it is first needed
	start  int
	length int
	open   bool          // the guest reads
	queue  *queue.Queue  // while the device is active
	room   chan struct{} // capacity 1: the writer is to look again
	done   chan struct{} // closed by close
	once   sync.Once
}

func (in *input) init() {
	in.room = make(chan struct{}, 1)
	in.done = make(chan struct{})
}

func (in *input) write(p []byte) (int, error) {
	in.turn.Lock()
	defer in.turn.Unlock()
	written := 0
	for {
		select {
		case <-in.done:
			return written, ErrClosed
		default:
		}
		written += in.push(p[written:])
		if written == len(p) {
			return written, nil
		}
		select {
		case <-in.room:
		case <-in.done:
		}
	}
}

// push puts as much as fits into the ring, and wakes the queue's owner.
func (in *input) push(p []byte) int {
	in.mu.Lock()
	defer in.mu.Unlock()
	if in.buf == nil {
		in.buf = make([]byte, inputBuffer)
	}
	n := min(len(p), inputBuffer-in.length)
	end := (in.start + in.length) % inputBuffer
	k := copy(in.buf[end:], p[:n])
	copy(in.buf, p[k:n])
	in.length += n
	in.kick()
	return n
}

// kick wakes the queue's owner if it has something to do. The caller holds the
// lock, so that the queue is not gone.
func (in *input) kick() {
	if in.queue != nil && in.open && in.length > 0 {
		in.queue.Kick()
	}
}

func (in *input) attach(q *queue.Queue, open bool) {
	in.mu.Lock()
	defer in.mu.Unlock()
	in.queue, in.open = q, open
}

func (in *input) detach() {
	in.mu.Lock()
	defer in.mu.Unlock()
	in.queue, in.open = nil, false
}

func (in *input) setOpen(open bool) {
	in.mu.Lock()
	defer in.mu.Unlock()
	in.open = open
	in.kick()
}

func (in *input) close() { in.once.Do(func() { close(in.done) }) }

// serve fills the driver's buffers, on the goroutine that owns q.
func (in *input) serve(q *queue.Queue) {
	var c queue.Chain
	for {
		q.DisableKicks()
		for in.fill(q, &c) {
		}
		q.Flush()
		if q.EnableKicks() && in.fill(q, &c) {
			continue
		}
		if q.Wait() != nil {
			return
		}
	}
}

// fill puts input into one buffer of the driver's, if there are both. Unread input
// stays in the ring, and unused buffers with the driver.
func (in *input) fill(q *queue.Queue, c *queue.Chain) bool {
	in.mu.Lock()
	defer in.mu.Unlock()
	if in.length == 0 || !in.open {
		return false
	}
	ok, err := q.Next(c)
	if !ok || err != nil {
		return false
	}
	n := 0
	for _, b := range c.Writable {
		n += in.pop(b)
	}
	q.Put(c.Head, uint32(n))
	if n > 0 {
		signal(in.room)
	}
	return true
}

// pop takes input out of the ring.
func (in *input) pop(b []byte) int {
	n := 0
	for n < len(b) && in.length > 0 {
		end := min(in.start+in.length, inputBuffer)
		k := copy(b[n:], in.buf[in.start:end])
		n += k
		in.start = (in.start + k) % inputBuffer
		in.length -= k
	}
	return n
}
