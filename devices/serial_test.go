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
	if n := out.writes(); n > len(text)/50 {
		t.Errorf("%d writes for %d bytes: output is not coalesced", n, len(text))
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
