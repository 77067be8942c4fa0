package vcpu

import (
	"unsafe"

	"golang.org/x/sys/unix"
)

// setThreadName names the calling thread for ps and top. Names are cut at 15 bytes; a thread
// without its name does no harm.
func setThreadName(name string) {
	p, err := unix.BytePtrFromString(name)
	if err != nil {
		return
	}
	_ = unix.Prctl(unix.PR_SET_NAME, uintptr(unsafe.Pointer(p)), 0, 0, 0)
}
