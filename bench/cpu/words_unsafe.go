package cpu

import (
	"fmt"
	"unsafe"

	"golang.org/x/sys/unix"
)

// words is memory of some bytes that is given back at once when it is no longer wanted, where
// the garbage collector might keep it until the next load wants as much.
func words(size int) (w []uint64, free func(), err error) {
	block, err := unix.Mmap(-1, 0, size, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_PRIVATE|unix.MAP_ANONYMOUS)
	if err != nil {
		return nil, nil, fmt.Errorf("%d bytes of memory: %w", size, err)
	}
	return unsafe.Slice((*uint64)(unsafe.Pointer(&block[0])), size/8), func() { _ = unix.Munmap(block) }, nil
}
