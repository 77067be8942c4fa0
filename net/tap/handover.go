package tap

import (
	"errors"
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

// Attach opens the queues of a tap that exists, for another process: one that may
// not, or cannot as it sees no interfaces, makes its Tap of them with FromFiles. A
// queue is of the tap's from then on, whoever has its descriptor.
func Attach(name string, queues int) ([]*os.File, error) {
	if !exists(name) {
		return nil, fmt.Errorf("tap %s: %w", name, unix.ENODEV)
	}
	t, err := Open(Config{Name: name, Queues: queues})
	if err != nil {
		return nil, err
	}
	var files []*os.File
	for _, q := range t.queues {
		fd, dupErr := unix.FcntlInt(uintptr(q.fd), unix.F_DUPFD_CLOEXEC, 0)
		if dupErr != nil {
			err = fmt.Errorf("tap %s: duplicate a queue: %w", name, dupErr)
			break
		}
		files = append(files, os.NewFile(uintptr(fd), name))
	}
	err = errors.Join(err, t.closeQueues())
	if err == nil {
		return files, nil
	}
	for _, f := range files {
		err = errors.Join(err, f.Close())
	}
	return nil, err
}

// FromFiles makes a Tap of queues that Attach opened. It takes the files over, even
// if it fails. MTU does not work where the interface cannot be seen.
func FromFiles(name string, files []*os.File) (*Tap, error) {
	t := &Tap{name: name, attached: len(files), multi: len(files) > 1}
	var errs []error
	for _, f := range files {
		fd, err := unix.FcntlInt(f.Fd(), unix.F_DUPFD_CLOEXEC, 0)
		if err == nil {
			err = unix.SetNonblock(fd, true) // Fd had it blocking
			t.queues = append(t.queues, newPort(fd))
		}
		errs = append(errs, err, f.Close())
	}
	if len(files) == 0 {
		errs = append(errs, errors.New("no queue was handed over"))
	}
	if err := errors.Join(errs...); err != nil {
		return nil, errors.Join(fmt.Errorf("tap %s: %w", name, err), t.closeQueues())
	}
	t.probeOffloads()
	return t, nil
}
