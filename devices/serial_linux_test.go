package devices

import (
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// linuxUART imitates what Linux does with a 16550A: the probe and start-up of
// drivers/tty/serial/8250/8250_port.c, its interrupt handler, the flip buffer
// behind it (drivers/tty/tty_buffer.c) and the throttling of the line discipline
// (drivers/tty/n_tty.c). Each register access is an exit, and is counted.
type linuxUART struct {
	t     testing.TB
	s     *Serial
	exits atomic.Int64
	irqs  atomic.Int64
	line  chan struct{} // the interrupt controller's latch
	stop  chan struct{}
	wg    sync.WaitGroup

	port     sync.Mutex // uart_port.lock
	ier, mcr uint8      // shadows
	txBytes  []byte     // xmit_fifo
	txRoom   sync.Cond
	spurious atomic.Int64

	buf       sync.Mutex // flip buffer and n_tty together
	more      sync.Cond
	flip      []byte
	flipPeak  int
	lost      int // bytes that met a full flip buffer
	ntty      []byte
	throttle  sync.Mutex // tty_struct.throttle_mutex
	throttled bool
	crtscts   bool
}

const (
	linuxFlipLimit  = 640 << 10 // TTYB_DEFAULT_MEM_LIMIT
	linuxNTTY       = 4096      // N_TTY_BUF_SIZE
	linuxThrottle   = 128       // TTY_THRESHOLD_THROTTLE
	linuxUnthrottle = 128       // TTY_THRESHOLD_UNTHROTTLE
	linuxTxLoad     = 16        // tx_loadsz of PORT_16550A
	linuxPassLimit  = 512       // PASS_LIMIT
	linuxRxMax      = 256       // max_count of serial8250_rx_chars
)

// newLinuxUART makes the driver; its serial port is set by attach.
func newLinuxUART(t testing.TB) *linuxUART {
	l := &linuxUART{t: t, line: make(chan struct{}, 1), stop: make(chan struct{})}
	l.more.L, l.txRoom.L = &l.buf, &l.port
	return l
}

// Trigger latches an edge, as an interrupt controller does.
func (l *linuxUART) Trigger() error {
	l.irqs.Add(1)
	signal(l.line)
	return nil
}

func (l *linuxUART) in(reg uint64) uint8 { l.exits.Add(1); return inb(l.s, reg) }

func (l *linuxUART) out(reg uint64, v uint8) { l.exits.Add(1); outb(l.s, reg, v) }

// autoconfig is the kernel's function of that name, with the tests for variants of
// the 16550A. It returns the FIFO's size as size_fifo measures it.
func (l *linuxUART) autoconfig() int {
	t := l.t
	ier := l.in(serialIER)
	l.out(serialIER, 0)
	wantByte(t, "IER test, zeroes", l.in(serialIER)&0xF, 0)
	l.out(serialIER, 0xF)
	wantByte(t, "IER test, ones", l.in(serialIER)&0xF, 0xF)
	l.out(serialIER, ier)
	mcr, lcr := l.in(serialMCR), l.in(serialLCR)
	l.out(serialMCR, mcrLoop|mcrOUT2|mcrRTS)
	wantByte(t, "LOOP test", l.in(serialMSR)&0xF0, msrDCD|msrCTS)
	l.out(serialMCR, mcr)
	l.out(serialLCR, 0xBF)
	l.out(serialIIR, 0)
	l.out(serialLCR, 0)
	l.out(serialIIR, fcrEnable)
	wantByte(t, "IIR with FIFOs", l.in(serialIIR)&0xC0, 0xC0)
	l.noVariant()
	size := l.sizeFIFO()
	l.out(serialLCR, lcr)
	l.out(serialMCR, mcr)
	l.clearFIFOs()
	l.in(serialData)
	l.out(serialIER, 0)
	return size
}

// noVariant is autoconfig_16550a: none of the chips it knows must be found.
func (l *linuxUART) noVariant() {
	t := l.t
	l.out(serialLCR, 0x80)
	if l.in(serialIIR) == 0 {
		t.Error("found an EFR with DLAB")
	}
	l.out(serialLCR, 0xBF)
	if l.in(serialIIR) == 0 {
		t.Error("found an EFR with LCR 0xBF")
	}
	l.out(serialLCR, 0)
	mcr := l.in(serialMCR)
	l.out(serialLCR, 0xE0)
	first := (l.in(serialIIR) ^ mcr) & mcrLoop
	l.out(serialLCR, 0)
	if first == 0 {
		l.out(serialMCR, mcr^mcrLoop)
		l.out(serialLCR, 0xE0)
		second := l.in(serialIIR)
		l.out(serialLCR, 0)
		l.out(serialMCR, mcr)
		if (second^mcr)&mcrLoop != 0 {
			t.Error("found a National Semiconductor SuperIO")
		}
	}
	l.out(serialIIR, fcrEnable|0x20)
	wantByte(t, "no TI16750", l.in(serialIIR)>>5, 0x6)
	l.out(serialIIR, fcrEnable)
	ier := l.in(serialIER)
	l.out(serialIER, ier|0x40)
	wantByte(t, "no XScale", l.in(serialIER)&0x40, 0)
	l.out(serialIER, ier)
}

// sizeFIFO is size_fifo.
func (l *linuxUART) sizeFIFO() int {
	lcr := l.in(serialLCR)
	l.out(serialLCR, 0)
	fcr, mcr := l.in(serialIIR), l.in(serialMCR)
	l.out(serialIIR, fcrEnable|fcrClearRX|fcrClearTX)
	l.out(serialMCR, mcrLoop)
	l.out(serialLCR, 0x80)
	dll, dlm := l.in(0), l.in(1)
	l.out(0, 1)
	l.out(1, 0)
	l.out(serialLCR, 3)
	for i := range 256 {
		l.out(serialData, uint8(i))
	}
	n := 0
	for l.in(serialLSR)&lsrDR != 0 && n < 256 {
		wantByte(l.t, "loopback byte", l.in(serialData), uint8(n))
		n++
	}
	l.out(serialIIR, fcr)
	l.out(serialMCR, mcr)
	l.out(serialLCR, 0x80)
	l.out(0, dll)
	l.out(1, dlm)
	l.out(serialLCR, lcr)
	return n
}

// clearFIFOs is serial8250_clear_fifos.
func (l *linuxUART) clearFIFOs() {
	l.out(serialIIR, fcrEnable)
	l.out(serialIIR, fcrEnable|fcrClearRX|fcrClearTX)
	l.out(serialIIR, 0)
}

func (l *linuxUART) clearInterrupts() {
	for _, reg := range []uint64{serialLSR, serialData, serialIIR, serialMSR} {
		l.in(reg)
	}
}

// startup is serial8250_do_startup with serial8250_do_set_termios, and what
// uart_port_startup does to the modem lines.
func (l *linuxUART) startup(crtscts bool) {
	t := l.t
	l.crtscts = crtscts
	l.clearFIFOs()
	l.clearInterrupts()
	// UART_BUG_THRE
	l.out(serialIER, ierTHRI)
	iir1 := l.in(serialIIR)
	l.out(serialIER, 0)
	l.out(serialIER, ierTHRI)
	iir2 := l.in(serialIIR)
	l.out(serialIER, 0)
	if iir1&iirNone == 0 && iir2&iirNone != 0 {
		t.Error("Linux would set UART_BUG_THRE")
	}
	l.out(serialLCR, 3)
	l.out(serialMCR, mcrOUT2)
	// UART_BUG_TXEN
	l.out(serialIER, ierTHRI)
	lsr, iir := l.in(serialLSR), l.in(serialIIR)
	l.out(serialIER, 0)
	if lsr&lsrTEMT != 0 && iir&iirNone != 0 {
		t.Error("Linux would set UART_BUG_TXEN")
	}
	l.clearInterrupts()
	l.port.Lock()
	l.ier = ierRLSI | ierRDI
	l.mcr = mcrOUT2
	l.port.Unlock()
	l.out(serialIER, ierRLSI|ierRDI)
	l.out(serialLCR, 3|lcrDLAB)
	l.out(0, 1)
	l.out(1, 0)
	l.out(serialLCR, 3)
	l.out(serialIIR, fcrEnable)
	l.out(serialIIR, fcrEnable|2<<fcrTriggerShift)
	l.setMCR(mcrDTR|mcrRTS, 0)
	l.wg.Add(2)
	go l.cpu()
	go l.flipWorker()
}

// setMCR is uart_update_mctrl.
func (l *linuxUART) setMCR(set, clear uint8) {
	l.port.Lock()
	defer l.port.Unlock()
	l.mcr = l.mcr&^clear | set
	l.out(serialMCR, l.mcr)
}

// shutdown stops the driver's threads.
func (l *linuxUART) shutdown() {
	l.buf.Lock()
	close(l.stop)
	l.more.Broadcast()
	l.buf.Unlock()
	l.wg.Wait()
}

func (l *linuxUART) stopped() bool {
	select {
	case <-l.stop:
		return true
	default:
		return false
	}
}

// cpu is a CPU that does nothing but take interrupts.
func (l *linuxUART) cpu() {
	defer l.wg.Done()
	for {
		select {
		case <-l.line:
			l.interrupt()
		case <-l.stop:
			return
		}
	}
}

// interrupt is serial8250_interrupt with a single port.
func (l *linuxUART) interrupt() {
	handled := false
	for pass := 0; l.handle(); pass++ {
		handled = true
		if pass > linuxPassLimit {
			break // the next edge must come nevertheless
		}
	}
	if !handled {
		l.spurious.Add(1)
	}
}

// handle is serial8250_handle_irq.
func (l *linuxUART) handle() bool {
	if l.in(serialIIR)&iirNone != 0 {
		return false
	}
	l.port.Lock()
	defer l.port.Unlock()
	lsr := l.in(serialLSR)
	if lsr&(lsrDR|lsrBI) != 0 {
		lsr = l.rxChars(lsr)
	}
	l.in(serialMSR)
	if lsr&lsrTHRE != 0 && l.ier&ierTHRI != 0 {
		l.txChars()
	}
	return true
}

// rxChars is serial8250_rx_chars.
func (l *linuxUART) rxChars(lsr uint8) uint8 {
	for range linuxRxMax {
		if lsr&lsrOE != 0 {
			l.t.Error("the receiver overran")
		}
		c := l.in(serialData)
		l.buf.Lock()
		if len(l.flip) < linuxFlipLimit {
			l.flip = append(l.flip, c)
			l.flipPeak = max(l.flipPeak, len(l.flip))
		} else {
			l.lost++
		}
		l.buf.Unlock()
		lsr = l.in(serialLSR)
		if lsr&(lsrDR|lsrBI) == 0 {
			break
		}
	}
	l.more.Broadcast()
	return lsr
}

// txChars is serial8250_tx_chars: it fills the whole FIFO without a look.
func (l *linuxUART) txChars() {
	n := min(len(l.txBytes), linuxTxLoad)
	for _, c := range l.txBytes[:n] {
		l.out(serialData, c)
	}
	l.txBytes = l.txBytes[n:]
	l.txRoom.Broadcast()
	if len(l.txBytes) == 0 && l.ier&ierTHRI != 0 {
		l.ier &^= ierTHRI
		l.out(serialIER, l.ier)
	}
}

// write is uart_write: it blocks until the transmit buffer took all of p.
func (l *linuxUART) write(p []byte) {
	l.port.Lock()
	defer l.port.Unlock()
	for len(p) > 0 {
		for len(l.txBytes) >= 4096 {
			l.txRoom.Wait()
		}
		n := min(len(p), 4096-len(l.txBytes))
		l.txBytes = append(l.txBytes, p[:n]...)
		p = p[n:]
		if l.ier&ierTHRI == 0 {
			l.ier |= ierTHRI
			l.out(serialIER, l.ier)
		}
	}
}

// console is serial8250_console_write. It reports how often it gave up waiting.
func (l *linuxUART) console(p []byte) (timeouts int) {
	l.port.Lock()
	defer l.port.Unlock()
	ier := l.in(serialIER)
	l.out(serialIER, 0)
	for _, c := range p {
		if !l.waitForLSR(lsrTHRE) {
			timeouts++
		}
		l.out(serialData, c)
	}
	l.waitForLSR(lsrTHRE | lsrTEMT)
	l.out(serialIER, ier)
	return timeouts
}

// waitForLSR is wait_for_lsr: up to 10 ms.
func (l *linuxUART) waitForLSR(bits uint8) bool {
	for end := time.Now().Add(10 * time.Millisecond); ; {
		if l.in(serialLSR)&bits == bits {
			return true
		}
		if time.Now().After(end) {
			return false
		}
	}
}

// flipWorker is flush_to_ldisc with n_tty_receive_buf_common and
// n_tty_check_throttle, in raw mode.
func (l *linuxUART) flipWorker() {
	defer l.wg.Done()
	l.buf.Lock()
	defer l.buf.Unlock()
	for !l.stopped() {
		n := min(len(l.flip), linuxNTTY-1-len(l.ntty))
		if n == 0 {
			l.more.Wait()
			continue
		}
		l.ntty = append(l.ntty, l.flip[:n]...)
		l.flip = l.flip[n:]
		l.more.Broadcast()
		l.buf.Unlock()
		l.checkThrottle()
		l.buf.Lock()
	}
}

// checkThrottle is n_tty_check_throttle and n_tty_check_unthrottle; without CRTSCTS
// uart_throttle does nothing.
func (l *linuxUART) checkThrottle() {
	l.throttle.Lock()
	defer l.throttle.Unlock()
	l.buf.Lock()
	full := linuxNTTY-len(l.ntty) < linuxThrottle && !l.throttled
	low := len(l.ntty) <= linuxUnthrottle && l.throttled
	l.throttled = l.throttled && !low || full
	l.buf.Unlock()
	switch {
	case !l.crtscts:
	case full:
		l.setMCR(0, mcrRTS)
	case low:
		l.setMCR(mcrRTS, 0)
	}
}

// read is n_tty_read in raw mode.
func (l *linuxUART) read(p []byte) int {
	l.buf.Lock()
	for len(l.ntty) == 0 && !l.stopped() {
		l.more.Wait()
	}
	n := copy(p, l.ntty)
	l.ntty = l.ntty[n:]
	l.more.Broadcast()
	l.buf.Unlock()
	l.checkThrottle()
	return n
}

// readAll reads n bytes in steps and at times of its own choosing.
func (l *linuxUART) readAll(n int, pace func(*rand.Rand)) []byte {
	rnd := rand.New(rand.NewPCG(1, 2))
	got := make([]byte, 0, n)
	chunk := make([]byte, linuxNTTY)
	for len(got) < n && !l.stopped() {
		if pace != nil {
			pace(rnd)
		}
		k := l.read(chunk[:1+rnd.IntN(len(chunk))])
		got = append(got, chunk[:k]...)
	}
	return got
}

// randomPace sleeps now and then, sometimes for long.
func randomPace(rnd *rand.Rand) {
	switch rnd.IntN(40) {
	case 0:
		time.Sleep(time.Duration(rnd.IntN(10)) * time.Millisecond)
	case 1, 2, 3, 4:
		time.Sleep(time.Duration(rnd.IntN(300)) * time.Microsecond)
	}
}

// randomBytes is n bytes that differ enough for a loss to show.
func randomBytes(n int) []byte {
	rnd := rand.New(rand.NewPCG(3, 4))
	p := make([]byte, n)
	for i := range p {
		p[i] = byte(rnd.Uint32())
	}
	return p
}
