package state

import (
	"errors"
	"io"
	"os"

	"golang.org/x/sys/unix"
)

// Looker looks at the same locks again and again. It keeps the files open of those that are
// held, so that it costs one system call to see that one still is. The zero value is ready;
// it is of one goroutine.
type Looker struct {
	open  map[string]int // descriptors
	asked map[string]bool
}

// Held is the function of this name.
func (l *Looker) Held(path string) (bool, error) {
	if l.open == nil {
		l.open, l.asked = map[string]int{}, map[string]bool{}
	}
	l.asked[path] = true
	if fd, ok := l.open[path]; ok {
		if held, err := heldFD(fd); held && err == nil {
			return true, nil
		}
		// Nobody holds this file. There may be another one of its name by now.
		if err := l.forget(path); err != nil {
			return false, err
		}
	}
	fd, err := openFD(path)
	if errors.Is(err, os.ErrNotExist) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	held, err := heldFD(fd)
	if held && err == nil {
		l.open[path] = fd
		return true, nil
	}
	if err != nil {
		err = &os.PathError{Op: "look at the lock of", Path: path, Err: err}
	}
	return false, errors.Join(err, unix.Close(fd))
}

// Sweep closes the files of locks that were not asked for since the last Sweep.
func (l *Looker) Sweep() error {
	var errs []error
	for path := range l.open {
		if !l.asked[path] {
			errs = append(errs, l.forget(path))
		}
	}
	clear(l.asked)
	return errors.Join(errs...)
}

// Close closes all files.
func (l *Looker) Close() error {
	clear(l.asked)
	return l.Sweep()
}

func (l *Looker) forget(path string) error {
	fd := l.open[path]
	delete(l.open, path)
	return os.NewSyscallError("close", unix.Close(fd))
}

func openFD(path string) (int, error) {
	for {
		fd, err := unix.Open(path, unix.O_RDONLY|unix.O_CLOEXEC, 0)
		if err == nil {
			return fd, nil
		}
		if !errors.Is(err, unix.EINTR) {
			return -1, &os.PathError{Op: "open", Path: path, Err: err}
		}
	}
}

func heldFD(fd int) (bool, error) {
	lock := unix.Flock_t{Type: unix.F_WRLCK, Whence: io.SeekStart}
	for {
		err := unix.FcntlFlock(uintptr(fd), unix.F_OFD_GETLK, &lock)
		if !errors.Is(err, unix.EINTR) {
			return lock.Type != unix.F_UNLCK, err
		}
	}
}
