package devices

import (
	"context"
	"fmt"
	"io"
	"time"
)

// How output is buffered.
const (
	// txBuffer is the size of each of two buffers: the guest fills one while the
	// sink takes the other.
	txBuffer = 32 << 10
	// txReserve is the part of a buffer that is kept for a guest that writes in
	// spite of a busy transmitter. Linux's console does so after 10 ms a byte:
	// then nothing is lost for 40 seconds.
	txReserve = 4 << 10
	// txLinger is how long the first byte waits for company. To wake a goroutine
	// costs as much as several bytes do, and guests write byte by byte. Also the
	// longest time that a guest waits for the interrupt of an empty transmitter.
	txLinger = time.Millisecond
	// txStall is how long Close waits for a sink that takes nothing.
	txStall = 5 * time.Second
	// txPiece is the most that the sink gets in one Write, so that a slow sink is
	// seen to make progress.
	txPiece = 8 << 10
)

// serialTX is the transmitter. Except for the channels it belongs to Serial.mu.
//
// The transmitter takes a byte at once, but says so late: it stays busy until
// somebody looks at LSR or IIR, or until the drain goroutine has taken the byte. A
// driver which fills the FIFO in its interrupt handler and looks again before it
// returns gets all its bytes out in one interrupt; were the transmitter empty again
// after each byte, the first byte would already have raised the next one.
type serialTX struct {
	buf    []byte // what the guest wrote, up to cap(buf)
	spare  []byte // the other buffer, while the drain goroutine does not write it
	flight int    // bytes of the other buffer that the sink has yet to take
	live   bool   // there is a sink that takes bytes
	awake  bool   // the drain goroutine will look at buf without being woken
	urgent bool   // it should not linger
	kick   bool   // wake it after this operation
	closed bool

	busy  bool // a byte is in the transmitter: LSR.THRE and LSR.TEMT are clear
	empty bool // the interrupt of an empty transmitter is pending

	err      error         // why the sink was dropped
	progress chan struct{} // closed when the sink took bytes; nil if nobody waits
	wake     chan struct{} // capacity 1: the drain goroutine is to look
	drained  chan struct{} // closed when the drain goroutine ends
	linger   time.Duration
	stall    time.Duration
	sink     io.Writer // the drain goroutine's own
}

func (t *serialTX) init(out io.Writer) {
	t.wake = make(chan struct{}, 1)
	t.drained = make(chan struct{})
	t.linger, t.stall = txLinger, txStall
	if out == nil {
		close(t.drained)
		return
	}
	t.sink = out
	t.live = true
	t.buf = make([]byte, 0, txBuffer)
	t.spare = make([]byte, 0, txBuffer)
}

// room reports whether a driver may fill a whole FIFO.
func (t *serialTX) room() bool {
	return !t.live || len(t.buf)+serialFIFO <= txBuffer-txReserve
}

// settle lets the transmitter run empty if it can.
func (t *serialTX) settle() {
	if t.busy && t.room() {
		t.busy = false
		t.empty = true
	}
}

// hurry asks that what is buffered go out without lingering.
func (t *serialTX) hurry() {
	if len(t.buf) > 0 && !t.urgent {
		t.urgent, t.kick = true, true
	}
}

// writeTHR sends a byte (8.2).
func (s *Serial) writeTHR(b uint8) {
	t := &s.tx
	t.busy, t.empty = true, false
	if s.loopback() {
		s.rx.pushLoop(b, 0, s.depth())
		t.settle()
		return
	}
	if !t.live || len(t.buf) == cap(t.buf) {
		s.stats.TxDropped++
		t.settle()
		return
	}
	t.buf = append(t.buf, b)
	if !t.awake {
		t.awake, t.kick = true, true
	}
	if len(t.buf) == txBuffer/2 {
		t.hurry()
	}
}

// drain is the goroutine that owns the sink.
func (s *Serial) drain() {
	defer close(s.tx.drained)
	timer := time.NewTimer(time.Hour)
	defer timer.Stop()
	for {
		chunk, more := s.take()
		switch {
		case len(chunk) > 0:
			s.deliver(chunk)
			s.lingerFor(timer)
		case more:
			<-s.tx.wake
			s.lingerFor(timer)
		default:
			return
		}
	}
}

// lingerFor waits for more bytes to come, unless there is a hurry.
func (s *Serial) lingerFor(timer *time.Timer) {
	s.mu.Lock()
	skip := s.tx.urgent || s.tx.closed || len(s.tx.buf) == 0
	s.mu.Unlock()
	if skip {
		return
	}
	timer.Reset(s.tx.linger)
	select {
	case <-timer.C:
	case <-s.tx.wake:
	}
}

// take swaps the buffers and returns what is to be written, and whether the
// goroutine is still needed.
func (s *Serial) take() (chunk []byte, more bool) {
	t := &s.tx
	s.mu.Lock()
	chunk = t.buf
	t.buf, t.spare = t.spare[:0], nil
	t.flight = len(chunk)
	t.urgent = false
	if len(chunk) == 0 {
		t.spare = chunk
		t.awake = false
		t.live = t.live && !t.closed
	}
	more = t.live
	t.settle()
	w := s.settled()
	s.mu.Unlock()
	s.wake(w)
	return chunk, more
}

// deliver writes a chunk to the sink and gives the buffer back. A sink that fails
// is not tried again: output is thrown away and counted from then on.
func (s *Serial) deliver(chunk []byte) {
	t := &s.tx
	var err error
	for rest := chunk; len(rest) > 0 && err == nil; {
		piece := rest[:min(len(rest), txPiece)]
		var n int
		n, err = t.sink.Write(piece)
		if err == nil && n < len(piece) {
			err = io.ErrShortWrite
		}
		n = max(0, min(n, len(piece)))
		rest = rest[n:]
		s.mu.Lock()
		s.stats.TxBytes += uint64(n)
		t.flight -= n
		if t.progress != nil {
			close(t.progress)
			t.progress = nil
		}
		s.mu.Unlock()
	}
	s.mu.Lock()
	t.spare = chunk[:0]
	if err != nil {
		s.stats.TxDropped += uint64(t.flight + len(t.buf))
		t.err = fmt.Errorf("write serial output: %w", err)
		t.live = false
		t.flight = 0
		t.buf = t.buf[:0]
	}
	s.mu.Unlock()
}

// SinkErr returns the error for which the sink was dropped, or nil.
func (s *Serial) SinkErr() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.tx.err
}

// Flush waits until the sink has taken all that the guest wrote before the call.
// It returns the error of a failed sink, or that of ctx.
func (s *Serial) Flush(ctx context.Context) error {
	s.mu.Lock()
	goal := s.stats.TxBytes + uint64(len(s.tx.buf)+s.tx.flight)
	s.tx.urgent = true
	s.mu.Unlock()
	signal(s.tx.wake)
	for {
		progress := s.outputBefore(goal)
		if progress == nil {
			return s.SinkErr()
		}
		select {
		case <-progress:
		case <-s.tx.drained:
			return s.SinkErr()
		case <-ctx.Done():
			return fmt.Errorf("flush serial output: %w", ctx.Err())
		}
	}
}

// outputBefore returns nil if the sink has taken goal bytes in all or takes none
// any more, and otherwise a channel that is closed when it has taken some.
func (s *Serial) outputBefore(goal uint64) <-chan struct{} {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.stats.TxBytes >= goal || !s.tx.live {
		return nil
	}
	if s.tx.progress == nil {
		s.tx.progress = make(chan struct{})
	}
	return s.tx.progress
}

// StalledError says that Close gave up on a sink.
type StalledError struct {
	Lost int // bytes that the guest wrote and the sink did not take
}

// Error describes the loss.
func (e *StalledError) Error() string {
	return fmt.Sprintf("close serial port: the sink took nothing for %v: %d bytes lost", txStall, e.Lost)
}

// Close ends the port: input fails with ErrSerialClosed, and what the guest wrote
// goes to the sink before Close returns. A sink that takes nothing for five seconds
// is given up with a *StalledError; its goroutine then ends when its Write does. A
// sink that failed before makes Close return that error.
func (s *Serial) Close() error {
	s.closeOnce.Do(func() { close(s.done) })
	s.mu.Lock()
	s.tx.closed = true
	s.mu.Unlock()
	signal(s.tx.wake)
	stall := time.NewTicker(s.tx.stall)
	defer stall.Stop()
	for before := s.Stats().TxBytes; ; {
		select {
		case <-s.tx.drained:
			return s.SinkErr()
		case <-stall.C:
		}
		now := s.Stats().TxBytes
		if now == before {
			return &StalledError{Lost: s.unsent()}
		}
		before = now
	}
}

// unsent is the number of bytes that the sink has yet to take.
func (s *Serial) unsent() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.tx.buf) + s.tx.flight
}
