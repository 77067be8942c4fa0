package console

import (
	"context"
	"fmt"
	"io"
	"sync"
	"time"
)

const (
	// outputBuffer is the size of each of two buffers: one fills while the writer
	// takes the other.
	outputBuffer = 32 << 10
	// patience is how long a console's guest waits for a writer that takes nothing.
	// Linux prints with interrupts off and would take itself for dead after some
	// seconds.
	patience = time.Second
	// closePatience is how long close waits for such a writer.
	closePatience = 5 * time.Second
)

// output carries what the guest wrote to a writer that may be slow.
type output struct {
	sink     io.Writer // the pump's own
	mayDrop  bool
	patience time.Duration

	mu       sync.Mutex
	buf      []byte        // not yet taken, up to outputBuffer
	spare    []byte        // the other buffer, while the pump does not write it
	flight   int           // bytes that the pump is writing
	taken    uint64        // bytes that the writer took, ever
	dropped  uint64        // bytes that nobody took, ever
	stalled  bool          // the writer took nothing for so long that we drop
	dead     error         // why the writer is not called any more
	closed   bool          // the pump ends when all is written
	pumping  bool          // the pump exists
	progress chan struct{} // closed when the writer took something; nil if nobody waits
	wake     chan struct{} // capacity 1: the pump is to look
	drained  chan struct{} // closed when the pump has ended
}

func (o *output) init(sink io.Writer, mayDrop bool) {
	if sink == nil {
		sink = io.Discard
	}
	o.sink, o.mayDrop, o.patience = sink, mayDrop, patience
	o.wake = make(chan struct{}, 1)
	o.drained = make(chan struct{})
}

// write takes all parts, and waits for room if need be, until stop is closed.
func (o *output) write(parts [][]byte, stop <-chan struct{}) {
	for _, p := range parts {
		for len(p) > 0 {
			n := o.tryWrite(p)
			p = p[n:]
			if len(p) > 0 && !o.waitForRoom(stop) {
				o.drop(len(p))
				break
			}
		}
	}
}

// tryWrite takes what there is room for.
func (o *output) tryWrite(p []byte) int {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.dead != nil || o.closed {
		o.dropped += uint64(len(p))
		return len(p)
	}
	if !o.pumping {
		// The first output pays for buffers and goroutine.
		o.pumping = true
		o.buf, o.spare = make([]byte, 0, outputBuffer), make([]byte, 0, outputBuffer)
		go o.pump()
	}
	n := min(len(p), outputBuffer-len(o.buf))
	o.buf = append(o.buf, p[:n]...)
	signal(o.wake)
	return n
}

func (o *output) drop(n int) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.dropped += uint64(n)
}

// waitForRoom gives false when there will be none.
func (o *output) waitForRoom(stop <-chan struct{}) bool {
	o.mu.Lock()
	room, stalled, progress := len(o.buf) < outputBuffer, o.stalled, o.moved()
	o.mu.Unlock()
	if room {
		return true
	}
	var limit <-chan time.Time
	if o.mayDrop {
		if stalled {
			return false
		}
		timer := time.NewTimer(o.patience)
		defer timer.Stop()
		limit = timer.C
	}
	select {
	case <-progress:
		return true
	case <-stop:
		return false
	case <-limit:
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	// Progress may have come in the meantime.
	o.stalled = o.moved() == progress
	return !o.stalled
}

// pump is the goroutine that owns the sink.
func (o *output) pump() {
	defer close(o.drained)
	for {
		chunk, more := o.take()
		if len(chunk) == 0 {
			if !more {
				return
			}
			<-o.wake
			continue
		}
		n, err := o.sink.Write(chunk)
		if err == nil && n < len(chunk) {
			err = io.ErrShortWrite
		}
		o.wrote(chunk, max(0, min(n, len(chunk))), err)
	}
}

// take swaps the buffers.
func (o *output) take() (chunk []byte, more bool) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if len(o.buf) > 0 {
		chunk = o.buf
		o.buf, o.spare = o.spare[:0], nil
		o.flight = len(chunk)
		o.advance()
	}
	return chunk, !o.closed
}

// wrote gives the buffer back.
func (o *output) wrote(chunk []byte, n int, err error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.taken += uint64(n)
	o.flight = 0
	o.spare = chunk[:0]
	if err != nil {
		o.dead = fmt.Errorf("write console output: %w", err)
		o.dropped += uint64(len(chunk) - n + len(o.buf))
		o.buf = o.buf[:0]
	}
	o.advance()
}

// advance tells whoever waits that something moved. The caller holds the lock.
func (o *output) advance() {
	o.stalled = false
	if o.progress != nil {
		close(o.progress)
		o.progress = nil
	}
}

// moved gives a channel that advance closes. The caller holds the lock.
func (o *output) moved() <-chan struct{} {
	if o.progress == nil {
		o.progress = make(chan struct{})
	}
	return o.progress
}

func (o *output) droppedBytes() uint64 {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.dropped
}

// flush waits until all that was written before is with the sink.
func (o *output) flush(ctx context.Context) error {
	o.mu.Lock()
	goal := o.taken + uint64(o.flight+len(o.buf))
	o.mu.Unlock()
	for {
		o.mu.Lock()
		done, err, progress := o.taken >= goal || o.dead != nil, o.dead, o.moved()
		o.mu.Unlock()
		if done {
			return err
		}
		select {
		case <-progress:
		case <-ctx.Done():
			return fmt.Errorf("flush console output: %w", ctx.Err())
		}
	}
}

// close ends the pump once all is written. A sink that takes nothing any more is
// given up; its goroutine ends when its Write does.
func (o *output) close() error {
	o.mu.Lock()
	o.closed = true
	pumping := o.pumping
	o.mu.Unlock()
	if !pumping {
		return nil
	}
	signal(o.wake)
	ctx, cancel := context.WithTimeout(context.Background(), closePatience)
	defer cancel()
	if err := o.flush(ctx); err != nil {
		return err
	}
	<-o.drained
	return nil
}

// signal fills a channel of capacity 1.
func signal(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}
