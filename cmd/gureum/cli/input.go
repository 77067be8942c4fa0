package cli

import (
	"errors"
	"io"
	"os"

	"golang.org/x/sys/unix"
)

// input reads a file that may never have anything to read, such as a terminal,
// and can be called back from it. What it did not read stays in the file.
type input struct {
	file  *os.File
	wake  *os.File // the read end of a pipe that Close closes
	close *os.File
}

func newInput(f *os.File) (*input, error) {
	wake, end, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	return &input{file: f, wake: wake, close: end}, nil
}

// Read implements io.Reader. After Close it returns io.EOF.
func (i *input) Read(p []byte) (int, error) {
	fds := []unix.PollFd{
		{Fd: int32(i.file.Fd()), Events: unix.POLLIN},
		{Fd: int32(i.wake.Fd()), Events: unix.POLLIN},
	}
	for {
		_, err := unix.Poll(fds, -1)
		if errors.Is(err, unix.EINTR) {
			continue
		}
		if err != nil {
			return 0, os.NewSyscallError("poll", err)
		}
		if fds[1].Revents != 0 {
			return 0, io.EOF
		}
		return i.file.Read(p)
	}
}

// Close calls readers back. The file stays open. The pipe's other end is left to
// the garbage collector, as a reader may still be waiting on it.
func (i *input) Close() error { return i.close.Close() }
