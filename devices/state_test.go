package devices

import (
	"errors"
	"testing"
	"time"
)

func TestSerialStateRoundTrip(t *testing.T) {
	s, _ := newTestSerial(t, nil)
	outb(s, serialIIR, fcrEnable|2<<fcrTriggerShift)
	outb(s, serialIER, ierRDI|ierTHRI)
	outb(s, serialSCR, 0x5A)
	outb(s, serialLCR, lcrDLAB)
	outb(s, 0, 12)
	outb(s, serialLCR, 3)
	outb(s, serialMCR, mcrRTS|mcrOUT2)
	if _, err := s.Input().Write([]byte("hello")); err != nil {
		t.Fatal(err)
	}
	inb(s, serialData)
	if err := s.Break(); err != nil {
		t.Fatal(err)
	}
	st := s.Save()
	c, irq := newTestSerial(t, nil)
	if err := c.Restore(st); err != nil {
		t.Fatal(err)
	}
	if irq.count() != 1 {
		t.Errorf("%d interrupts for the pending data", irq.count())
	}
	if got := c.Save(); got != st {
		t.Errorf("state %+v became %+v", st, got)
	}
	var got []byte
	for inb(c, serialLSR)&lsrDR != 0 {
		got = append(got, inb(c, serialData))
	}
	if string(got) != "ello\x00" {
		t.Errorf("received %q", got)
	}
}

func TestSerialBadStates(t *testing.T) {
	full := SerialQueue{Len: serialFIFO}
	tests := map[string]SerialState{
		"IER":          {IER: 0x10},
		"MCR":          {MCR: 0x20},
		"delta":        {MSRDelta: 0x10},
		"FCR bits":     {FCR: fcrEnable | 0x08},
		"FCR disabled": {FCR: 0x40},
		"too long":     {FCR: fcrEnable, Rx: SerialQueue{Len: serialFIFO + 1}},
		"no FIFO":      {Rx: SerialQueue{Len: 2}},
		"loop":         {FCR: fcrEnable, Rx: SerialQueue{Len: 1}, RxLoop: 2},
		"both":         {FCR: fcrEnable, Rx: SerialQueue{Len: 1}, Back: full},
		"back":         {Back: SerialQueue{Len: serialFIFO + 1}},
		"back, loop":   {FCR: fcrEnable, Rx: SerialQueue{Len: 4}, RxLoop: 4, Back: SerialQueue{Len: 17}},
		"flags":        {Rx: SerialQueue{Flags: [serialFIFO]uint8{lsrDR}}},
	}
	for name, st := range tests {
		s := NewSerial(nil, nil)
		if err := s.Restore(st); !errors.Is(err, ErrBadState) {
			t.Errorf("%s: %v", name, err)
		}
	}
	s := NewSerial(nil, nil)
	if err := s.Restore(SerialState{FCR: fcrEnable, Rx: full}); err != nil {
		t.Error(err)
	}
}

func TestOtherStateRoundTrips(t *testing.T) {
	irq := &countIRQ{}
	a := NewACPI(nil, nil)
	a.PressPowerButton()
	outb(a, acpiSleepControl, 3<<slpTypeShift|slpEnable)
	a2 := NewACPI(nil, irq)
	if err := a2.Restore(a.Save()); err != nil || a2.Save() != a.Save() || irq.count() != 1 {
		t.Errorf("acpi: %v, %+v, %d interrupts", err, a2.Save(), irq.count())
	}

	k := NewI8042(nil, nil)
	kbdCommand(k, 0x60)
	kbdWrite(k, i8042CtlKbdInt|i8042CtlXlate)
	kbdWrite(k, 0xF2)
	kbdWrite(k, 0xED)
	k2 := NewI8042(nil, irq)
	if err := k2.Restore(k.Save()); err != nil || k2.Save() != k.Save() || irq.count() != 2 {
		t.Errorf("i8042: %v, %+v, %d interrupts", err, k2.Save(), irq.count())
	}
	if got, want := string(kbdDrain(k2)), string(kbdDrain(k)); got != want {
		t.Errorf("i8042: %q, want %q", got, want)
	}

	r, c, _ := newTestRTC(t, rtcStart)
	linuxSetTime(r, time.Date(1990, 1, 2, 3, 4, 5, 0, time.UTC))
	cmosWrite(r, rtcB, rtc24|rtcUIE)
	c.add(time.Second)
	st := r.Save()
	rtcIRQ := &countIRQ{}
	r2 := NewRTC(c.now, rtcIRQ)
	defer r2.Close()
	if err := r2.Restore(st); err != nil || rtcIRQ.count() != 1 || r2.Save() != st {
		t.Errorf("rtc: %v, %+v, %d interrupts", err, r2.Save(), rtcIRQ.count())
	}
	if rtcFields(r2) != rtcFields(r) {
		t.Errorf("rtc shows %x, want %x", rtcFields(r2), rtcFields(r))
	}

	p, p2 := NewPort92(nil), NewPort92(nil)
	outb(p, 0, 0x41)
	p2.Restore(p.Save())
	wantByte(t, "port 92", inb(p2, 0), 0x41)
	o, o2 := NewPOST(), NewPOST()
	outb(o, 0, 0x33)
	o2.Restore(o.Save())
	wantByte(t, "POST", o2.Code(), 0x33)
}

func TestOtherBadStates(t *testing.T) {
	if err := NewACPI(nil, nil).Restore(ACPIState{SleepType: 8}); !errors.Is(err, ErrBadState) {
		t.Error(err)
	}
	good := NewI8042(nil, nil).Save()
	for name, spoil := range map[string]func(*I8042State){
		"queue":  func(s *I8042State) { s.KbdLen = kbdQueue + 1 },
		"set":    func(s *I8042State) { s.KbdSet = 0 },
		"status": func(s *I8042State) { s.OutStatus = i8042StatusOBF },
		"mouse":  func(s *I8042State) { s.RAM[0] = 0 },
		"port":   func(s *I8042State) { s.Port = 0 },
	} {
		st := good
		spoil(&st)
		if err := NewI8042(nil, nil).Restore(st); !errors.Is(err, ErrBadState) {
			t.Errorf("i8042 %s: %v", name, err)
		}
	}
	clock := NewRTC(nil, nil).Save()
	for reg, v := range map[int]uint8{rtcA: 0x80, rtcC: 0x01, rtcD: 0} {
		st := clock
		st.RAM[reg] = v
		if err := NewRTC(nil, nil).Restore(st); !errors.Is(err, ErrBadState) {
			t.Errorf("rtc register %#x: %v", reg, err)
		}
	}
}
