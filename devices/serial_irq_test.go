package devices

import (
	"testing"
	"time"
)

// Received data raises "data available" from the trigger level on, and a character
// time-out below it; without FIFO mode there is no trigger.
func TestSerialTriggerLevels(t *testing.T) {
	for bits, level := range []int{1, 4, 8, 14} {
		s, irq := newTestSerial(t, nil)
		fcr := uint8(fcrEnable | bits<<fcrTriggerShift)
		outb(s, serialIIR, fcr)
		outb(s, serialIER, ierRDI)
		outb(s, serialMCR, mcrRTS)
		for n := 1; n <= serialFIFO; n++ {
			if _, err := s.Input().Write([]byte{uint8(n)}); err != nil {
				t.Fatal(err)
			}
			want := uint8(iirFIFO | iirCTI)
			if n >= level {
				want = iirFIFO | iirRDI
			}
			wantByte(t, "IIR", inb(s, serialIIR), want)
		}
		if irq.count() != 1 {
			t.Errorf("level %d: %d interrupts, want one edge", level, irq.count())
		}
		for n := 1; n <= serialFIFO; n++ {
			wantByte(t, "byte", inb(s, serialData), uint8(n))
		}
		wantByte(t, "IIR", inb(s, serialIIR), iirFIFO|iirNone)
		wantByte(t, "stale byte", inb(s, serialData), serialFIFO)
	}
	s, irq := newTestSerial(t, nil)
	outb(s, serialIER, ierRDI)
	done := feedAsync(s, []byte("ab"), 2)
	for range 2 {
		for inb(s, serialIIR) != iirRDI {
			time.Sleep(time.Millisecond)
		}
		inb(s, serialData)
	}
	if err := <-done; err != nil || irq.count() < 1 {
		t.Errorf("without FIFO: %v, %d interrupts", err, irq.count())
	}
}

// The interrupt of the empty transmitter, as table 8-3 of the data sheet has it.
func TestSerialTHREInterrupt(t *testing.T) {
	s, irq := newTestSerial(t, nil)
	step := func(what string, edges uint64) {
		t.Helper()
		if n := irq.n.Swap(0); n != edges {
			t.Errorf("%s: %d edges, want %d", what, n, edges)
		}
	}
	outb(s, serialIER, ierTHRI)
	step("enabling it", 1)
	wantByte(t, "IIR", inb(s, serialIIR), iirTHR)
	wantByte(t, "IIR again", inb(s, serialIIR), iirNone)
	step("reading IIR", 0)
	outb(s, serialIER, ierTHRI)
	step("enabling it again", 0)
	outb(s, serialIER, 0)
	outb(s, serialIER, ierTHRI)
	step("off and on", 1)
	outb(s, serialData, 'x') // no sink: sent at once
	step("a byte while it is pending", 0)
	inb(s, serialIIR)
	outb(s, serialData, 'x')
	step("a byte while it is not", 1)
	// IIR names a receive interrupt first, and that does not clear this one.
	outb(s, serialIER, ierTHRI|ierRDI)
	outb(s, serialMCR, mcrRTS)
	if _, err := s.Input().Write([]byte("a")); err != nil {
		t.Fatal(err)
	}
	wantByte(t, "IIR", inb(s, serialIIR), iirRDI)
	inb(s, serialData)
	wantByte(t, "IIR", inb(s, serialIIR), iirTHR)
	step("a source behind another", 0)
}

// With a sink the transmitter runs empty when somebody looks, or when the bytes
// have been taken: a driver that only waits for the interrupt gets it.
func TestSerialTHREInterruptFromDrain(t *testing.T) {
	var out syncBuffer
	edges := make(chan struct{}, 100)
	s := NewSerial(InterruptFunc(func() error { edges <- struct{}{}; return nil }), &out)
	outb(s, serialIIR, fcrEnable)
	outb(s, serialIER, ierTHRI)
	text := randomBytes(10 * serialFIFO)
	for p := text; len(p) > 0; p = p[serialFIFO:] {
		select {
		case <-edges:
		case <-time.After(10 * time.Second):
			t.Fatal("no interrupt")
		}
		wantByte(t, "IIR", inb(s, serialIIR), iirFIFO|iirTHR)
		for _, b := range p[:serialFIFO] {
			outb(s, serialData, b)
		}
		if len(edges) > 1 {
			t.Errorf("%d edges for one FIFO of bytes", len(edges))
		}
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	wantSame(t, "output", []byte(out.String()), text)
}

func TestSerialLoopback(t *testing.T) {
	s, irq := newTestSerial(t, nil)
	outb(s, serialIIR, fcrEnable)
	outb(s, serialMCR, mcrLoop)
	wantByte(t, "MSR", inb(s, serialMSR), msrDCTS|msrDDSR|msrDDCD)
	outb(s, serialIER, ierMSI|ierRLSI)
	tests := []struct{ mcr, want uint8 }{
		{mcrRTS, msrCTS | msrDCTS},
		{mcrRTS | mcrDTR, msrCTS | msrDSR | msrDDSR},
		{mcrOUT1, msrRI | msrDCTS | msrDDSR},
		{mcrOUT2, msrDCD | msrDDCD | msrTERI},
		{mcrOUT2, msrDCD},
	}
	for _, tt := range tests {
		irq.n.Store(0)
		outb(s, serialMCR, tt.mcr|mcrLoop)
		if tt.want&0x0F != 0 {
			wantByte(t, "IIR", inb(s, serialIIR), iirFIFO|iirMSR)
			if irq.count() != 1 {
				t.Errorf("MCR %#x: %d interrupts", tt.mcr, irq.count())
			}
		}
		wantByte(t, "MSR", inb(s, serialMSR), tt.want)
		wantByte(t, "IIR", inb(s, serialIIR), iirFIFO|iirNone)
	}
	for i := range serialFIFO + 1 {
		outb(s, serialData, uint8(i))
	}
	wantByte(t, "IIR after an overrun", inb(s, serialIIR), iirFIFO|iirRLS)
	wantByte(t, "LSR", inb(s, serialLSR), lsrDR|lsrOE|lsrTHRE|lsrTEMT)
	wantByte(t, "LSR again", inb(s, serialLSR), lsrDR|lsrTHRE|lsrTEMT)
	for i := range serialFIFO {
		wantByte(t, "byte", inb(s, serialData), uint8(i))
	}
	outb(s, serialLCR, lcrBreak)
	wantByte(t, "LSR after a break", inb(s, serialLSR), lsrDR|lsrBI|lsrFIFOE|lsrTHRE|lsrTEMT)
	outb(s, serialIIR, fcrEnable|fcrClearRX)
	wantByte(t, "LSR after clearing", inb(s, serialLSR), lsrTHRE|lsrTEMT)
}
