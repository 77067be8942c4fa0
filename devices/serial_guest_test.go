package devices

import (
	"bytes"
	"errors"
	"testing"
	"time"
)

// bootLinux makes a serial port with a Linux driver that has opened it.
func bootLinux(t testing.TB, out *syncBuffer, crtscts bool) (*Serial, *linuxUART) {
	t.Helper()
	s, l := newLinux(t, out)
	l.autoconfig()
	l.startup(crtscts)
	t.Cleanup(l.shutdown)
	return s, l
}

// newLinux makes a serial port with a driver that has not touched it.
func newLinux(t testing.TB, out *syncBuffer) (*Serial, *linuxUART) {
	t.Helper()
	l := newLinuxUART(t)
	if out == nil {
		out = &syncBuffer{}
	}
	s := NewSerial(l, out)
	l.s = s
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Errorf("Close: %v", err)
		}
	})
	return s, l
}

// feedAsync writes input in another goroutine, in pieces, and reports the error.
func feedAsync(s *Serial, p []byte, piece int) <-chan error {
	done := make(chan error, 1)
	go func() {
		for len(p) > 0 {
			n, err := s.Input().Write(p[:min(piece, len(p))])
			if err != nil {
				done <- err
				return
			}
			p = p[n:]
		}
		done <- nil
	}()
	return done
}

func wantSame(t testing.TB, what string, got, want []byte) {
	t.Helper()
	if bytes.Equal(got, want) {
		return
	}
	for i := range min(len(got), len(want)) {
		if got[i] != want[i] {
			t.Fatalf("%s: %d bytes, want %d; the first difference is at %d", what, len(got), len(want), i)
		}
	}
	t.Fatalf("%s: %d bytes, want %d; they agree as far as they go", what, len(got), len(want))
}

func TestSerialLinuxProbe(t *testing.T) {
	s, l := newLinux(t, nil)
	if n := l.autoconfig(); n != serialFIFO {
		t.Errorf("size_fifo finds %d bytes", n)
	}
	l.startup(false)
	l.shutdown()
	if st := s.Stats(); st.TxBytes+st.TxDropped != 0 {
		t.Errorf("the probe sent something: %+v", st)
	}
}

// A paste of 1 MB into a guest that throttles by RTS and reads as it pleases.
func TestSerialPaste(t *testing.T) {
	s, l := bootLinux(t, nil, true)
	s.input.gap = 20 * time.Microsecond // or the test would take long
	paste := randomBytes(1 << 20)
	done := feedAsync(s, paste, 32<<10)
	got := l.readAll(len(paste), randomPace)
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	wantSame(t, "paste", got, paste)
	l.buf.Lock()
	defer l.buf.Unlock()
	t.Logf("%.2f exits and %.3f interrupts a byte, %d spurious; flip buffer peak %d",
		float64(l.exits.Load())/float64(len(paste)), float64(l.irqs.Load())/float64(len(paste)), l.spurious.Load(), l.flipPeak)
	if l.lost != 0 || l.flipPeak > 16<<10 {
		t.Errorf("flip buffer peak %d, lost %d", l.flipPeak, l.lost)
	}
}

// Without CRTSCTS a guest cannot hold us back; its buffers take up what its reader
// leaves behind for a while.
func TestSerialPasteNoFlowControl(t *testing.T) {
	s, l := bootLinux(t, nil, false)
	s.input.gap = 200 * time.Microsecond
	paste := randomBytes(256 << 10)
	done := feedAsync(s, paste, 1000)
	got := l.readAll(len(paste), nil)
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	wantSame(t, "paste", got, paste)
}

// Input that comes before the driver does waits for it, through all its resets.
func TestSerialTypeAhead(t *testing.T) {
	s, l := newLinux(t, nil)
	typed := randomBytes(1000)
	done := feedAsync(s, typed, 10)
	time.Sleep(5 * time.Millisecond)
	l.autoconfig()
	time.Sleep(5 * time.Millisecond)
	l.startup(true)
	defer l.shutdown()
	got := l.readAll(len(typed), nil)
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	wantSame(t, "type-ahead", got, typed)
}

// A guest that closes the port drops RTS, and the next to open it clears the FIFO.
func TestSerialReopen(t *testing.T) {
	s, _ := newTestSerial(t, nil)
	outb(s, serialIIR, fcrEnable|3<<fcrTriggerShift)
	outb(s, serialMCR, mcrRTS|mcrDTR)
	text := []byte("0123456789abcdefghij")
	done := feedAsync(s, text, len(text))
	var got []byte
	for range 3 {
		for inb(s, serialLSR)&lsrDR == 0 {
			time.Sleep(time.Millisecond)
		}
		got = append(got, inb(s, serialData))
	}
	outb(s, serialMCR, 0)
	outb(s, serialIIR, fcrEnable|fcrClearRX)
	outb(s, serialIIR, 0)
	outb(s, serialIIR, fcrEnable)
	if inb(s, serialLSR)&lsrDR != 0 {
		t.Fatal("input flows while RTS is low")
	}
	outb(s, serialMCR, mcrRTS)
	for len(got) < len(text) {
		for inb(s, serialLSR)&lsrDR == 0 {
			time.Sleep(time.Millisecond)
		}
		got = append(got, inb(s, serialData))
	}
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	wantSame(t, "input", got, text)
}

func TestSerialPolledGuest(t *testing.T) {
	s, irq := newTestSerial(t, nil)
	text := randomBytes(2000)
	done := feedAsync(s, text, 100)
	var got []byte
	for len(got) < len(text) {
		if inb(s, serialLSR)&lsrDR != 0 {
			got = append(got, inb(s, serialData))
		}
	}
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	wantSame(t, "input", got, text)
	if irq.count() != 0 {
		t.Errorf("%d interrupts, none is enabled", irq.count())
	}
}

// A guest that drops RTS holds a write to Input for as long as it likes.
func TestSerialRTSHolds(t *testing.T) {
	s, _ := newTestSerial(t, nil)
	outb(s, serialIIR, fcrEnable)
	outb(s, serialMCR, mcrRTS)
	outb(s, serialMCR, 0)
	done := feedAsync(s, []byte("x"), 1)
	outb(s, serialIER, ierRDI)
	select {
	case err := <-done:
		t.Fatalf("the write returned: %v", err)
	case <-time.After(20 * time.Millisecond):
	}
	wantByte(t, "DR", inb(s, serialLSR)&lsrDR, 0)
	outb(s, serialMCR, mcrRTS)
	wantByte(t, "DR", inb(s, serialLSR)&lsrDR, lsrDR)
	wantByte(t, "byte", inb(s, serialData), 'x')
	if err := <-done; err != nil {
		t.Fatal(err)
	}
}

func TestSerialCloseUnblocksInput(t *testing.T) {
	s := NewSerial(nil, nil)
	type result struct {
		n   int
		err error
	}
	done := make(chan result, 1)
	outb(s, serialIIR, fcrEnable)
	outb(s, serialMCR, mcrRTS)
	go func() {
		n, err := s.Input().Write(make([]byte, 100))
		done <- result{n, err}
	}()
	for inb(s, serialLSR)&lsrDR == 0 {
		time.Sleep(time.Millisecond)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if r := <-done; r.n != serialFIFO || !errors.Is(r.err, ErrSerialClosed) {
		t.Errorf("Write returned %d, %v", r.n, r.err)
	}
}

// Output through the interrupt-driven path, to a sink slower than the guest.
func TestSerialLinuxOutput(t *testing.T) {
	out := &slowSink{delay: time.Millisecond}
	l := newLinuxUART(t)
	s := NewSerial(l, out)
	l.s = s
	l.autoconfig()
	l.startup(false)
	text := randomBytes(300 << 10)
	before := l.exits.Load()
	irqs := l.irqs.Load()
	l.write(text)
	l.port.Lock()
	for len(l.txBytes) > 0 {
		l.txRoom.Wait()
	}
	l.port.Unlock()
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	l.shutdown()
	wantSame(t, "output", out.b.Bytes(), text)
	t.Logf("%.2f exits and %.4f interrupts a byte, %d spurious, %d writes to the sink",
		float64(l.exits.Load()-before)/float64(len(text)), float64(l.irqs.Load()-irqs)/float64(len(text)), l.spurious.Load(), out.n)
}

// slowSink takes its time.
type slowSink struct {
	syncBuffer
	delay time.Duration
}

func (s *slowSink) Write(p []byte) (int, error) {
	time.Sleep(s.delay)
	return s.syncBuffer.Write(p)
}

// Short writes of a guest's shell: the cost of each, and that they come out soon.
func TestSerialLinuxShortWrites(t *testing.T) {
	out := &syncBuffer{}
	s, l := bootLinux(t, out, false)
	var want bytes.Buffer
	line := []byte("uid=0(root) gid=0(root)\r\n")
	exits, irqs := l.exits.Load(), l.irqs.Load()
	for range 50 {
		l.write(line)
		want.Write(line)
		for end := time.Now().Add(10 * time.Second); out.String() != want.String(); {
			if time.Now().After(end) {
				t.Fatalf("output %q", out.String())
			}
			time.Sleep(100 * time.Microsecond)
		}
	}
	t.Logf("%.1f exits and %.2f interrupts a line of %d bytes, %.2f writes, %d spurious", float64(l.exits.Load()-exits)/50,
		float64(l.irqs.Load()-irqs)/50, len(line), float64(out.writes())/50, l.spurious.Load())
	flush(t, s)
}

// The console goes on after 10 ms a byte whatever LSR says. The reserve takes it.
func TestSerialConsoleIgnoresBusy(t *testing.T) {
	gate := &gatedSink{open: make(chan struct{})}
	l := newLinuxUART(t)
	s := NewSerial(l, gate)
	l.s = s
	l.autoconfig()
	var want []byte
	line := bytes.Repeat([]byte("x"), 1023)
	line = append(line, '\n')
	for {
		n := l.console(line[:64])
		want = append(want, line[:64]...)
		if n > 0 {
			break
		}
		if len(want) > 4*txBuffer {
			t.Fatal("the transmitter is never busy")
		}
	}
	if len(want) < txBuffer-txReserve-100 {
		t.Errorf("busy after %d bytes", len(want))
	}
	close(gate.open)
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	wantSame(t, "output", gate.b.Bytes(), want)
}

// gatedSink blocks until it is opened.
type gatedSink struct {
	syncBuffer
	open chan struct{}
}

func (g *gatedSink) Write(p []byte) (int, error) {
	<-g.open
	return g.syncBuffer.Write(p)
}

// A break is the SysRq key of a serial console.
func TestSerialBreak(t *testing.T) {
	s, irq := newTestSerial(t, nil)
	outb(s, serialIIR, fcrEnable|3<<fcrTriggerShift)
	outb(s, serialIER, ierRDI|ierRLSI)
	outb(s, serialMCR, mcrRTS)
	if err := s.Break(); err != nil {
		t.Fatal(err)
	}
	if irq.count() != 1 {
		t.Errorf("%d interrupts", irq.count())
	}
	wantByte(t, "IIR", inb(s, serialIIR), iirFIFO|iirRLS)
	wantByte(t, "LSR", inb(s, serialLSR), lsrDR|lsrBI|lsrFIFOE|lsrTHRE|lsrTEMT)
	wantByte(t, "IIR after LSR", inb(s, serialIIR), iirFIFO|iirCTI)
	wantByte(t, "the break's byte", inb(s, serialData), 0)
	wantByte(t, "LSR", inb(s, serialLSR), lsrTHRE|lsrTEMT)
}
