package devices

import (
	"io"
	"sync"
	"time"
)

// How input is paced. A guest's interrupt handler that finds another byte each time
// it looks never returns: Linux gives up after a fixed number of rounds with the
// line still high, and before that starves the thread that empties its buffers. A
// wire would leave the guest time between bytes, so the input leaves some between
// bursts.
const (
	// rxBurst is the number of bytes given in one go. Linux takes 256 at a time
	// (serial8250_rx_chars).
	rxBurst = 512
	// rxGap is the pause after a burst, from the moment the FIFO is empty.
	rxGap = time.Millisecond
)

// serialInput is the writing end of the line.
type serialInput struct {
	s       *Serial
	turn    sync.Mutex    // one writer at a time, in order
	wake    chan struct{} // capacity 1: the writer is to look again
	waiting bool          // under Serial.mu: a writer is there
	pause   *time.Timer   // under turn
	gap     time.Duration
	burst   int
}

func (in *serialInput) init(s *Serial) {
	in.s = s
	in.wake = make(chan struct{}, 1)
	in.gap, in.burst = rxGap, rxBurst
	s.rx.budget = rxBurst
}

// Input returns the writing end of the line to the guest. Write blocks until the
// guest's receive FIFO took the last byte, and returns ErrSerialClosed with the
// number of bytes taken when the port is closed first. Several goroutines may
// write; each Write stays in one piece.
func (s *Serial) Input() io.Writer { return &s.input }

// Write sends p to the guest.
func (in *serialInput) Write(p []byte) (int, error) { return in.send(p, 0) }

// Break sends a break, which Linux takes for the SysRq key on a console. It blocks
// as a Write to Input does.
func (s *Serial) Break() error {
	_, err := s.input.send([]byte{0}, lsrBI)
	return err
}

// send gives p to the receiver, each byte with the LSR bits in flags.
func (in *serialInput) send(p []byte, flags uint8) (int, error) {
	in.turn.Lock()
	defer in.turn.Unlock()
	s := in.s
	closed := false
	select {
	case <-s.done:
		closed = true
	default:
	}

	s.mu.Lock()
	s.rx.src, s.rx.srcFlag = p, flags
	in.waiting = true
	s.mu.Unlock()

	for {
		left := in.offer(closed)
		switch {
		case left == 0:
			return len(p), nil
		case closed:
			return len(p) - left, ErrSerialClosed
		}
		select {
		case <-in.wake:
			closed = !in.rest()
		case <-s.done:
			closed = true
		}
	}
}

// offer feeds the receiver and returns how many bytes are left. When none are, or
// last is set, the receiver forgets the caller's slice.
func (in *serialInput) offer(last bool) int {
	s := in.s
	s.mu.Lock()
	if !last {
		s.feed()
	}
	left := len(s.rx.src)
	if left == 0 || last {
		s.rx.src = nil
		in.waiting = false
	}
	w := s.settled()
	s.mu.Unlock()
	s.wake(w)
	return left
}

// rest pauses after a burst that the guest has read, and allows the next. It
// reports whether the port is still open.
func (in *serialInput) rest() bool {
	s := in.s
	s.mu.Lock()
	spent := s.rx.budget == 0 && s.rx.len == 0
	s.mu.Unlock()
	if !spent {
		return true
	}
	if in.pause == nil {
		in.pause = time.NewTimer(in.gap)
	} else {
		in.pause.Reset(in.gap)
	}
	select {
	case <-in.pause.C:
	case <-s.done:
		in.pause.Stop()
		return false
	}
	s.mu.Lock()
	s.rx.budget = in.burst
	s.mu.Unlock()
	return true
}
