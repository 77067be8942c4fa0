package host

import (
	"errors"
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

// Where QEMU keeps its image locks, so that its tools and we respect each other
// (block/file-posix.c and its documentation of image locking): a process that holds
// permission n read-locks byte 100+n, one that does not share permission n read-locks
// 200+n, and each looks whether another holds the byte that contradicts. Permission 1
// is to write and 3 to resize.
//
// A writer of ours write-locks all of them in one call, so of two that start at once one
// always wins. A reader read-locks the "shares no writing" bytes, which goes with other
// readers, and looks for a foreign writer.
const (
	lockBase     = 100
	lockLen      = 200
	lockWrite    = lockBase + 1
	lockWriteLen = 3       // write, write-unchanged, resize
	unshareWrite = 200 + 1 // the same three, not shared
)

// lock takes the file's lock as an open-file-description lock (fcntl(2), F_OFD_SETLK):
// exclusive for a writer, shared for a reader. The lock ends with the descriptor, however
// the process ends.
func (f *File) lock(exclusive bool) error {
	fd := f.f.Fd()
	lk := unix.Flock_t{Type: unix.F_RDLCK, Start: unshareWrite, Len: lockWriteLen}
	if exclusive {
		lk = unix.Flock_t{Type: unix.F_WRLCK, Start: lockBase, Len: lockLen}
	}
	if err := setLock(fd, &lk); err != nil {
		return f.lockError(err)
	}
	if exclusive {
		return nil
	}
	probe := unix.Flock_t{Type: unix.F_WRLCK, Start: lockWrite, Len: lockWriteLen}
	if err := unix.FcntlFlock(fd, unix.F_OFD_GETLK, &probe); err != nil {
		return f.lockError(err)
	}
	if probe.Type != unix.F_UNLCK {
		return f.lockError(unix.EAGAIN)
	}
	return nil
}

func setLock(fd uintptr, lk *unix.Flock_t) error {
	for {
		err := unix.FcntlFlock(fd, unix.F_OFD_SETLK, lk)
		if !errors.Is(err, unix.EINTR) {
			return err
		}
	}
}

func (f *File) lockError(err error) error {
	if !errors.Is(err, unix.EAGAIN) && !errors.Is(err, unix.EACCES) {
		return &os.PathError{Op: "lock", Path: f.path, Err: err}
	}
	hint := "stop the machine that uses it, or make an overlay on a base that all open read-only"
	if f.readOnly {
		hint = "stop the machine that writes to it"
	}
	return fmt.Errorf("open %s: %w: %s", f.path, ErrLocked, hint)
}
