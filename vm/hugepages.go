package vm

import (
	"errors"
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

// A page of 2 MiB of which a process uses a few bytes is a large part of what it takes, and
// the kernel gives one to the program's variables where it gives them to all
// (/sys/kernel/mm/transparent_hugepage/enabled), depending on where the linker has put them.
// Guest memory is what they are good for. So whoever starts a process of a machine does it
// WithoutHugePages, or the process begins without them itself, and New lets it have them
// for the memory of the machine.

// WithoutHugePages calls start, which starts a process that gets no transparent huge pages
// until it asks for them (PR_SET_THP_DISABLE of prctl(2)).
func WithoutHugePages(start func() error) error {
	if unix.Prctl(unix.PR_SET_THP_DISABLE, 1, 0, 0, 0) == nil {
		defer AllowHugePages()
	}
	return start()
}

// AllowHugePages lets the process have transparent huge pages. A kernel without them has
// nothing to allow.
func AllowHugePages() { _ = unix.Prctl(unix.PR_SET_THP_DISABLE, 0, 0, 0, 0) }

// hugePagesFromHere lets a process that was started without huge pages have them for what it
// maps from now on.
func hugePagesFromHere() error {
	off, err := unix.PrctlRetInt(unix.PR_GET_THP_DISABLE, 0, 0, 0, 0)
	if err != nil || off == 0 { // or a kernel without them
		return nil
	}
	if err := ownPagesSmall(); err != nil {
		return err
	}
	AllowHugePages()
	return nil
}

// ownPagesSmall has the kernel give no huge page to what the process has mapped so far.
func ownPagesSmall() error {
	maps, err := os.Open("/proc/self/maps")
	if err != nil {
		return err
	}
	defer maps.Close()
	all, err := readMappings(maps)
	if err != nil {
		return err
	}
	var errs []error
	for _, m := range all {
		if m.file != "" || !m.writable {
			continue
		}
		_, _, errno := unix.Syscall(unix.SYS_MADVISE, uintptr(m.start), uintptr(m.end-m.start), unix.MADV_NOHUGEPAGE)
		if errno != 0 && errno != unix.EINVAL { // a kernel without huge pages knows no such advice
			errs = append(errs, fmt.Errorf("madvise %#x: %w", m.start, errno))
		}
	}
	return errors.Join(errs...)
}
