package kvm

import (
	"sync/atomic"
	"unsafe"
)

const (
	coalescedPage  = 2 // KVM_COALESCED_MMIO_PAGE_OFFSET on x86, in pages
	coalescedSlots = (pageSize - 8) / 24
)

// coalescedRing is struct kvm_coalesced_mmio_ring: the kernel adds at last, we take at first.
type coalescedRing struct {
	first, last uint32
	entries     [coalescedSlots]struct {
		addr uint64
		len  uint32
		pio  uint32
		data [8]byte
	}
}

// NextCoalesced takes the oldest write that the kernel collected for the VM; false if there is
// none. To be called after each exit, before the exit itself is handled, so that the guest's
// writes keep their order.
func (v *VCPU) NextCoalesced() (CoalescedWrite, bool) {
	if v.fd.acquire() != nil {
		return CoalescedWrite{}, false
	}
	defer v.fd.release()
	if len(v.run) < (coalescedPage+1)*pageSize {
		return CoalescedWrite{}, false
	}
	v.vm.coalescedMu.Lock()
	defer v.vm.coalescedMu.Unlock()
	ring := (*coalescedRing)(unsafe.Pointer(&v.run[coalescedPage*pageSize]))
	first := atomic.LoadUint32(&ring.first)
	if first == atomic.LoadUint32(&ring.last) || first >= coalescedSlots {
		return CoalescedWrite{}, false
	}
	e := &ring.entries[first]
	w := CoalescedWrite{Addr: e.addr, PIO: e.pio != 0, Len: min(int(e.len), len(e.data)), Data: e.data}
	atomic.StoreUint32(&ring.first, (first+1)%coalescedSlots)
	return w, true
}
