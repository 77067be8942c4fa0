package devices

import (
	"slices"
	"testing"
)

func TestACPIPowerOffAndReset(t *testing.T) {
	tests := []struct {
		name string
		reg  uint64
		v    uint8
		want []Event
	}{
		{"S5", acpiSleepControl, SleepTypeS5<<slpTypeShift | slpEnable, []Event{PowerOff}},
		{"S5 with reserved bits", acpiSleepControl, SleepTypeS5<<slpTypeShift | slpEnable | 0xC3, []Event{PowerOff}},
		{"S5 not enabled", acpiSleepControl, SleepTypeS5 << slpTypeShift, nil},
		{"S0", acpiSleepControl, slpEnable, nil},
		{"S3", acpiSleepControl, 1<<slpTypeShift | slpEnable, nil},
		{"reset", acpiReset, ACPIResetValue, []Event{Reset}},
		{"not the reset value", acpiReset, 2, nil},
		{"status", acpiSleepStatus, 0xFF, nil},
		{"reserved", 3, 0xFF, nil},
		{"event register", acpiGED, 0xFF, nil},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			var log eventLog
			outb(NewACPI(log.add, nil), tt.reg, tt.v)
			if !slices.Equal(log.got, tt.want) {
				t.Errorf("events %v, want %v", log.got, tt.want)
			}
		})
	}
}

// A sleep state that we do not have must not leave the guest waiting for WAK_STS,
// which ACPICA polls without end (acpi_hw_extended_sleep).
func TestACPIUnknownSleepWakes(t *testing.T) {
	a := NewACPI(nil, nil)
	wantByte(t, "status at first", inb(a, acpiSleepStatus), 0)
	outb(a, acpiSleepControl, 1<<slpTypeShift|slpEnable)
	wantByte(t, "status after S1", inb(a, acpiSleepStatus), wakStatus)
	wantByte(t, "control reads back without SLP_EN", inb(a, acpiSleepControl), 1<<slpTypeShift)
	outb(a, acpiSleepStatus, wakStatus)
	wantByte(t, "status cleared", inb(a, acpiSleepStatus), 0)
}

func TestACPIPowerButton(t *testing.T) {
	var irq countIRQ
	a := NewACPI(nil, &irq)
	if v := inl(a, acpiGED); v != 0 {
		t.Fatalf("event register = %#x at first", v)
	}
	a.PressPowerButton()
	a.PressPowerButton()
	if irq.count() != 2 {
		t.Errorf("%d interrupts for two presses", irq.count())
	}
	if v := inl(a, acpiGED); v != GEDPowerButton {
		t.Errorf("event register = %#x, want %#x", v, GEDPowerButton)
	}
	if v := inl(a, acpiGED); v != 0 {
		t.Errorf("event register = %#x after it was read", v)
	}
	a.PressPowerButton()
	a.Raise(0x80 << 24)
	wantByte(t, "byte access", inb(a, acpiGED), GEDPowerButton)
	wantByte(t, "byte access again", inb(a, acpiGED), 0)
	wantByte(t, "another byte", inb(a, acpiGED+3), 0x80)
}

func TestACPINoAllocs(t *testing.T) {
	a := NewACPI(nil, &countIRQ{})
	data := make([]byte, 4)
	wantNoAllocs(t, "GED", func() { a.PressPowerButton(); a.Read(acpiGED, data) })
	wantNoAllocs(t, "write", func() { a.Write(0, data) })
}
