package devices

// rxPolls is the number of looks at an idle LSR, with no other access between them,
// that show a guest which polls for input. Drivers that poll for the transmitter
// look once or twice, since it is always ready.
const rxPolls = 32

// serialRX is the receiver. All of it belongs to Serial.mu.
type serialRX struct {
	// The FIFO, a ring; without FIFO mode it holds one byte.
	buf   [serialFIFO]uint8
	flags [serialFIFO]uint8 // LSR error bits of each byte
	head  int
	len   int
	loop  int // of len, the oldest that came through loopback
	last  uint8
	over  bool // LSR.OE

	// back holds bytes that were in the FIFO when the guest cleared it, unread.
	// They go in again, ahead of all other input: see unreceive.
	back      [serialFIFO]uint8
	backFlags [serialFIFO]uint8
	backLen   int

	// src is what the writer that is blocked in Input still has to give.
	src     []byte
	srcFlag uint8
	budget  int // bytes of src that may still go in this burst

	idlePolls int
	polled    bool // the guest polls LSR for input
	rtsUsed   bool // the guest asserted RTS at least once
}

// errors are the LSR error bits that show now: an overrun, and those of the byte
// at the head.
func (r *serialRX) errors() uint8 {
	var v uint8
	if r.len > 0 {
		v = r.flags[r.head]
	}
	if r.over {
		v |= lsrOE
	}
	return v
}

// clearErrors forgets what errors showed.
func (r *serialRX) clearErrors() {
	r.over = false
	if r.len > 0 {
		r.flags[r.head] = 0
	}
}

// flagged reports whether any byte in the FIFO carries an error.
func (r *serialRX) flagged() bool {
	for i := range r.len {
		if r.flags[(r.head+i)%serialFIFO] != 0 {
			return true
		}
	}
	return false
}

func (r *serialRX) push(b, flags uint8) {
	i := (r.head + r.len) % serialFIFO
	r.buf[i], r.flags[i] = b, flags
	r.len++
}

func (r *serialRX) pop() (b, flags uint8) {
	b, flags = r.buf[r.head], r.flags[r.head]
	r.head = (r.head + 1) % serialFIFO
	r.len--
	if r.loop > 0 {
		r.loop--
	}
	return b, flags
}

// pushLoop receives a byte through loopback. Only here can the FIFO overrun: the
// transmitter does not wait for the receiver. The byte that does not fit is lost.
func (r *serialRX) pushLoop(b, flags uint8, depth int) {
	if r.len >= depth {
		r.over = true
		return
	}
	r.push(b, flags)
	r.loop++
}

// unreceive empties the FIFO. A byte from the line that the guest has not read is
// put back on the line, to arrive again later: a driver clears the FIFO as it opens
// the port, and input that ran ahead of it would be lost. What came through
// loopback is dropped, as the data sheet says.
//
// back cannot overflow: while it holds anything nothing else enters the FIFO, so
// both together never hold more than one FIFO did.
func (r *serialRX) unreceive() {
	for r.loop > 0 {
		r.pop()
	}
	n := r.len
	copy(r.back[n:], r.back[:r.backLen])
	copy(r.backFlags[n:], r.backFlags[:r.backLen])
	for i := range n {
		r.back[i], r.backFlags[i] = r.pop()
	}
	r.backLen += n
	r.over = false
	r.polled = false
}

// next takes the next byte from the line, if there is one to give.
func (r *serialRX) next() (b, flags uint8, ok bool) {
	if r.backLen > 0 {
		b, flags = r.back[0], r.backFlags[0]
		copy(r.back[:], r.back[1:r.backLen])
		copy(r.backFlags[:], r.backFlags[1:r.backLen])
		r.backLen--
		return b, flags, true
	}
	if len(r.src) == 0 || r.budget == 0 {
		return 0, 0, false
	}
	b, flags = r.src[0], r.srcFlag
	r.src = r.src[1:]
	r.budget--
	return b, flags, true
}

// wants reports whether the blocked writer has something to do: it is through, or
// its burst is, and the guest has read it.
func (r *serialRX) wants() bool {
	return len(r.src) == 0 || r.budget == 0 && r.len == 0
}

// listening reports whether input may flow. A guest that has used RTS says so by
// RTS. Before that it must have shown that it reads at all, by enabling the receive
// interrupt or by polling: what is sent before a driver is up would be thrown away
// by its first steps.
func (s *Serial) listening() bool {
	switch {
	case s.loopback():
		return false
	case s.mcr&mcrRTS != 0:
		return true
	case s.rx.rtsUsed:
		return false
	}
	return s.ier&ierRDI != 0 || s.rx.polled
}

// notePoll counts looks at the line status that found nothing to do.
func (s *Serial) notePoll(lsr uint8) {
	if lsr&lsrDR != 0 || s.rx.polled {
		return
	}
	s.rx.idlePolls++
	if s.rx.idlePolls >= rxPolls {
		s.rx.polled = true
		s.feed()
	}
}

// feed moves input into the FIFO as far as it has room and the guest listens.
func (s *Serial) feed() {
	if s.rx.backLen == 0 && len(s.rx.src) == 0 || !s.listening() {
		return
	}
	before := len(s.rx.src)
	depth := s.depth()
	for s.rx.len < depth {
		b, flags, ok := s.rx.next()
		if !ok {
			break
		}
		s.rx.push(b, flags)
	}
	s.stats.RxBytes += uint64(before - len(s.rx.src))
}

// readRBR takes a received byte. With none there the register shows the last one.
func (s *Serial) readRBR() uint8 {
	if s.rx.len == 0 {
		return s.rx.last
	}
	s.rx.last, _ = s.rx.pop()
	s.feed()
	return s.rx.last
}
