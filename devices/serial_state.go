package devices

import "fmt"

// SerialState is what a guest can tell of a Serial. Output that the sink has yet to
// take and input that is blocked in Input belong to the host and are not part of
// it.
type SerialState struct {
	IER, LCR, MCR, SCR, FCR uint8
	DLL, DLM                uint8
	MSRDelta                uint8
	TxEmpty                 bool // the interrupt of the empty transmitter is due

	Rx      SerialQueue // the receive FIFO
	RxLoop  uint8       // bytes of it, the oldest, that came through loopback
	RxLast  uint8
	Overrun bool
	Back    SerialQueue // bytes that the guest cleared unread and will get again
	Polled  bool
	RTSUsed bool
}

// SerialQueue is up to 16 received bytes, oldest first, each with its LSR error
// bits.
type SerialQueue struct {
	Len   uint8
	Bytes [serialFIFO]uint8
	Flags [serialFIFO]uint8
}

// Save returns the state. The vCPUs must be paused.
func (s *Serial) Save() SerialState {
	s.mu.Lock()
	defer s.mu.Unlock()
	st := SerialState{
		IER: s.ier, LCR: s.lcr, MCR: s.mcr, SCR: s.scr, FCR: s.fcr,
		DLL: s.dll, DLM: s.dlm,
		MSRDelta: s.msrDelta,
		TxEmpty:  s.tx.empty || s.tx.busy,
		RxLoop:   uint8(s.rx.loop),
		RxLast:   s.rx.last,
		Overrun:  s.rx.over,
		Back:     SerialQueue{Len: uint8(s.rx.backLen), Bytes: s.rx.back, Flags: s.rx.backFlags},
		Polled:   s.rx.polled,
		RTSUsed:  s.rx.rtsUsed,
	}
	st.Rx.Len = uint8(s.rx.len)
	for i := range s.rx.len {
		at := (s.rx.head + i) % serialFIFO
		st.Rx.Bytes[i], st.Rx.Flags[i] = s.rx.buf[at], s.rx.flags[at]
	}
	return st
}

// Restore sets the state. It raises the interrupt if one is pending: should the
// guest have taken it before, it finds nothing to do.
func (s *Serial) Restore(st SerialState) error {
	if err := st.check(); err != nil {
		return err
	}
	s.mu.Lock()
	s.ier, s.lcr, s.mcr, s.scr, s.fcr = st.IER, st.LCR, st.MCR, st.SCR, st.FCR
	s.dll, s.dlm = st.DLL, st.DLM
	s.msrDelta = st.MSRDelta
	s.tx.busy, s.tx.empty = false, st.TxEmpty
	rx := &s.rx
	rx.buf, rx.flags = st.Rx.Bytes, st.Rx.Flags
	rx.head, rx.len, rx.loop = 0, int(st.Rx.Len), int(st.RxLoop)
	rx.last, rx.over = st.RxLast, st.Overrun
	rx.back, rx.backFlags, rx.backLen = st.Back.Bytes, st.Back.Flags, int(st.Back.Len)
	rx.idlePolls, rx.polled, rx.rtsUsed = 0, st.Polled, st.RTSUsed
	s.line.set(false)
	s.feed()
	w := s.settled()
	s.mu.Unlock()
	s.wake(w)
	return nil
}

// check refuses what no sequence of accesses can lead to.
func (st *SerialState) check() error {
	depth := uint8(1)
	if st.FCR&fcrEnable != 0 {
		depth = serialFIFO
	}
	switch {
	case st.IER&^ierMask != 0, st.MCR&^mcrMask != 0, st.MSRDelta&0xF0 != 0:
		return fmt.Errorf("restore serial port: reserved register bits are set: %w", ErrBadState)
	case st.FCR&^(fcrEnable|3<<fcrTriggerShift) != 0, st.FCR != 0 && depth == 1:
		return fmt.Errorf("restore serial port: FCR is %#x: %w", st.FCR, ErrBadState)
	case st.Rx.Len > depth, st.RxLoop > st.Rx.Len:
		return fmt.Errorf("restore serial port: %d bytes in a FIFO of %d: %w", st.Rx.Len, depth, ErrBadState)
	case int(st.Rx.Len)-int(st.RxLoop)+int(st.Back.Len) > serialFIFO:
		return fmt.Errorf("restore serial port: %d unread bytes: %w", st.Back.Len, ErrBadState)
	case !st.Rx.valid(), !st.Back.valid():
		return fmt.Errorf("restore serial port: unknown receive errors: %w", ErrBadState)
	}
	return nil
}

// valid reports whether each byte has an error that can be.
func (q *SerialQueue) valid() bool {
	for _, f := range q.Flags {
		if f&^lsrBI != 0 {
			return false
		}
	}
	return int(q.Len) <= serialFIFO
}
