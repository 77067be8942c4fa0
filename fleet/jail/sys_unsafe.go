package jail

import (
	"fmt"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// install puts a filter on the calling thread, or with TSYNC on all threads of the
// process, which get no_new_privs by that, too.
func install(filter []unix.SockFilter, flags uintptr) error {
	prog := unix.SockFprog{Len: uint16(len(filter)), Filter: unsafe.SliceData(filter)}
	r, _, errno := unix.Syscall(unix.SYS_SECCOMP, unix.SECCOMP_SET_MODE_FILTER, flags, uintptr(unsafe.Pointer(&prog)))
	if errno != 0 {
		return fmt.Errorf("seccomp filter of %d instructions: %w", len(filter), errno)
	}
	if r != 0 {
		return fmt.Errorf("seccomp filter: thread %d does not take it", r)
	}
	return nil
}

// newRuleset makes a Landlock ruleset. Kernels before 6.7 know only the first field, and
// size says how much is meant.
func newRuleset(a *unix.LandlockRulesetAttr, size uintptr) (int, error) {
	fd, _, errno := unix.Syscall(unix.SYS_LANDLOCK_CREATE_RULESET, uintptr(unsafe.Pointer(a)), size, 0)
	if errno != 0 {
		return -1, errno
	}
	return int(fd), nil
}

// addRule allows rights beneath a folder. The kernel's structure is packed, so what Go
// adds at its end is not looked at.
func addRule(ruleset int, a *unix.LandlockPathBeneathAttr) error {
	_, _, errno := unix.Syscall6(unix.SYS_LANDLOCK_ADD_RULE, uintptr(ruleset), unix.LANDLOCK_RULE_PATH_BENEATH, uintptr(unsafe.Pointer(a)), 0, 0, 0)
	if errno != 0 {
		return errno
	}
	return nil
}

// onAllThreads makes a call on each thread. In a program with cgo, as those with the race
// detector are, Go cannot, and gives ENOTSUP.
func onAllThreads(trap, a1, a2, a3, a4, a5 uintptr) error {
	_, _, errno := syscall.AllThreadsSyscall6(trap, a1, a2, a3, a4, a5, 0)
	if errno != 0 {
		return errno
	}
	return nil
}

// landlockVersion is what the kernel has of Landlock, 0 for none.
func landlockVersion() int {
	v, _, errno := unix.Syscall(unix.SYS_LANDLOCK_CREATE_RULESET, 0, 0, unix.LANDLOCK_CREATE_RULESET_VERSION)
	if errno != 0 {
		return 0
	}
	return int(v)
}

// emptyCapabilities takes all capabilities from all threads.
func emptyCapabilities() error {
	header := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var data [2]unix.CapUserData
	_, _, errno := syscall.AllThreadsSyscall(unix.SYS_CAPSET, uintptr(unsafe.Pointer(&header)), uintptr(unsafe.Pointer(&data[0])), 0)
	if errno != 0 {
		return fmt.Errorf("drop all capabilities: %w", errno)
	}
	return nil
}
