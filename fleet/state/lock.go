package state

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"
)

// ErrBusy is the error of TryLock for a lock that somebody else holds.
var ErrBusy = errors.New("somebody else has it locked")

// Lock is a lock on an open file (fcntl_locking(2), "Open file description locks"). The
// kernel frees it when the last process ends that has its descriptor. Of the kinds of locks
// it is the one that can be looked at without being taken, so that who looks is never in
// the way of who takes it.
type Lock struct{ file *os.File }

// TryLock takes a lock, or gives ErrBusy. The file is made if need be.
func TryLock(path string) (*Lock, error) {
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, err
	}
	_, err = control(f, unix.F_OFD_SETLK)
	switch {
	case errors.Is(err, unix.EAGAIN), errors.Is(err, unix.EACCES):
		err = ErrBusy
	case err == nil && !sameFile(f, path):
		// Its folder was removed and made anew meanwhile: this is a lock on nothing.
		err = ErrBusy
	}
	if err != nil {
		return nil, errors.Join(&os.PathError{Op: "lock", Path: path, Err: err}, f.Close())
	}
	return &Lock{f}, nil
}

// control gives the kernel a command about a lock on all of a file, and what it answers.
func control(f *os.File, command int) (unix.Flock_t, error) {
	l := unix.Flock_t{Type: unix.F_WRLCK, Whence: io.SeekStart}
	for {
		err := unix.FcntlFlock(f.Fd(), command, &l)
		if !errors.Is(err, unix.EINTR) {
			return l, err
		}
	}
}

// held tells whether somebody else has an open file locked.
func held(f *os.File) (bool, error) {
	l, err := control(f, unix.F_OFD_GETLK)
	if err != nil {
		return false, &os.PathError{Op: "look at the lock of", Path: f.Name(), Err: err}
	}
	return l.Type != unix.F_UNLCK, nil
}

func sameFile(f *os.File, path string) bool {
	a, err := f.Stat()
	if err != nil {
		return false
	}
	b, err := os.Stat(path)
	return err == nil && os.SameFile(a, b)
}

// lockRetry is how often a lock is tried for. A wait in the kernel could not be given up.
const lockRetry = 10 * time.Millisecond

// WaitLock takes a lock and waits for it, but not longer than ctx.
func WaitLock(ctx context.Context, path string) (*Lock, error) {
	for {
		l, err := TryLock(path)
		if !errors.Is(err, ErrBusy) {
			return l, err
		}
		select {
		case <-ctx.Done():
			return nil, fmt.Errorf("wait for %s: %w", path, context.Cause(ctx))
		case <-time.After(lockRetry):
		}
	}
}

// Held tells whether somebody holds a lock.
func Held(path string) (bool, error) {
	var l Looker
	is, err := l.Held(path)
	return is, errors.Join(err, l.Close())
}

// File is the locked file: a process that inherits it holds the lock as well.
func (l *Lock) File() *os.File { return l.file }

// Unlock gives the lock up, as far as this process is concerned.
func (l *Lock) Unlock() error {
	if l == nil {
		return nil
	}
	return l.file.Close()
}

// Lock takes the lock of the whole fleet, for making, renaming and removing.
func (d Dirs) Lock(ctx context.Context) (*Lock, error) {
	if err := d.Make(); err != nil {
		return nil, err
	}
	return WaitLock(ctx, filepath.Join(d.State, "lock"))
}

// LockVM takes the lock of one machine, for starting, stopping and changing it.
func (d Dirs) LockVM(ctx context.Context, id string) (*Lock, error) {
	return WaitLock(ctx, filepath.Join(d.VMDir(id), "lock"))
}

// Alive is the path of the lock that a machine's process holds.
func (d Dirs) Alive(id string) string { return filepath.Join(d.VMRun(id), "alive") }
