package host

import (
	"errors"
	"os"
	"sync/atomic"

	"golang.org/x/sys/unix"
)

// zeroes is what is written where the file system has no call to zero a range.
var zeroes [64 << 10]byte

// Punch gives n bytes from off back to the host; they read as zeroes after. It tells
// whether the host could.
func (f *File) Punch(off, n int64) (bool, error) {
	return f.fallocate(&f.noPunch, unix.FALLOC_FL_PUNCH_HOLE|unix.FALLOC_FL_KEEP_SIZE, off, n)
}

// Zero makes n bytes from off read as zeroes, as a hole if unmap is set and the host can.
// It does not lengthen a file beyond what it writes itself.
func (f *File) Zero(off, n int64, unmap bool) error {
	if n <= 0 {
		return nil
	}
	if unmap {
		if done, err := f.Punch(off, n); done || err != nil {
			return err
		}
	}
	done, err := f.fallocate(&f.noZero, unix.FALLOC_FL_ZERO_RANGE|unix.FALLOC_FL_KEEP_SIZE, off, n)
	if done || err != nil {
		return err
	}
	for n > 0 {
		part := min(n, int64(len(zeroes)))
		if _, err := f.WriteAt(zeroes[:part], off); err != nil {
			return err
		}
		off, n = off+part, n-part
	}
	return nil
}

// fallocate tells whether the call was done; not, without an error, where the file system
// cannot, which never remembers, or not with this alignment.
func (f *File) fallocate(never *atomic.Bool, mode uint32, off, n int64) (bool, error) {
	if n <= 0 {
		return true, nil
	}
	if never.Load() {
		return false, nil
	}
	// A call on pages that a direct write is changing in part must not be lost under it.
	f.edges.RLock()
	defer f.edges.RUnlock()
	for {
		err := unix.Fallocate(int(f.f.Fd()), mode, off, n)
		switch {
		case err == nil:
			return true, nil
		case errors.Is(err, unix.EINTR):
			continue
		case errors.Is(err, unix.EOPNOTSUPP), errors.Is(err, unix.ENOSYS), errors.Is(err, unix.ENODEV):
			never.Store(true)
			return false, nil
		case f.device && errors.Is(err, unix.EINVAL): // a device wants whole blocks
			return false, nil
		}
		return false, &os.PathError{Op: "fallocate", Path: f.path, Err: err}
	}
}
