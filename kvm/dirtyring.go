package kvm

import (
	"errors"
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

const (
	dirtyRingPageOffset = 64 // KVM_DIRTY_LOG_PAGE_OFFSET on x86, in pages
	dirtyEntrySize      = 16 // struct kvm_dirty_gfn
)

// DirtyPage is one entry of a dirty ring: page Offset of memory slot Slot was written.
type DirtyPage struct {
	Slot   uint32
	Offset uint64 // in pages
}

// EnableDirtyRing gives each vCPU made later a ring of that many entries, in which the kernel
// notes each page that the vCPU dirties in a slot with MemLogDirty. entries is a power of two;
// 1024 is always enough, as KVM keeps up to 576 in reserve. It takes the place of DirtyLog, for this VM's whole life. To be called
// before the first vCPU is made.
func (vm *VM) EnableDirtyRing(entries int) error {
	if entries <= 0 || entries > 1<<24 {
		return argError("KVM_ENABLE_CAP KVM_CAP_DIRTY_LOG_RING", "%d entries", entries)
	}
	bytes := entries * dirtyEntrySize
	// ACQ_REL says that the kernel orders its writes for weakly ordered processors too. On x86
	// both are the same; kernels before 6.1 have only the first name.
	err := vm.EnableCap(CapDirtyLogRingAcqRel, uint64(bytes))
	if errors.Is(err, unix.EINVAL) {
		if n, cerr := vm.CheckExtension(CapDirtyLogRingAcqRel); cerr == nil && n == 0 {
			err = vm.EnableCap(CapDirtyLogRing, uint64(bytes))
		}
	}
	if err != nil {
		return fmt.Errorf("dirty ring of %d entries: %w", entries, err)
	}
	vm.mu.Lock()
	vm.ringBytes = bytes
	vm.mu.Unlock()
	return nil
}

func (v *VCPU) mapRing(bytes int) error {
	ring, err := unix.Mmap(v.fd.n, int64(dirtyRingPageOffset*os.Getpagesize()), bytes,
		unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
	if err != nil {
		return v.opError("map dirty ring", err)
	}
	v.ring = ring
	return nil
}

// ResetDirtyRings write-protects the pages that HarvestDirty has taken since the last call, so
// that they are noted again, and gives how many there were. The vCPUs may run meanwhile. At
// ExitDirtyRingFull the vCPU cannot go on before it.
func (vm *VM) ResetDirtyRings() (int, error) {
	n, err := vm.fd.ioctl(reqResetDirtyRings, 0)
	return n, opError("KVM_RESET_DIRTY_RINGS", err)
}
