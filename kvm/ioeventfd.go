package kvm

import "fmt"

const (
	ioEventDataMatch = 1 << 0 // KVM_IOEVENTFD_FLAG_DATAMATCH
	ioEventPIO       = 1 << 1 // KVM_IOEVENTFD_FLAG_PIO
	ioEventDeassign  = 1 << 2 // KVM_IOEVENTFD_FLAG_DEASSIGN
)

// IOEventFD says which of a guest's writes ring an eventfd in place of an exit.
type IOEventFD struct {
	Event *EventFD
	Addr  uint64 // guest-physical address, or port if PIO
	Len   int    // width of the write in bytes: 1, 2, 4 or 8; 0 for any, without Match (and the fastest MMIO)
	PIO   bool
	Match bool   // ring only if the value written is Data
	Data  uint64 // with Match
}

// IOEventFD installs io (KVM_IOEVENTFD). Several may share an address if Match tells them apart.
func (vm *VM) IOEventFD(io IOEventFD) error {
	return vm.ioEventFD("KVM_IOEVENTFD", io, 0)
}

// RemoveIOEventFD takes away what IOEventFD installed with the same io.
func (vm *VM) RemoveIOEventFD(io IOEventFD) error {
	return vm.ioEventFD("KVM_IOEVENTFD (deassign)", io, ioEventDeassign)
}

func (vm *VM) ioEventFD(op string, io IOEventFD, flags uint32) error {
	op = fmt.Sprintf("%s at %#x", op, io.Addr)
	switch io.Len {
	case 0, 1, 2, 4, 8:
	default:
		return argError(op, "length is %d, want 0, 1, 2, 4 or 8", io.Len)
	}
	if err := io.Event.fd.acquire(); err != nil {
		return opError(op, err)
	}
	defer io.Event.fd.release()
	k := ioEventFD{addr: io.Addr, len: uint32(io.Len), fd: int32(io.Event.fd.n), flags: flags}
	if io.PIO {
		k.flags |= ioEventPIO
	}
	if io.Match {
		k.flags |= ioEventDataMatch
		k.dataMatch = io.Data
	}
	_, err := ioctlPtr(vm.fd, reqIOEventFD, &k)
	return opError(op, err)
}
