package agent

import (
	"errors"
	"os"

	"golang.org/x/sys/unix"
)

// OpenLine opens a guest's serial line, or another character device, to the host. A
// UART carries bytes untouched from then on and is held up by the receiver, not by
// losing what it does not take.
func OpenLine(path string) (*os.File, error) {
	fd, err := unix.Open(path, unix.O_RDWR|unix.O_NOCTTY|unix.O_NONBLOCK|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, &os.PathError{Op: "open", Path: path, Err: err}
	}
	if err := makeRaw(fd); err != nil && !errors.Is(err, unix.ENOTTY) {
		unix.Close(fd)
		return nil, &os.PathError{Op: "make raw", Path: path, Err: err}
	}
	return os.NewFile(uintptr(fd), path), nil
}

func makeRaw(fd int) error {
	t, err := unix.IoctlGetTermios(fd, unix.TCGETS)
	if err != nil {
		return err
	}
	t.Iflag, t.Oflag, t.Lflag = 0, 0, 0
	t.Cflag = unix.B115200 | unix.CS8 | unix.CREAD | unix.CLOCAL | unix.CRTSCTS
	t.Cc[unix.VMIN], t.Cc[unix.VTIME] = 1, 0
	if err := unix.IoctlSetTermios(fd, unix.TCSETS, t); err != nil {
		return err
	}
	// What came while the line was not raw is damaged.
	return unix.IoctlSetInt(fd, unix.TCFLSH, unix.TCIFLUSH)
}
