package devices

import "sync"

// ACPI is the register block of a hardware-reduced ACPI platform: sleep control and
// status, reset, and the events of a generic event device (GED).
//
// A guest that writes SLP_TYP 5 with SLP_EN is switched off, one that writes 1 to
// the reset register is reset. PressPowerButton tells it to shut itself down.
type ACPI struct {
	events EventFunc

	mu        sync.Mutex
	line      edgeLine
	sleepType uint8  // SLP_TYP as last written, for reading back
	awake     bool   // WAK_STS
	pending   uint32 // the GED event register
}

// NewACPI makes the block. The interrupt is that of the GED; either argument may
// be nil.
func NewACPI(events EventFunc, irq Interrupt) *ACPI {
	return &ACPI{events: events, line: edgeLine{irq: irq}}
}

// Name is the device's name in messages.
func (a *ACPI) Name() string { return "acpi" }

// PressPowerButton presses and releases the power button.
func (a *ACPI) PressPowerButton() { a.Raise(GEDPowerButton) }

// Raise sets bits of the GED event register and raises the interrupt, even if the
// guest has yet to see earlier ones: a press of the power button that came too
// early in its boot must not make the button dead.
func (a *ACPI) Raise(bits uint32) {
	a.mu.Lock()
	a.pending |= bits
	a.mu.Unlock()
	a.line.fire()
}

// Read reads registers. Reading a byte of the GED event register clears it.
func (a *ACPI) Read(offset uint64, data []byte) {
	a.mu.Lock()
	defer a.mu.Unlock()
	for i := range data {
		data[i] = a.readByte(offset + uint64(i))
	}
}

func (a *ACPI) readByte(reg uint64) uint8 {
	switch reg {
	case acpiSleepControl:
		return a.sleepType << slpTypeShift
	case acpiSleepStatus:
		if a.awake {
			return wakStatus
		}
		return 0
	case acpiGED, acpiGED + 1, acpiGED + 2, acpiGED + 3:
		shift := 8 * (reg - acpiGED)
		v := uint8(a.pending >> shift)
		a.pending &^= 0xFF << shift
		return v
	}
	return 0
}

// Write writes registers. The GED event register is read-only.
func (a *ACPI) Write(offset uint64, data []byte) {
	for i, v := range data {
		switch offset + uint64(i) {
		case acpiSleepControl:
			a.sleep(v)
		case acpiSleepStatus:
			a.clearStatus(v)
		case acpiReset:
			if v == ACPIResetValue {
				a.events.emit(Reset)
			}
		}
	}
}

// sleep handles the sleep control register. States other than S5 end at once: the
// guest finds that it has been woken. ACPICA also writes the type of S0 here as it
// wakes up.
func (a *ACPI) sleep(v uint8) {
	typ := v >> slpTypeShift & slpTypeMask
	a.mu.Lock()
	a.sleepType = typ
	off := v&slpEnable != 0 && typ == SleepTypeS5
	if v&slpEnable != 0 && !off {
		a.awake = true
	}
	a.mu.Unlock()
	if off {
		a.events.emit(PowerOff)
	}
}

// clearStatus handles the sleep status register: write one to clear.
func (a *ACPI) clearStatus(v uint8) {
	a.mu.Lock()
	if v&wakStatus != 0 {
		a.awake = false
	}
	a.mu.Unlock()
}
