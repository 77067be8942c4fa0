package devices

import (
	"bytes"
	"testing"
)

// ops calls f for each pair of bytes: an operation and its argument.
func ops(data []byte, f func(op, arg uint8)) {
	for ; len(data) >= 2; data = data[2:] {
		f(data[0], data[1])
	}
}

// serialModel follows a Serial from outside.
type serialModel struct {
	t    *testing.T
	s    *Serial
	sent []byte // what must come out at the sink
	in   byte   // the next byte to give; input counts up
	got  byte   // the next byte that must arrive
}

// FuzzSerial writes and reads registers at random, with input coming in between.
func FuzzSerial(f *testing.F) {
	f.Add([]byte{0x12, 0x01, 0x11, 0x05, 0x14, 0x02, 0x20, 0x30, 0x05, 0, 0x00, 0, 0x02, 0})
	f.Add([]byte{0x14, 0x1A, 0x06, 0, 0x12, 0xC7, 0x10, 0x55, 0x05, 0, 0x02, 0, 0x00, 0})
	f.Add([]byte{0x12, 0x41, 0x14, 0x02, 0x20, 0xFF, 0x00, 0, 0x12, 0x03, 0x14, 0x00, 0x14, 0x02, 0x00, 0})
	f.Fuzz(func(t *testing.T, data []byte) {
		var out syncBuffer
		m := &serialModel{t: t, s: NewSerial(&countIRQ{}, &out)}
		m.s.tx.linger = 0
		ops(data[:min(len(data), 4096)], m.step)
		// Let in what is still on its way.
		outb(m.s, serialLCR, 0)
		outb(m.s, serialIIR, fcrEnable)
		outb(m.s, serialMCR, mcrRTS)
		for m.got != m.in || len(m.s.rx.src) > 0 {
			before := m.got
			m.s.rx.budget = rxBurst
			m.s.input.offer(false)
			m.read(serialLSR)
			m.read(serialData)
			if m.got == before && m.s.rx.loop == 0 && m.s.rx.len == 0 && m.s.rx.backLen == 0 && len(m.s.rx.src) == 0 {
				t.Fatalf("input is lost: %d of %d", m.got, m.in)
			}
		}
		if err := m.s.Close(); err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(out.b.Bytes(), m.sent) {
			t.Fatalf("output %x, want %x", out.b.Bytes(), m.sent)
		}
	})
}

func (m *serialModel) step(op, arg uint8) {
	reg := uint64(op & 7)
	switch op >> 4 & 3 {
	case 0:
		m.read(reg)
	case 1:
		m.write(reg, arg)
	case 2:
		m.give(int(arg))
	default:
		m.restore()
	}
	m.check()
}

// give offers input, as a writer that is blocked in Input does.
func (m *serialModel) give(n int) {
	if len(m.s.rx.src) > 0 {
		m.s.rx.budget = rxBurst
		m.s.input.offer(false)
		return
	}
	if int(m.in-m.got)+n > 200 {
		return // keep the count unambiguous
	}
	p := make([]byte, n)
	for i := range p {
		p[i] = m.in
		m.in++
	}
	m.s.rx.src, m.s.rx.budget = p, rxBurst
	m.s.input.offer(false)
}

func (m *serialModel) write(reg uint64, v uint8) {
	s := m.s
	if reg == serialData && s.lcr&lcrDLAB == 0 && s.mcr&mcrLoop == 0 {
		m.sent = append(m.sent, v)
	}
	outb(s, reg, v)
}

func (m *serialModel) read(reg uint64) {
	s := m.s
	len0, loop0 := s.rx.len, s.rx.loop
	v := inb(s, reg)
	switch {
	case reg == serialData && s.lcr&lcrDLAB == 0 && len0 > 0 && loop0 == 0:
		if v != m.got {
			m.t.Fatalf("received %#x, want %#x", v, m.got)
		}
		m.got++
	case reg == serialIIR:
		if v&iirNone == 0 && s.ier == 0 {
			m.t.Fatalf("IIR is %#x with IER zero", v)
		}
		if v&0x30 != 0 || v>>6 != 0 && v>>6 != 3 {
			m.t.Fatalf("IIR is %#x", v)
		}
	case reg == serialLSR:
		if (v&lsrDR != 0) != (len0 > 0) || v&(lsrTHRE|lsrTEMT) != lsrTHRE|lsrTEMT {
			m.t.Fatalf("LSR is %#x with %d bytes received", v, len0)
		}
	}
}

// restore moves the guest to a copy of its port and back.
func (m *serialModel) restore() {
	st := m.s.Save()
	c := NewSerial(nil, nil)
	if err := c.Restore(st); err != nil {
		m.t.Fatalf("%v: %+v", err, st)
	}
	// What is on the line may come in as the state is restored.
	if again := c.Save(); int(again.Rx.Len+again.Back.Len) != int(st.Rx.Len+st.Back.Len) || again.IER != st.IER || again.MCR != st.MCR {
		m.t.Fatalf("state %+v became %+v", st, again)
	}
}

// check holds what must be true after each operation.
func (m *serialModel) check() {
	s := m.s
	s.mu.Lock()
	defer s.mu.Unlock()
	high := s.source() != iirNone
	if s.line.high != high {
		m.t.Fatalf("the line is %v, but the pending interrupt is %#x", s.line.high, s.source())
	}
	if s.rx.len > s.depth() || s.rx.loop > s.rx.len || s.rx.len-s.rx.loop+s.rx.backLen > serialFIFO {
		m.t.Fatalf("FIFO holds %d, %d of it by loopback, %d went back", s.rx.len, s.rx.loop, s.rx.backLen)
	}
}
