package tap

import (
	"errors"
	"fmt"
	"os"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// port is one queue of a tap.
type port struct {
	file *os.File // known to the runtime's poller
	conn syscall.RawConn
	fd   int
	rx   transfer
	tx   transfer
}

// transfer is the state of one direction, kept so that nothing is allocated for a
// frame.
type transfer struct {
	iov   []unix.Iovec
	n     int
	errno syscall.Errno
	call  func(fd uintptr) (done bool)
}

// newPort takes over a descriptor that is attached to its tap: before that it
// cannot be waited for.
func newPort(fd int) (*port, error) {
	p := &port{file: os.NewFile(uintptr(fd), "/dev/net/tun"), fd: fd}
	conn, err := p.file.SyscallConn()
	if err != nil {
		return nil, errors.Join(fmt.Errorf("wait for /dev/net/tun: %w", err), p.file.Close())
	}
	p.conn = conn
	p.rx.call = func(fd uintptr) bool { return p.rx.do(unix.SYS_READV, fd) }
	p.tx.call = func(fd uintptr) bool { return p.tx.do(unix.SYS_WRITEV, fd) }
	return p, nil
}

// Readv reads the next frame of a queue; see virtio/net's Backend.
func (t *Tap) Readv(pair int, iov [][]byte, wait bool) (int, error) {
	p := t.queues[pair]
	p.rx.load(iov)
	if !wait {
		p.rx.do(unix.SYS_READV, uintptr(p.fd))
		return p.rx.result()
	}
	err := p.conn.Read(p.rx.call)
	if errors.Is(err, os.ErrDeadlineExceeded) {
		return 0, p.file.SetReadDeadline(time.Time{})
	}
	if err != nil {
		return 0, err
	}
	return p.rx.result()
}

// Writev sends one frame; see virtio/net's Backend.
func (t *Tap) Writev(pair int, iov [][]byte, wait bool) (int, error) {
	p := t.queues[pair]
	p.tx.load(iov)
	if !wait {
		p.tx.do(unix.SYS_WRITEV, uintptr(p.fd))
		return p.tx.result()
	}
	err := p.conn.Write(p.tx.call)
	if errors.Is(err, os.ErrDeadlineExceeded) {
		return 0, p.file.SetWriteDeadline(time.Time{})
	}
	if err != nil {
		return 0, err
	}
	return p.tx.result()
}

// Wake ends Readv and Writev that wait, by a deadline that is over.
func (t *Tap) Wake(pair int) { _ = t.queues[pair].file.SetDeadline(time.Unix(1, 0)) }

func (x *transfer) result() (int, error) {
	switch x.errno {
	case 0:
		return x.n, nil
	case unix.EAGAIN:
		return 0, nil
	}
	return 0, x.errno
}
