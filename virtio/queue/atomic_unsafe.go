//go:build !race

package queue

import (
	"sync/atomic"
	"unsafe"
)

// load16 reads an index or a flag that the driver writes: a plain load, as an
// aligned 16-bit access is a single one on x86 (Intel SDM vol. 3, 9.1.1) and loads
// are not reordered with later loads and stores (8.2.2). That it may not be inlined
// keeps the compiler from moving or repeating it.
//
//go:noinline
func load16(s []byte) uint16 { return *(*uint16)(unsafe.Pointer(unsafe.SliceData(s))) }

// store16 writes an index or a flag that the driver reads: a plain store, as x86
// does not reorder stores with earlier loads and stores.
//
//go:noinline
func store16(s []byte, v uint16) { *(*uint16)(unsafe.Pointer(unsafe.SliceData(s))) = v }

// fence is a full barrier: the one reordering that x86 does, a load before an
// earlier store, does not happen across a locked operation.
func fence() {
	var word uint32
	atomic.AddUint32(&word, 1)
}

// counter is a number that one goroutine adds to and all may read. Only one writes,
// so nothing is lost without a locked operation, which costs as much as the rest of
// Put; and an aligned 64-bit access is a single one.
type counter uint64

func (c *counter) add(n uint64) { *c += counter(n) }

func (c *counter) load() uint64 { return atomic.LoadUint64((*uint64)(c)) }
