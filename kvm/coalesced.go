package kvm

import "fmt"

// CoalesceMMIO has the kernel collect writes to this range, guest-physical or of ports if pio,
// in a ring instead of exiting for each. Only for registers whose writes may wait.
func (vm *VM) CoalesceMMIO(addr uint64, size uint32, pio bool) error {
	return vm.coalesce("KVM_REGISTER_COALESCED_MMIO", reqRegisterCoalesced, addr, size, pio)
}

// UncoalesceMMIO takes CoalesceMMIO back.
func (vm *VM) UncoalesceMMIO(addr uint64, size uint32, pio bool) error {
	return vm.coalesce("KVM_UNREGISTER_COALESCED_MMIO", reqUnregisterCoalesced, addr, size, pio)
}

func (vm *VM) coalesce(op string, req uintptr, addr uint64, size uint32, pio bool) error {
	z := coalescedZone{addr: addr, size: size}
	if pio {
		z.pio = 1
	}
	_, err := ioctlPtr(vm.fd, req, &z)
	return opError(fmt.Sprintf("%s at %#x", op, addr), err)
}

// CoalescedWrite is one write that the kernel collected.
type CoalescedWrite struct {
	Addr uint64
	PIO  bool
	Len  int // valid bytes of Data
	Data [8]byte
}
