package queue

import "unsafe"

// inside tells whether p is a part of mem.
func inside(mem, p []byte) bool {
	start, at := uintptr(unsafe.Pointer(unsafe.SliceData(mem))), uintptr(unsafe.Pointer(unsafe.SliceData(p)))
	return at >= start && at+uintptr(len(p)) <= start+uintptr(len(mem)) && cap(p) == len(p)
}
