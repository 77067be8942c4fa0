package kvm

import (
	"sync/atomic"
	"unsafe"
)

const (
	dirtyFlagDirty = 1 << 0 // KVM_DIRTY_GFN_F_DIRTY: the kernel has filled the entry
	dirtyFlagReset = 1 << 1 // KVM_DIRTY_GFN_F_RESET: we have taken it
)

// dirtyEntry is struct kvm_dirty_gfn.
type dirtyEntry struct {
	flags  uint32
	slot   uint32
	offset uint64
}

// HarvestDirty takes entries from the vCPU's ring into dst, oldest first, and gives how many.
// Fewer than len(dst) means that the ring is empty. It may be called while the vCPU runs, by
// one goroutine at a time, and does not allocate.
func (v *VCPU) HarvestDirty(dst []DirtyPage) int {
	if v.ring == nil || v.fd.acquire() != nil {
		return 0
	}
	defer v.fd.release()
	return v.harvest(dst)
}

func (v *VCPU) harvest(dst []DirtyPage) int {
	entries := unsafe.Slice((*dirtyEntry)(unsafe.Pointer(unsafe.SliceData(v.ring))), len(v.ring)/dirtyEntrySize)
	for i := range dst {
		e := &entries[int(v.ringNext)%len(entries)]
		// The kernel publishes slot and offset with the flag, and may reuse the entry once it
		// sees ours.
		if atomic.LoadUint32(&e.flags) != dirtyFlagDirty {
			return i
		}
		dst[i] = DirtyPage{Slot: e.slot, Offset: e.offset}
		atomic.StoreUint32(&e.flags, dirtyFlagReset)
		v.ringNext++
	}
	return len(dst)
}
