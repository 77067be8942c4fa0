package kvm

import (
	"fmt"
	"sync"

	"golang.org/x/sys/unix"
)

// VM is one virtual machine. Its methods may be called from several goroutines; those that
// build the machine (irqchip, PIT, boot CPU, capabilities) have an order that KVM demands and
// that their comments give.
type VM struct {
	fd       *descriptor
	mmapSize int

	mu        sync.Mutex        // guards the fields below
	slotPages map[uint32]uint64 // size of each memory slot, in pages
	ringBytes int               // size of a vCPU's dirty ring, 0 for none

	coalescedMu sync.Mutex // the coalesced ring has one consumer at a time
}

func newVM(n, mmapSize int) *VM {
	return &VM{fd: newDescriptor(n), mmapSize: mmapSize, slotPages: make(map[uint32]uint64)}
}

// Close gives the VM up. The kernel frees it when its vCPUs are closed too.
func (vm *VM) Close() error { return vm.fd.Close() }

// CheckExtension is System.CheckExtension for this VM, whose type and settings may change
// the answer.
func (vm *VM) CheckExtension(c Cap) (int, error) {
	return checkExtension(vm.fd, c)
}

// EnableCap switches an extension on for the VM (KVM_ENABLE_CAP). The meaning of args, four
// at most, is c's.
func (vm *VM) EnableCap(c Cap, args ...uint64) error {
	return enable(vm.fd, c, args)
}

func enable(d *descriptor, c Cap, args []uint64) error {
	op := "KVM_ENABLE_CAP " + c.String()
	e := enableCap{cap: uint32(c)}
	if len(args) > len(e.args) {
		return argError(op, "%d arguments, at most %d", len(args), len(e.args))
	}
	copy(e.args[:], args)
	_, err := ioctlPtr(d, reqEnableCap, &e)
	return opError(op, err)
}

// SetTSSAddr says where in guest-physical memory KVM may put the three pages that it needs to
// run real mode on older Intel processors. gpa lies below 4 GiB, outside of every slot. To be
// called before the first vCPU is made.
func (vm *VM) SetTSSAddr(gpa uint32) error {
	_, err := vm.fd.ioctl(reqSetTSSAddr, uintptr(gpa))
	return opError("KVM_SET_TSS_ADDR", err)
}

// SetIdentityMapAddr is SetTSSAddr for the one page of page table that KVM needs as well.
func (vm *VM) SetIdentityMapAddr(gpa uint64) error {
	_, err := ioctlPtr(vm.fd, reqSetIdentityMapAddr, &gpa)
	return opError("KVM_SET_IDENTITY_MAP_ADDR", err)
}

// SetBootCPUID names the vCPU that starts as the bootstrap processor (0 without this call). To
// be called before the first vCPU is made.
func (vm *VM) SetBootCPUID(id int) error {
	_, err := vm.fd.ioctl(reqSetBootCPUID, uintptr(id))
	return opError("KVM_SET_BOOT_CPU_ID", err)
}

// NrMMUPages gives the limit on shadow page table pages. Linux before 6.3.
func (vm *VM) NrMMUPages() (int, error) {
	n, err := vm.fd.ioctl(reqGetNrMMUPages, 0)
	return n, opError("KVM_GET_NR_MMU_PAGES", err)
}

// SetNrMMUPages sets the limit on shadow page table pages.
func (vm *VM) SetNrMMUPages(n int) error {
	_, err := vm.fd.ioctl(reqSetNrMMUPages, uintptr(n))
	return opError("KVM_SET_NR_MMU_PAGES", err)
}

// CreateVCPU makes the virtual CPU with this id, which is its APIC id as well. Ids start at 0
// and end below what CapMaxVCPUID says. The irqchip, if there is to be one, comes first.
func (vm *VM) CreateVCPU(id int) (*VCPU, error) {
	if id < 0 {
		return nil, argError("KVM_CREATE_VCPU", "id %d is negative", id)
	}
	n, err := vm.fd.ioctl(reqCreateVCPU, uintptr(id))
	if err != nil {
		return nil, opError(fmt.Sprintf("KVM_CREATE_VCPU %d", id), err)
	}
	v, err := newVCPU(vm, id, n)
	if err != nil {
		return nil, err
	}
	return v, nil
}

func newVCPU(vm *VM, id, n int) (*VCPU, error) {
	fd := newDescriptor(n)
	run, err := unix.Mmap(n, 0, vm.mmapSize, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
	if err != nil {
		_ = fd.Close()
		return nil, opError(fmt.Sprintf("map the run page of vcpu %d", id), err)
	}
	v := &VCPU{fd: fd, vm: vm, id: id, run: run}
	fd.destroy = v.unmap
	vm.mu.Lock()
	ringBytes := vm.ringBytes
	vm.mu.Unlock()
	if ringBytes == 0 {
		return v, nil
	}
	if err := v.mapRing(ringBytes); err != nil {
		_ = fd.Close()
		return nil, err
	}
	return v, nil
}
