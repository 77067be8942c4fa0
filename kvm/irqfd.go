package kvm

import "fmt"

const (
	irqFDDeassign = 1 << 0 // KVM_IRQFD_FLAG_DEASSIGN
	irqFDResample = 1 << 1 // KVM_IRQFD_FLAG_RESAMPLE
)

// IRQFD makes every signal of e an edge on gsi, with no further help of user space. The GSI
// needs a route by the time it is signalled, and a VM needs its irqchip before.
func (vm *VM) IRQFD(e *EventFD, gsi uint32) error {
	return vm.irqFD("KVM_IRQFD", e, nil, irqFD{gsi: gsi})
}

// IRQFDResample is IRQFD for a level-triggered line: a signal of e raises gsi; when the guest
// acknowledges the interrupt (EOI) the kernel lowers it and signals resample, upon which the
// device signals e again if it still wants attention.
func (vm *VM) IRQFDResample(e, resample *EventFD, gsi uint32) error {
	return vm.irqFD("KVM_IRQFD (resample)", e, resample, irqFD{gsi: gsi, flags: irqFDResample})
}

// RemoveIRQFD ends what IRQFD or IRQFDResample began. No interrupt comes from e when it
// returns.
func (vm *VM) RemoveIRQFD(e *EventFD, gsi uint32) error {
	return vm.irqFD("KVM_IRQFD (deassign)", e, nil, irqFD{gsi: gsi, flags: irqFDDeassign})
}

func (vm *VM) irqFD(op string, e, resample *EventFD, k irqFD) error {
	op = fmt.Sprintf("%s GSI %d", op, k.gsi)
	if err := e.fd.acquire(); err != nil {
		return opError(op, err)
	}
	defer e.fd.release()
	k.fd = uint32(e.fd.n)
	if resample != nil {
		if err := resample.fd.acquire(); err != nil {
			return opError(op, err)
		}
		defer resample.fd.release()
		k.resampleFD = uint32(resample.fd.n)
	}
	_, err := ioctlPtr(vm.fd, reqIRQFD, &k)
	return opError(op, err)
}
