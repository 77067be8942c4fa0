package mmio

import (
	"sync/atomic"
	"unsafe"

	"golang.org/x/sys/unix"
)

// page is a page of host memory that the guest sees as one of its own, read-only.
// The registers are its last words.
type page struct {
	addr  unsafe.Pointer
	words []atomic.Uint32
}

func newPage() (*page, error) {
	addr, err := unix.MmapPtr(-1, 0, nil, pageSize, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_PRIVATE|unix.MAP_ANONYMOUS)
	if err != nil {
		return nil, err
	}
	first := (*atomic.Uint32)(unsafe.Add(addr, registersInPage))
	return &page{addr: addr, words: unsafe.Slice(first, regConfig/4)}, nil
}

// host is the page's address for KVM.
func (p *page) host() uintptr { return uintptr(p.addr) }

// free gives the page back. Neither the guest nor the transport uses it any more.
func (p *page) free() error { return unix.MunmapPtr(p.addr, pageSize) }
