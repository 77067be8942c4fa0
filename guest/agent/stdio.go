package agent

import (
	"errors"
	"io"
	"os"
	"strconv"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"
)

// stdio is our end of a command's standard streams: pipes, or a terminal that
// is all three of them.
type stdio struct {
	in  *os.File // nil: the command has none
	out [2]*source
	tty *os.File
}

// openStdio opens the streams; child are the command's ends.
func openStdio(flags uint16, rows, cols uint16) (s *stdio, child [3]int, err error) {
	s = &stdio{}
	if flags&execTTY != 0 {
		return s, child, s.openTerminal(&child, rows, cols)
	}
	child = [3]int{-1, -1, -1}
	defer func() {
		if err != nil {
			closeAll(child[:])
			s.close()
		}
	}()
	if flags&execNoStdin != 0 {
		child[0], err = unix.Open("/dev/null", unix.O_RDONLY|unix.O_CLOEXEC, 0)
	} else {
		child[0], s.in, err = pipe(0)
	}
	for i := range s.out {
		if err != nil {
			return s, child, err
		}
		var f *os.File
		if child[i+1], f, err = pipe(1); err == nil {
			s.out[i] = &source{f: f}
		}
	}
	return s, child, err
}

// pipe returns the command's end of a pipe, and ours ready for deadlines.
func pipe(childEnd int) (child int, ours *os.File, err error) {
	var p [2]int
	if err := unix.Pipe2(p[:], unix.O_CLOEXEC); err != nil {
		return -1, nil, err
	}
	if err := unix.SetNonblock(p[1-childEnd], true); err != nil {
		closeAll(p[:])
		return -1, nil, err
	}
	return p[childEnd], os.NewFile(uintptr(p[1-childEnd]), "pipe"), nil
}

func (s *stdio) openTerminal(child *[3]int, rows, cols uint16) error {
	master, slave, err := openPTY()
	if err != nil {
		return err
	}
	*child = [3]int{slave, slave, slave}
	s.tty = os.NewFile(uintptr(master), "ptmx")
	s.in, s.out[0] = s.tty, &source{f: s.tty}
	setSize(s.tty, rows, cols)
	return nil
}

// openPTY opens a pseudo-terminal pair; the master is in non-blocking mode.
func openPTY() (master, slave int, err error) {
	master, err = unix.Open("/dev/ptmx", unix.O_RDWR|unix.O_NOCTTY|unix.O_CLOEXEC|unix.O_NONBLOCK, 0)
	if err != nil {
		return -1, -1, err
	}
	if err = unix.IoctlSetPointerInt(master, unix.TIOCSPTLCK, 0); err == nil {
		slave, err = openPeer(master)
	}
	if err != nil {
		unix.Close(master)
		return -1, -1, err
	}
	return master, slave, nil
}

// openPeer opens the command's side of a terminal, without needing /dev/pts
// where the kernel can do so (Linux 4.13).
func openPeer(master int) (int, error) {
	const mode = unix.O_RDWR | unix.O_NOCTTY | unix.O_CLOEXEC
	fd, _, errno := unix.Syscall(unix.SYS_IOCTL, uintptr(master), unix.TIOCGPTPEER, mode)
	if errno == 0 {
		return int(fd), nil
	}
	n, err := unix.IoctlGetInt(master, unix.TIOCGPTN)
	if err != nil {
		return -1, err
	}
	return unix.Open("/dev/pts/"+strconv.Itoa(n), mode, 0)
}

// setSize sets a terminal's size; 0 by 0 means that the host has none to give.
func setSize(tty *os.File, rows, cols uint16) {
	if rows == 0 && cols == 0 {
		return
	}
	control(tty, func(fd int) {
		_ = unix.IoctlSetWinsize(fd, unix.TIOCSWINSZ, &unix.Winsize{Row: rows, Col: cols})
	})
}

// control calls fn with f's descriptor, which cannot be closed meanwhile.
func control(f *os.File, fn func(fd int)) {
	if c, err := f.SyscallConn(); err == nil {
		_ = c.Control(func(fd uintptr) { fn(int(fd)) })
	}
}

// endInput lets the command see the end of its input.
func (s *stdio) endInput() {
	if s.tty == nil {
		s.in.Close()
		return
	}
	eof := byte(0)
	control(s.tty, func(fd int) {
		// On a master these are the settings of the command's side.
		if t, err := unix.IoctlGetTermios(fd, unix.TCGETS); err == nil && t.Lflag&unix.ICANON != 0 {
			eof = t.Cc[unix.VEOF]
		}
	})
	if eof != 0 {
		_, _ = s.tty.Write([]byte{eof})
	}
}

// stopInput ends a write to a command that does not read.
func (s *stdio) stopInput() {
	if s.in != nil {
		_ = s.in.SetWriteDeadline(time.Unix(1, 0))
	}
}

func (s *stdio) close() {
	if s.in != nil {
		s.in.Close()
	}
	for _, src := range s.out {
		if src != nil {
			src.close()
		}
	}
}

func closeAll(fds []int) {
	for i, fd := range fds {
		if fd >= 0 && (i == 0 || fd != fds[i-1]) {
			unix.Close(fd)
		}
	}
}

// source is an output stream that may outlive the command which owns it.
type source struct {
	f     *os.File
	total atomic.Int64 // bytes read
	must  atomic.Int64 // bytes to read at least, once the command has ended
}

// exited says that the command has ended: what it wrote is still read, what
// others write only for the grace time.
func (s *source) exited() {
	s.must.Store(s.total.Load() + int64(s.waiting()))
	s.setGrace()
}

// setGrace ends reads after the grace time; pipes and terminals have deadlines.
func (s *source) setGrace() { _ = s.f.SetReadDeadline(time.Now().Add(grace)) }

// waiting is how many bytes can be read at once.
func (s *source) waiting() int {
	n := 0
	control(s.f, func(fd int) { n, _ = unix.IoctlGetInt(fd, unix.TIOCINQ) })
	return n
}

// read is Read with the end of a terminal, and of the grace time, as io.EOF.
func (s *source) read(p []byte) (int, error) {
	for {
		n, err := s.f.Read(p)
		s.total.Add(int64(n))
		switch {
		case errors.Is(err, unix.EIO): // nobody has the terminal open any more
			err = io.EOF
		case errors.Is(err, os.ErrDeadlineExceeded):
			if s.total.Load() < s.must.Load() && s.waiting() > 0 {
				s.setGrace()
				continue
			}
			err = io.EOF
		}
		return n, err
	}
}

func (s *source) close() { s.f.Close() }
