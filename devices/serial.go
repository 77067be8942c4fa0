package devices

import (
	"errors"
	"io"
	"sync"
)

// ErrSerialClosed is what input gets once the serial port is closed.
var ErrSerialClosed = errors.New("serial port is closed")

// Serial is a 16550A UART: the full register model, both 16-byte FIFOs, and a line
// that is as fast as the two ends are.
//
// Output. A byte that the guest writes goes to a bounded buffer, which one
// goroutine empties into the sink. While the buffer is full the transmitter reports
// itself busy (LSR.THRE and LSR.TEMT clear), so a slow sink slows the guest's
// driver and never a vCPU thread. See serial_tx.go.
//
// Input. A write to Input blocks until the guest has taken the bytes into its
// receive FIFO. It is held back while the guest is not listening or has dropped
// RTS, and it is paced, so that neither the FIFO nor the buffers behind it in the
// guest's driver overrun. See serial_rx.go.
//
// The interrupt is not gated by MCR.OUT2, unlike on a PC's board: drivers that set
// OUT2 see no difference, and small kernels that forget it work.
type Serial struct {
	mu   sync.Mutex
	line edgeLine

	// Registers (serial_regs.go).
	ier, lcr, mcr, scr, fcr uint8
	dll, dlm                uint8
	msrDelta                uint8 // MSR bits 0 to 3

	rx serialRX
	tx serialTX

	input     serialInput
	done      chan struct{} // closed by Close: unblocks input
	closeOnce sync.Once

	stats SerialStats // under mu; IRQsFailed lives in line
}

// SerialStats are the counters of one Serial since it was made.
type SerialStats struct {
	RxBytes    uint64 // bytes of input that entered the guest's receive FIFO
	TxBytes    uint64 // bytes that the sink took
	TxDropped  uint64 // bytes lost: sink failed, port closed, or LSR.THRE ignored for long
	IRQsFailed uint64 // interrupts that could not be raised
}

// NewSerial makes a serial port that raises irq and sends what the guest writes to
// out. Either may be nil. Whoever makes it must Close it: it owns a goroutine.
// Writes to out come from that goroutine only.
func NewSerial(irq Interrupt, out io.Writer) *Serial {
	s := &Serial{
		line: edgeLine{irq: irq},
		dll:  serialDivisor,
		done: make(chan struct{}),
	}
	s.input.init(s)
	s.tx.init(out)
	if out != nil {
		go s.drain()
	}
	return s
}

// Name is the device's name in messages.
func (s *Serial) Name() string { return "serial" }

// Stats returns the counters.
func (s *Serial) Stats() SerialStats {
	s.mu.Lock()
	defer s.mu.Unlock()
	st := s.stats
	st.IRQsFailed = s.line.failed.Load()
	return st
}

// Read reads registers; a wide access reads several, as on an 8-bit ISA bus.
func (s *Serial) Read(offset uint64, data []byte) {
	s.mu.Lock()
	for i := range data {
		data[i] = s.readReg(offset + uint64(i))
	}
	w := s.settled()
	s.mu.Unlock()
	s.wake(w)
}

// Write writes registers; a wide access writes several.
func (s *Serial) Write(offset uint64, data []byte) {
	s.mu.Lock()
	for i := range data {
		s.writeReg(offset+uint64(i), data[i])
	}
	w := s.settled()
	s.mu.Unlock()
	s.wake(w)
}

// wakeups is what an access sets in motion once the lock is released.
type wakeups struct{ irq, drain, input bool }

// settled finishes an operation under the lock: it recomputes the interrupt line
// and collects who is to be woken.
func (s *Serial) settled() wakeups {
	w := wakeups{
		irq:   s.line.set(s.source() != iirNone),
		drain: s.tx.kick,
		input: s.input.waiting && s.rx.wants(),
	}
	s.tx.kick = false
	return w
}

// wake does what settled collected. None of it blocks.
func (s *Serial) wake(w wakeups) {
	if w.irq {
		s.line.fire()
	}
	if w.drain {
		signal(s.tx.wake)
	}
	if w.input {
		signal(s.input.wake)
	}
}

// signal leaves a token in a channel of capacity one.
func signal(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

// source is the pending interrupt of highest priority (table 8-3). Data below the
// trigger level counts as a character time-out at once: the line has no speed, so
// four character times pass in none.
func (s *Serial) source() uint8 {
	switch {
	case s.ier&ierRLSI != 0 && s.rx.errors() != 0:
		return iirRLS
	case s.ier&ierRDI != 0 && s.rx.len >= s.trigger():
		return iirRDI
	case s.ier&ierRDI != 0 && s.rx.len > 0:
		return iirCTI
	case s.ier&ierTHRI != 0 && s.tx.empty:
		return iirTHR
	case s.ier&ierMSI != 0 && s.msrDelta != 0:
		return iirMSR
	}
	return iirNone
}

func (s *Serial) fifoOn() bool   { return s.fcr&fcrEnable != 0 }
func (s *Serial) loopback() bool { return s.mcr&mcrLoop != 0 }

// trigger is the number of received bytes that raise an interrupt.
func (s *Serial) trigger() int {
	if !s.fifoOn() {
		return 1
	}
	return rxTrigger(s.fcr)
}

// depth is the number of bytes that each FIFO holds: one without FIFO mode.
func (s *Serial) depth() int {
	if !s.fifoOn() {
		return 1
	}
	return serialFIFO
}

func (s *Serial) readReg(reg uint64) uint8 {
	if reg != serialLSR {
		s.rx.idlePolls = 0
	}
	switch reg {
	case serialData:
		if s.lcr&lcrDLAB != 0 {
			return s.dll
		}
		return s.readRBR()
	case serialIER:
		if s.lcr&lcrDLAB != 0 {
			return s.dlm
		}
		return s.ier
	case serialIIR:
		return s.readIIR()
	case serialLCR:
		return s.lcr
	case serialMCR:
		return s.mcr
	case serialLSR:
		return s.readLSR()
	case serialMSR:
		v := s.modemLines() | s.msrDelta
		s.msrDelta = 0
		return v
	case serialSCR:
		return s.scr
	}
	return allOnes
}

func (s *Serial) writeReg(reg uint64, v uint8) {
	s.rx.idlePolls = 0
	switch reg {
	case serialData:
		if s.lcr&lcrDLAB != 0 {
			s.dll = v
			return
		}
		s.writeTHR(v)
	case serialIER:
		if s.lcr&lcrDLAB != 0 {
			s.dlm = v
			return
		}
		s.writeIER(v & ierMask)
	case serialIIR:
		s.writeFCR(v)
	case serialLCR:
		s.writeLCR(v)
	case serialMCR:
		s.writeMCR(v & mcrMask)
	case serialSCR:
		s.scr = v
	}
	// LSR and MSR are for reading: data sheet 8.4 and 8.9 keep writes to them for
	// the factory.
}

// readIIR names the pending interrupt. Naming the empty transmitter clears that
// one (8.6).
func (s *Serial) readIIR() uint8 {
	s.tx.settle()
	v := s.source()
	if v == iirTHR {
		s.tx.empty = false
	}
	if s.fifoOn() {
		v |= iirFIFO
	}
	return v
}

// readLSR reports the line status and clears the errors that it shows (8.4).
func (s *Serial) readLSR() uint8 {
	s.tx.settle()
	v := s.rx.errors()
	if s.rx.len > 0 {
		v |= lsrDR
	}
	if s.fifoOn() && s.rx.flagged() {
		v |= lsrFIFOE
	}
	s.rx.clearErrors()
	if !s.tx.busy {
		v |= lsrTHRE | lsrTEMT
		s.notePoll(v)
	}
	return v
}

// writeIER enables interrupts. Enabling that of an empty transmitter raises it
// (8.7 with 8.6), which drivers use to start a transmission. Disabling it again
// is what they do when they have nothing more to send: a good moment to write out.
func (s *Serial) writeIER(v uint8) {
	old := s.ier
	s.ier = v
	s.tx.settle()
	if v&^old&ierTHRI != 0 && !s.tx.busy {
		s.tx.empty = true
	}
	if old&^v&ierTHRI != 0 {
		s.tx.hurry()
	}
	s.feed()
}

// writeFCR sets the FIFOs up (8.5). The other bits only count with the enable bit,
// and switching the mode empties both FIFOs.
func (s *Serial) writeFCR(v uint8) {
	changed := (v^s.fcr)&fcrEnable != 0
	if v&fcrEnable == 0 {
		v = 0
	}
	s.fcr = v & (fcrEnable | 3<<fcrTriggerShift)
	if changed || v&fcrClearRX != 0 {
		s.rx.unreceive()
	}
	// The transmit FIFO needs no clearing: what was written to it has left.
	s.tx.settle()
	s.feed()
}

// writeLCR sets the line's format, which a line without wire does not need, the
// divisor latch bit and the break bit. In loopback the receiver sees the break.
func (s *Serial) writeLCR(v uint8) {
	rising := v &^ s.lcr
	s.lcr = v
	if rising&lcrBreak != 0 && s.loopback() {
		s.rx.pushLoop(0, lsrBI, s.depth())
	}
}
