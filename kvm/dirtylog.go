package kvm

import "fmt"

// Arguments of EnableCap(CapManualDirtyLogProtect2, ...): with DirtyManualProtect, DirtyLog
// leaves the pages marked until ClearDirtyLog; with DirtyInitiallySet too, all pages of a slot
// start out marked, so that they are write-protected bit by bit instead of at once.
const (
	DirtyManualProtect uint64 = 1 << 0
	DirtyInitiallySet  uint64 = 1 << 1
)

// DirtyBitmapLen is how many words DirtyLog needs for a slot of size bytes.
func DirtyBitmapLen(size uint64) int {
	return int((size/pageSize + 63) / 64)
}

// DirtyLog fills bitmap with the pages of the slot that were written since the last call, bit 0
// of word 0 for the slot's first page, and forgets them, unless DirtyManualProtect is on. The
// bitmap has at least DirtyBitmapLen words; more are left alone.
func (vm *VM) DirtyLog(slot uint32, bitmap []uint64) error {
	op := fmt.Sprintf("KVM_GET_DIRTY_LOG slot %d", slot)
	// Under the lock, so that the slot cannot grow under the kernel's write to bitmap.
	vm.mu.Lock()
	defer vm.mu.Unlock()
	pages, ok := vm.slotPages[slot]
	if !ok {
		return argError(op, "no such slot")
	}
	if need := DirtyBitmapLen(pages * pageSize); len(bitmap) < need {
		return argError(op, "bitmap has %d words, want %d", len(bitmap), need)
	}
	_, err := ioctlPtr(vm.fd, reqGetDirtyLog, &dirtyLog{slot: slot, bitmap: &bitmap[0]})
	return opError(op, err)
}

// ClearDirtyLog forgets the pages that are set in bitmap and write-protects them again, so that
// the next write is seen. Bit 0 of word 0 is page first of the slot; first is a multiple of 64,
// and pages is one too unless it ends the slot. Needs DirtyManualProtect.
func (vm *VM) ClearDirtyLog(slot uint32, first, pages uint64, bitmap []uint64) error {
	op := fmt.Sprintf("KVM_CLEAR_DIRTY_LOG slot %d", slot)
	vm.mu.Lock()
	defer vm.mu.Unlock()
	total, ok := vm.slotPages[slot]
	if !ok {
		return argError(op, "no such slot")
	}
	if first%64 != 0 || first > total || pages > total-first || pages == 0 || pages > 1<<32-1 {
		return argError(op, "pages %d to %d of %d", first, first+pages, total)
	}
	if need := DirtyBitmapLen(pages * pageSize); len(bitmap) < need {
		return argError(op, "bitmap has %d words, want %d", len(bitmap), need)
	}
	c := clearDirtyLog{slot: slot, numPages: uint32(pages), firstPage: first, bitmap: &bitmap[0]}
	_, err := ioctlPtr(vm.fd, reqClearDirtyLog, &c)
	return opError(op, err)
}
