package agent

import (
	"unsafe"

	"golang.org/x/sys/unix"
)

// sigchldInfo is what waitid(2) writes into siginfo_t for SIGCHLD on 64-bit
// Linux (include/uapi/asm-generic/siginfo.h).
type sigchldInfo struct {
	signo, errno, code, _ int32
	pid                   int32
}

// waitNext waits until a child has ended and returns its number without
// collecting it.
func waitNext(kind, id, options int) (int, error) {
	var info unix.Siginfo
	if err := unix.Waitid(kind, id, &info, unix.WEXITED|unix.WNOWAIT|options, nil); err != nil {
		return 0, err
	}
	return int((*sigchldInfo)(unsafe.Pointer(&info)).pid), nil
}
