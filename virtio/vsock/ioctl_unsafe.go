package vsock

import (
	"unsafe"

	"golang.org/x/sys/unix"
)

// setCID performs VHOST_VSOCK_SET_GUEST_CID, whose argument points to 64 bits.
func setCID(fd int, cid uint64) error {
	if _, _, errno := unix.Syscall(unix.SYS_IOCTL, uintptr(fd), reqSetGuestCID, uintptr(unsafe.Pointer(&cid))); errno != 0 {
		return errno
	}
	return nil
}
