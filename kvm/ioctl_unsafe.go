package kvm

import (
	"unsafe"

	"golang.org/x/sys/unix"
)

// ioctlPtr performs a request whose argument points to a T. The conversion to uintptr stands
// in the call of unix.Syscall itself, which is what keeps the object alive and in place
// (rule 4 of package unsafe); it does not make p escape.
func ioctlPtr[T any](d *descriptor, req uintptr, p *T) (int, error) {
	if err := d.acquire(); err != nil {
		return 0, err
	}
	defer d.release()
	for {
		r, _, errno := unix.Syscall(unix.SYS_IOCTL, uintptr(d.n), req, uintptr(unsafe.Pointer(p)))
		if errno == 0 {
			return int(r), nil
		}
		if errno != unix.EINTR {
			return 0, errno
		}
	}
}

// newTable allocates one of the kernel's counted tables: a header of two 32-bit words (the
// number of entries, then padding or flags) and n entries, without a gap. T holds no
// pointers and its size is a multiple of 8 (TestTableEntries holds that). The header is
// words[0]; entries alias the rest of words.
func newTable[T any](n int) (words []uint64, entries []T) {
	var t T
	words = make([]uint64, 1+n*int(unsafe.Sizeof(t))/8)
	words[0] = uint64(uint32(n))
	if n > 0 {
		entries = unsafe.Slice((*T)(unsafe.Pointer(&words[1])), n)
	}
	return words, entries
}

// tableLen is the count that the kernel left in the table's header, at most n.
func tableLen(words []uint64, n int) int {
	return min(int(uint32(words[0])), n)
}
