package kvm

import "fmt"

// Interrupt controllers of CreateIRQChip, for IRQChip and Route.
const (
	PICMaster uint32 = 0 // the i8259 with pins 0 to 7 at port 0x20
	PICSlave  uint32 = 1 // the i8259 with pins 8 to 15 at port 0xA0
	IOAPIC    uint32 = 2

	// IOAPICPins is the number of pins of KVM's I/O APIC (KVM_IOAPIC_NUM_PINS).
	IOAPICPins = 24

	picPins = 8
)

// CreateIRQChip puts two i8259, an I/O APIC and, with each vCPU made later, a local APIC into
// the kernel, with DefaultRoutes. To be called before the first vCPU is made.
func (vm *VM) CreateIRQChip() error {
	_, err := vm.fd.ioctl(reqCreateIRQChip, 0)
	return opError("KVM_CREATE_IRQCHIP", err)
}

// EnableSplitIRQChip is CreateIRQChip with only the local APICs in the kernel: pins are the
// first GSIs, kept for an I/O APIC in user space.
func (vm *VM) EnableSplitIRQChip(pins int) error {
	return vm.EnableCap(CapSplitIRQChip, uint64(pins))
}

// IRQChip reads the state of PICMaster, PICSlave or IOAPIC.
func (vm *VM) IRQChip(chip uint32) (IRQChipState, error) {
	s := IRQChipState{ChipID: chip}
	_, err := ioctlPtr(vm.fd, reqGetIRQChip, &s)
	return s, opError(fmt.Sprintf("KVM_GET_IRQCHIP %d", chip), err)
}

// SetIRQChip writes the state of the controller that s.ChipID names.
func (vm *VM) SetIRQChip(s *IRQChipState) error {
	_, err := ioctlPtr(vm.fd, reqSetIRQChip, s)
	return opError(fmt.Sprintf("KVM_SET_IRQCHIP %d", s.ChipID), err)
}

// IRQLine sets the level of an interrupt line. An edge is a call with true, then one with
// false; a line that is already high stays so. It does not allocate.
func (vm *VM) IRQLine(gsi uint32, level bool) error {
	l := irqLevel{irq: gsi}
	if level {
		l.level = 1
	}
	if _, err := ioctlPtr(vm.fd, reqIRQLine, &l); err != nil {
		return opError(fmt.Sprintf("KVM_IRQ_LINE %d", gsi), err)
	}
	return nil
}

// pitSpeakerDummy is KVM_PIT_SPEAKER_DUMMY: the kernel answers port 0x61 as well.
const pitSpeakerDummy = 1

// CreatePIT puts an i8254 timer into the kernel, wired to GSI 0. With speakerDummy the kernel
// answers the speaker port 0x61 too, which guests read to calibrate their clocks; without, it
// exits to user space. Needs CreateIRQChip.
func (vm *VM) CreatePIT(speakerDummy bool) error {
	var c pitConfig
	if speakerDummy {
		c.flags = pitSpeakerDummy
	}
	_, err := ioctlPtr(vm.fd, reqCreatePIT2, &c)
	return opError("KVM_CREATE_PIT2", err)
}

// PIT2 reads the state of the in-kernel timer.
func (vm *VM) PIT2() (PITState, error) {
	var s PITState
	_, err := ioctlPtr(vm.fd, reqGetPIT2, &s)
	return s, opError("KVM_GET_PIT2", err)
}

// SetPIT2 writes the state of the in-kernel timer.
func (vm *VM) SetPIT2(s *PITState) error {
	_, err := ioctlPtr(vm.fd, reqSetPIT2, s)
	return opError("KVM_SET_PIT2", err)
}

// SetPITReinject says whether timer ticks that the guest had no time for are delivered later
// (KVM_REINJECT_CONTROL). It is on after CreatePIT; guests with another clock want it off.
func (vm *VM) SetPITReinject(on bool) error {
	var c [32]byte // struct kvm_reinject_control
	if on {
		c[0] = 1
	}
	_, err := ioctlPtr(vm.fd, reqReinjectControl, &c)
	return opError("KVM_REINJECT_CONTROL", err)
}

// MSI is a message signalled interrupt, as a device would write it: Data to Address. On x86
// Address is 0xFEE00000 with the destination APIC id in bits 19:12, its bits 31:8 in Address
// bits 63:40 when x2APIC ids are in use; Data has the vector in bits 7:0 (Intel SDM vol. 3,
// 11.11).
type MSI struct {
	Address uint64
	Data    uint32
}

// SignalMSI delivers m at once. delivered is false if no vCPU took it, because the guest has
// it masked or no APIC has that id. It does not allocate.
func (vm *VM) SignalMSI(m MSI) (delivered bool, err error) {
	k := msi{addressLo: uint32(m.Address), addressHi: uint32(m.Address >> 32), data: m.Data}
	n, err := ioctlPtr(vm.fd, reqSignalMSI, &k)
	if err != nil {
		return false, opError("KVM_SIGNAL_MSI", err)
	}
	return n > 0, nil
}
