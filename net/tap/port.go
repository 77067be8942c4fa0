package tap

import (
	"errors"
	"fmt"
	"os"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// port is one queue of a tap.
type port struct {
	fd int
	rx transfer
	tx transfer

	mu   sync.Mutex      // guards the making of what follows
	file *os.File        // a duplicate that the runtime's poller knows, made by the first wait
	conn syscall.RawConn // the file's
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
func newPort(fd int) *port {
	p := &port{fd: fd}
	p.rx.call = func(fd uintptr) bool { return p.rx.do(unix.SYS_READV, fd) }
	p.tx.call = func(fd uintptr) bool { return p.tx.do(unix.SYS_WRITEV, fd) }
	return p
}

// pollable gives the duplicate that can be waited for. Of a queue that vhost-net
// works on there is none: the poller would wake up for each of its frames.
func (p *port) pollable() (*os.File, syscall.RawConn, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.file != nil {
		return p.file, p.conn, nil
	}
	fd, err := unix.FcntlInt(uintptr(p.fd), unix.F_DUPFD_CLOEXEC, 0)
	if err != nil {
		return nil, nil, fmt.Errorf("duplicate /dev/net/tun: %w", err)
	}
	file := os.NewFile(uintptr(fd), "/dev/net/tun")
	conn, err := file.SyscallConn()
	if err != nil {
		return nil, nil, errors.Join(fmt.Errorf("wait for /dev/net/tun: %w", err), file.Close())
	}
	p.file, p.conn = file, conn
	return file, conn, nil
}

// close gives the queue up; nobody waits for it.
func (p *port) close() error {
	err := unix.Close(p.fd)
	if p.file != nil {
		err = errors.Join(err, p.file.Close())
	}
	return err
}

// Readv reads the next frame of a queue; see virtio/net's Backend.
func (t *Tap) Readv(pair int, iov [][]byte, wait bool) (int, error) {
	p := t.queues[pair]
	p.rx.load(iov)
	if !wait {
		p.rx.do(unix.SYS_READV, uintptr(p.fd))
		return p.rx.result()
	}
	file, conn, err := p.pollable()
	if err != nil {
		return 0, err
	}
	err = conn.Read(p.rx.call)
	if errors.Is(err, os.ErrDeadlineExceeded) {
		return 0, file.SetReadDeadline(time.Time{})
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
	file, conn, err := p.pollable()
	if err != nil {
		return 0, err
	}
	err = conn.Write(p.tx.call)
	if errors.Is(err, os.ErrDeadlineExceeded) {
		return 0, file.SetWriteDeadline(time.Time{})
	}
	if err != nil {
		return 0, err
	}
	return p.tx.result()
}

// Wake ends Readv and Writev that wait, by a deadline that is over.
func (t *Tap) Wake(pair int) {
	// Without a file nobody can wait; then the next one must not, so one is made.
	if file, _, err := t.queues[pair].pollable(); err == nil {
		_ = file.SetDeadline(time.Unix(1, 0))
	}
}

func (x *transfer) result() (int, error) {
	switch x.errno {
	case 0:
		return x.n, nil
	case unix.EAGAIN:
		return 0, nil
	}
	return 0, x.errno
}
