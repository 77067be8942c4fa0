package host

import "unsafe"

// addressOf gives p's address for questions of alignment. Go does not move memory whose
// slice is in use, so the answer holds while p is held.
func addressOf(p []byte) int { return int(uintptr(unsafe.Pointer(unsafe.SliceData(p)))) }
