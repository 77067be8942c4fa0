package vm

import (
	"unsafe"

	"golang.org/x/sys/unix"
)

// dropPages takes the pages of a mapping of this process from it. They are a file's
// and not writable, so nothing is lost.
func dropPages(m mapping) error {
	pages := unsafe.Slice((*byte)(unsafe.Add(unsafe.Pointer(nil), m.start)), m.end-m.start)
	return unix.Madvise(pages, unix.MADV_DONTNEED)
}
