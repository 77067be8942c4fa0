package vcpu

import (
	"encoding/binary"

	"github.com/gureum/gureum/kvm"
)

// Local APIC registers (Intel SDM volume 3, 11.4.1): offsets in the register page.
const (
	lapicLINT0 = 0x350
	lapicLINT1 = 0x360

	lvtNMI    = 4 << 8 // delivery modes
	lvtExtINT = 7 << 8
	lvtMasked = 1 << 16

	apicBaseBSP    = 1 << 8 // IA32_APIC_BASE
	apicBaseX2APIC = 1 << 10

	// xAPICMax is the highest id of a LAPIC that is not in x2APIC mode; 255 means all of them.
	xAPICMax = 254
)

// setLocalInterrupts connects the LAPIC's pins as firmware does (MP specification 1.4, 3.6.2.2,
// virtual wire mode): LINT0 of the boot CPU takes the PIC's interrupts, LINT1 of all takes NMI.
func setLocalInterrupts(l *kvm.LAPICState, bsp bool) {
	lint0 := uint32(lvtMasked)
	if bsp {
		lint0 = lvtExtINT
	}
	binary.LittleEndian.PutUint32(l.Regs[lapicLINT0:], lint0)
	binary.LittleEndian.PutUint32(l.Regs[lapicLINT1:], lvtNMI)
}
