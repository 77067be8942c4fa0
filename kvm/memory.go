package kvm

import (
	"fmt"

	gokvm "github.com/bobuhiro11/gokvm/kvm"
)

const pageSize = 4096

// MemoryFlags say how a memory slot behaves.
type MemoryFlags uint32

const (
	// MemLogDirty has the kernel note which pages are written (KVM_MEM_LOG_DIRTY_PAGES).
	MemLogDirty MemoryFlags = 1 << 0
	// MemReadOnly turns a guest's write to the slot into an MMIO exit (KVM_MEM_READONLY).
	MemReadOnly MemoryFlags = 1 << 1
)

// MemoryRegion backs a range of guest-physical addresses with this process's memory. GPA,
// Size (bytes) and HostAddr are multiples of the page size. The memory behind HostAddr stays
// mapped until the slot is deleted or the VM closed; it may be any mapping, also one that is
// not populated yet. 2 MiB pages need GPA and HostAddr equal modulo 2 MiB.
type MemoryRegion struct {
	Slot     uint32
	Flags    MemoryFlags
	GPA      uint64
	Size     uint64
	HostAddr uintptr
}

// SetMemoryRegion makes a slot, or changes the flags or the GPA of one that exists
// (KVM_SET_USER_MEMORY_REGION). The size of a slot cannot be changed: delete it first.
func (vm *VM) SetMemoryRegion(r MemoryRegion) error {
	op := fmt.Sprintf("KVM_SET_USER_MEMORY_REGION slot %d", r.Slot)
	if r.Size == 0 {
		return argError(op, "size is 0")
	}
	if r.GPA%pageSize != 0 || r.Size%pageSize != 0 || r.HostAddr%pageSize != 0 {
		return argError(op, "guest address %#x, size %#x or host address %#x is not a multiple of %d",
			r.GPA, r.Size, r.HostAddr, pageSize)
	}
	if r.GPA+r.Size < r.GPA {
		return argError(op, "guest address %#x and size %#x wrap around", r.GPA, r.Size)
	}
	vm.mu.Lock()
	defer vm.mu.Unlock()
	if err := vm.setRegion(op, r); err != nil {
		return err
	}
	vm.slotPages[r.Slot] = r.Size / pageSize
	return nil
}

// DeleteMemoryRegion removes a slot. The guest's accesses there become MMIO exits. No vCPU uses
// the memory when the call returns.
func (vm *VM) DeleteMemoryRegion(slot uint32) error {
	vm.mu.Lock()
	defer vm.mu.Unlock()
	if err := vm.setRegion(fmt.Sprintf("delete memory slot %d", slot), MemoryRegion{Slot: slot}); err != nil {
		return err
	}
	delete(vm.slotPages, slot)
	return nil
}

func (vm *VM) setRegion(op string, r MemoryRegion) error {
	k := gokvm.UserspaceMemoryRegion{
		Slot:          r.Slot,
		Flags:         uint32(r.Flags),
		GuestPhysAddr: r.GPA,
		MemorySize:    r.Size,
		UserspaceAddr: uint64(r.HostAddr),
	}
	_, err := ioctlPtr(vm.fd, reqSetUserMemoryRegion, &k)
	return opError(op, err)
}
