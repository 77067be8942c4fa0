package vhost

import (
	"unsafe"

	"golang.org/x/sys/unix"
)

// ioctlPtr performs a request whose argument points to a T.
func ioctlPtr[T any](fd int, req uintptr, p *T) error {
	for {
		_, _, errno := unix.Syscall(unix.SYS_IOCTL, uintptr(fd), req, uintptr(unsafe.Pointer(p)))
		if errno == 0 {
			return nil
		}
		if errno != unix.EINTR {
			return errno
		}
	}
}
