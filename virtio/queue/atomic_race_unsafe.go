//go:build race

package queue

import (
	"sync/atomic"
	"unsafe"
)

// The race detector knows no 16-bit atomics. Here they are done on the aligned
// 32-bit word round them, so that it sees what the program relies on: stores of an
// index release, and loads of it acquire, everything else that the sides exchange.

func word(s []byte) (*uint32, uint) {
	p := unsafe.Pointer(unsafe.SliceData(s))
	off := uintptr(p) & 2
	return (*uint32)(unsafe.Add(p, -int(off))), uint(off) * 8
}

func load16(s []byte) uint16 {
	p, shift := word(s)
	return uint16(atomic.LoadUint32(p) >> shift)
}

func store16(s []byte, v uint16) {
	p, shift := word(s)
	for {
		old := atomic.LoadUint32(p)
		if atomic.CompareAndSwapUint32(p, old, old&^(0xFFFF<<shift)|uint32(v)<<shift) {
			return
		}
	}
}

// fence is nothing here: the operations above are sequentially consistent.
func fence() {}

type counter uint64

func (c *counter) add(n uint64) { atomic.AddUint64((*uint64)(c), n) }

func (c *counter) load() uint64 { return atomic.LoadUint64((*uint64)(c)) }
