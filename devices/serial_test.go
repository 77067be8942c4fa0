package devices

import (
	"bytes"
	"context"
	"errors"
	"io"
	"sync"
	"testing"
	"time"
)

// syncBuffer is a sink that can be read while it is written.
type syncBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
	n  int // writes
}

func (s *syncBuffer) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.n++
	return s.b.Write(p)
}

func (s *syncBuffer) String() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.String()
}

func (s *syncBuffer) writes() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.n
}

// newTestSerial makes a Serial that the test closes.
func newTestSerial(t testing.TB, out io.Writer) (*Serial, *countIRQ) {
	t.Helper()
	irq := &countIRQ{}
	s := NewSerial(irq, out)
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Errorf("Close: %v", err)
		}
	})
	return s, irq
}

func flush(t testing.TB, s *Serial) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	if err := s.Flush(ctx); err != nil {
		t.Fatalf("Flush: %v", err)
	}
}

func TestSerialPowerOn(t *testing.T) {
	s, _ := newTestSerial(t, nil)
	for reg, want := range []uint8{0, 0, iirNone, 0, 0, lsrTHRE | lsrTEMT, msrConnected, 0} {
		wantByte(t, "register "+string(rune('0'+reg)), inb(s, uint64(reg)), want)
	}
	outb(s, serialLCR, lcrDLAB)
	wantByte(t, "DLL", inb(s, 0), serialDivisor)
	wantByte(t, "DLM", inb(s, 1), 0)
}

func TestSerialRegistersKeepTheirBits(t *testing.T) {
	s, _ := newTestSerial(t, nil)
	tests := []struct {
		name      string
		reg       uint64
		v, expect uint8
	}{
		{"IER", serialIER, 0xFF, ierMask},
		{"LCR", serialLCR, 0x7F, 0x7F},
		{"MCR", serialMCR, 0xEF, 0x0F},
		{"LSR", serialLSR, 0x00, lsrTHRE | lsrTEMT},
		{"MSR", serialMSR, 0x00, msrConnected},
		{"SCR", serialSCR, 0xA5, 0xA5},
	}
	for _, tt := range tests {
		outb(s, tt.reg, tt.v)
		wantByte(t, tt.name, inb(s, tt.reg), tt.expect)
	}
	outb(s, serialLCR, lcrDLAB)
	s.Write(0, []byte{0x34, 0x12}) // a 16-bit access is two 8-bit ones
	wantByte(t, "DLL", inb(s, 0), 0x34)
	wantByte(t, "DLM", inb(s, 1), 0x12)
	outb(s, serialLCR, 0)
	wantByte(t, "IER is apart from DLM", inb(s, serialIER), ierMask)
}

func TestSerialFIFOIdentification(t *testing.T) {
	s, _ := newTestSerial(t, nil)
	for _, tt := range []struct{ fcr, want uint8 }{
		{0xC0, iirNone},
		{fcrEnable, iirFIFO | iirNone},
		{0xFE, iirNone},
		{0x21, iirFIFO | iirNone}, // no 64-byte mode: bit 5 stays clear
	} {
		outb(s, serialIIR, tt.fcr)
		wantByte(t, "IIR", inb(s, serialIIR), tt.want)
	}
}

func TestSerialOutput(t *testing.T) {
	var out syncBuffer
	s, _ := newTestSerial(t, &out)
	text := bytes.Repeat([]byte("the quick brown fox\n"), 1000)
	start := time.Now()
	for _, b := range text {
		for inb(s, serialLSR)&lsrTHRE == 0 {
			time.Sleep(time.Millisecond)
		}
		outb(s, serialData, b)
	}
	flush(t, s)
	if out.String() != string(text) {
		t.Fatalf("got %d bytes of output, want %d", len(out.String()), len(text))
	}
	if n, most := out.writes(), int(time.Since(start)/txLinger)+16; n > most {
		t.Errorf("%d writes for %d bytes, want at most %d: output is not coalesced", n, len(text), most)
	}
	if st := s.Stats(); st.TxBytes != uint64(len(text)) || st.TxDropped != 0 {
		t.Errorf("stats %+v", st)
	}
}

func TestSerialCloseDrains(t *testing.T) {
	var out syncBuffer
	s := NewSerial(nil, &out)
	s.Write(serialData, []byte{'x'})
	outb(s, serialData, 'y')
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if out.String() != "xy" {
		t.Errorf("output %q", out.String())
	}
	outb(s, serialData, 'z')
	if st := s.Stats(); st.TxDropped != 1 {
		t.Errorf("a byte after Close: stats %+v", st)
	}
	if n, err := s.Input().Write([]byte("a")); n != 0 || !errors.Is(err, ErrSerialClosed) {
		t.Errorf("input after Close: %d, %v", n, err)
	}
	if err := s.Close(); err != nil {
		t.Errorf("second Close: %v", err)
	}
}

// While the buffer is full the transmitter is busy, and its interrupt comes when
// the sink has made room.
func TestSerialFullBuffer(t *testing.T) {
	gate := &gatedSink{open: make(chan struct{})}
	irq := &countIRQ{}
	s := NewSerial(irq, gate)
	n := 0
	for inb(s, serialLSR)&lsrTHRE != 0 {
		for range serialFIFO {
			outb(s, serialData, 'x')
			n++
		}
	}
	if n < txBuffer-txReserve || n > 2*txBuffer {
		t.Errorf("busy after %d bytes", n)
	}
	wantByte(t, "LSR", inb(s, serialLSR), 0)
	outb(s, serialIER, ierTHRI)
	wantByte(t, "IIR", inb(s, serialIIR), iirNone)
	if irq.count() != 0 {
		t.Errorf("%d interrupts", irq.count())
	}
	for range 2 * txBuffer {
		outb(s, serialData, 'y')
	}
	if s.Stats().TxDropped == 0 {
		t.Error("an endless buffer")
	}
	close(gate.open)
	flush(t, s)
	if irq.count() == 0 {
		t.Error("no interrupt when there is room again")
	}
	st := s.Stats()
	if st.TxBytes+st.TxDropped != uint64(n+2*txBuffer) {
		t.Errorf("stats %+v do not add up to %d", st, n+2*txBuffer)
	}
	wantByte(t, "LSR", inb(s, serialLSR), lsrTHRE|lsrTEMT)
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
}

// failingSink fails after some bytes.
type failingSink struct {
	left   int
	err    error
	failed bool
	again  int // writes after the failure
}

func (f *failingSink) Write(p []byte) (int, error) {
	if f.failed {
		f.again++
	}
	n := min(len(p), f.left)
	f.left -= n
	if n < len(p) {
		f.failed = true
		return n, f.err
	}
	return n, nil
}

func TestSerialFailingSink(t *testing.T) {
	boom := errors.New("boom")
	for name, tt := range map[string]struct{ err, want error }{
		"error":       {boom, boom},
		"short write": {nil, io.ErrShortWrite},
	} {
		t.Run(name, func(t *testing.T) {
			sink := &failingSink{left: 10, err: tt.err}
			s := NewSerial(nil, sink)
			s.tx.linger = time.Hour // as few writes as can be
			for range 15 {
				outb(s, serialData, 'x')
			}
			if err := s.Flush(context.Background()); !errors.Is(err, tt.want) {
				t.Errorf("Flush: %v", err)
			}
			outb(s, serialData, 'x')
			wantByte(t, "LSR", inb(s, serialLSR), lsrTHRE|lsrTEMT)
			if st := s.Stats(); st.TxBytes != 10 || st.TxDropped != 6 {
				t.Errorf("stats %+v", st)
			}
			if err := s.Close(); !errors.Is(err, tt.want) {
				t.Errorf("Close: %v", err)
			}
			if sink.again != 0 {
				t.Errorf("the sink was tried %d times after it had failed", sink.again)
			}
		})
	}
}

func TestSerialStalledSink(t *testing.T) {
	gate := &gatedSink{open: make(chan struct{})}
	s := NewSerial(nil, gate)
	s.tx.stall = 50 * time.Millisecond
	for range 100 {
		outb(s, serialData, 'x')
	}
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Millisecond)
	defer cancel()
	if err := s.Flush(ctx); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("Flush: %v", err)
	}
	var stalled *StalledError
	if err := s.Close(); !errors.As(err, &stalled) || stalled.Lost != 100 {
		t.Errorf("Close: %v", err)
	}
	close(gate.open)
	<-s.tx.drained // the goroutine ends with its Write
}

func TestSerialFailingInterrupt(t *testing.T) {
	s := NewSerial(InterruptFunc(func() error { return errors.New("gone") }), nil)
	outb(s, serialIER, ierTHRI)
	if st := s.Stats(); st.IRQsFailed != 1 {
		t.Errorf("stats %+v", st)
	}
}

// Several vCPUs, input and a flush at once: for the race detector.
func TestSerialConcurrent(t *testing.T) {
	var out syncBuffer
	s, _ := newTestSerial(t, &out)
	outb(s, serialIIR, fcrEnable)
	outb(s, serialMCR, mcrRTS)
	stop := make(chan struct{})
	var wg sync.WaitGroup
	for cpu := range 3 {
		wg.Add(1)
		go func() {
			defer wg.Done()
			for i := 0; ; i++ {
				select {
				case <-stop:
					return
				default:
				}
				inb(s, uint64(i%8))
				outb(s, serialData, uint8(cpu))
				outb(s, serialIER, uint8(i))
			}
		}()
	}
	if _, err := s.Input().Write(make([]byte, 3000)); err != nil {
		t.Error(err)
	}
	for range 5 {
		flush(t, s)
		_ = s.Save()
	}
	close(stop)
	wg.Wait()
}

func TestSerialNoAllocs(t *testing.T) {
	s, _ := newTestSerial(t, io.Discard)
	outb(s, serialIIR, fcrEnable)
	outb(s, serialMCR, mcrRTS)
	outb(s, serialIER, ierRDI|ierTHRI|ierMSI|ierRLSI)
	data := []byte{'x'}
	for reg := range uint64(SerialSize) {
		wantNoAllocs(t, "read", func() { s.Read(reg, data) })
	}
	wantNoAllocs(t, "transmit", func() { s.Read(serialLSR, data); s.Write(serialData, data) })
	outb(s, serialMCR, mcrRTS)
	in, p := s.Input(), []byte("x")
	if _, err := in.Write(p); err != nil { // makes nothing that lasts
		t.Fatal(err)
	}
	inb(s, serialData)
	s.input.gap = 0
	s.Read(serialLSR, data)
	wantNoAllocs(t, "receive", func() {
		if s.rx.budget < 2 {
			s.rx.budget = rxBurst
		}
		if _, err := in.Write(p); err != nil {
			t.Fatal(err)
		}
		s.Read(serialData, data)
	})
}

// BenchmarkSerialTransmit is the console's path: LSR, then THR.
func BenchmarkSerialTransmit(b *testing.B) {
	s, _ := newTestSerial(b, io.Discard)
	data := []byte{'x'}
	b.ReportAllocs()
	for b.Loop() {
		s.Read(serialLSR, data)
		data[0] = 'x'
		s.Write(serialData, data)
	}
}

// BenchmarkSerialReceive is the paste's path: a writer at one end, LSR and RBR at
// the other, without the pauses.
func BenchmarkSerialReceive(b *testing.B) {
	s, _ := newTestSerial(b, nil)
	s.input.gap = 0
	outb(s, serialIIR, fcrEnable)
	outb(s, serialMCR, mcrRTS)
	done := feedAsync(s, make([]byte, b.N), 4096)
	data := []byte{0}
	b.ReportAllocs()
	b.ResetTimer()
	for n := 0; n < b.N; {
		s.Read(serialLSR, data)
		if data[0]&lsrDR != 0 {
			s.Read(serialData, data)
			n++
		}
	}
	b.StopTimer()
	if err := <-done; err != nil {
		b.Fatal(err)
	}
}
