package kvm

import (
	"unsafe"

	"golang.org/x/sys/unix"
)

// transfer reads or writes the counter of an eventfd. The call does not block, so it
// is not worth the scheduler's attention, which costs as much again. 0 is success.
func transfer(call uintptr, fd int, buf *[8]byte) unix.Errno {
	for {
		_, _, errno := unix.RawSyscall(call, uintptr(fd), uintptr(unsafe.Pointer(buf)), uintptr(len(buf)))
		if errno != unix.EINTR {
			return errno
		}
	}
}
