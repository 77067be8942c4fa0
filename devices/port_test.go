package devices

import (
	"slices"
	"testing"
)

func TestPort92(t *testing.T) {
	var log eventLog
	p := NewPort92(log.add)
	wantByte(t, "A20 at first", inb(p, 0), port92A20)
	outb(p, 0, port92A20|0x40)
	wantByte(t, "read back", inb(p, 0), port92A20|0x40)
	if len(log.got) != 0 {
		t.Errorf("events %v", log.got)
	}
	outb(p, 0, port92Reset)
	outb(p, 0, port92Reset) // no edge
	if !slices.Equal(log.got, []Event{Reset}) {
		t.Errorf("events %v", log.got)
	}
}

func TestPOSTAndAbsent(t *testing.T) {
	p := NewPOST()
	outb(p, 0, 0x42)
	wantByte(t, "POST", inb(p, 0), 0x42)
	wantByte(t, "code", p.Code(), 0x42)
	a := NewAbsent("pci")
	a.Write(0, []byte{0, 0, 0, 0x80})
	if v := inl(a, 0); v != 0xFFFFFFFF {
		t.Errorf("absent hardware reads %#x", v)
	}
	if a.Name() != "absent pci" {
		t.Error(a.Name())
	}
}

func TestPVPanic(t *testing.T) {
	tests := []struct {
		v    uint8
		want []Event
	}{
		{0, nil},
		{1, []Event{Panicked}},
		{2, []Event{CrashLoaded}},
		{3, []Event{Panicked, CrashLoaded}},
		{4, []Event{PowerOff}},
		{0xF8, nil},
	}
	for _, tt := range tests {
		var log eventLog
		p := NewPVPanic(log.add)
		wantByte(t, "supported events", inb(p, 0), 7)
		outb(p, 0, tt.v)
		if !slices.Equal(log.got, tt.want) {
			t.Errorf("write %d: events %v, want %v", tt.v, log.got, tt.want)
		}
	}
}

// Devices without an EventFunc, as in tools and tests, must not fall over.
func TestNilEvents(t *testing.T) {
	outb(NewPVPanic(nil), 0, 7)
	outb(NewPort92(nil), 0, 1)
	outb(NewACPI(nil, nil), acpiReset, ACPIResetValue)
	outb(NewI8042(nil, nil).Command(), 0, 0xFE)
}

func TestEventNames(t *testing.T) {
	for e, want := range map[Event]string{
		PowerOff: "power-off", Reset: "reset", Panicked: "panicked", CrashLoaded: "crash-loaded", 9: "event(9)",
	} {
		if e.String() != want {
			t.Errorf("Event %d is %q, want %q", int(e), e, want)
		}
	}
}

func TestSmallPortsNoAllocs(t *testing.T) {
	data := []byte{0}
	for _, d := range []Device{NewPort92(nil), NewPOST(), NewAbsent("x"), NewPVPanic(nil)} {
		wantNoAllocs(t, deviceName(d), func() { d.Write(0, data); d.Read(0, data) })
	}
}
