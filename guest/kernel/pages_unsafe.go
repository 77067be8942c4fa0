package kernel

import (
	"unsafe"

	"github.com/gureum/gureum/guest/memory"
)

// wholePages is the part of b that is whole pages of memory.
func wholePages(b []byte) []byte {
	const page = memory.PageBytes
	skip := -uintptr(unsafe.Pointer(unsafe.SliceData(b))) % page
	if skip >= uintptr(len(b)) {
		return nil
	}
	b = b[skip:]
	return b[:len(b)/page*page]
}
