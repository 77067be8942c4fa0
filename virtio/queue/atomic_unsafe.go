package queue

import (
	"sync/atomic"
	"unsafe"
)

// The functions here take a slice of at least the value's size whose address is
// a multiple of it. The guest and the host are little-endian machines, so no
// bytes are swapped. (x86-64 only: a host of another order must swap.)

// load16 is a plain load: an aligned 16-bit access is a single one on x86 (Intel
// SDM vol. 3, 9.1.1), sync/atomic has no 16-bit form, and the call that may not
// be inlined keeps the compiler from moving or repeating it.
//
//go:noinline
func load16(s []byte) uint16 { return *(*uint16)(unsafe.Pointer(unsafe.SliceData(s))) }

// store16 is a plain store (see load16) and then a locked operation, which makes
// it a full barrier like the stores of sync/atomic: a virtqueue must not read the
// other side's index before its own is visible.
//
//go:noinline
func store16(s []byte, v uint16) {
	*(*uint16)(unsafe.Pointer(unsafe.SliceData(s))) = v
	var fence uint32
	atomic.AddUint32(&fence, 1)
}

func load32(s []byte) uint32 {
	return atomic.LoadUint32((*uint32)(unsafe.Pointer(unsafe.SliceData(s))))
}

func store32(s []byte, v uint32) {
	atomic.StoreUint32((*uint32)(unsafe.Pointer(unsafe.SliceData(s))), v)
}
