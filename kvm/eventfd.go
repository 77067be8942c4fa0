package kvm

import (
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"sync"
	"syscall"

	"golang.org/x/sys/unix"
)

// EventFD is a kernel counter that works as a doorbell: IRQFD makes Signal raise an interrupt
// in the guest, IOEventFD makes a guest's write ring it. Its methods may be called from
// several goroutines.
type EventFD struct {
	fd *descriptor

	mu     sync.Mutex      // guards reader and closing of it
	reader *os.File        // a duplicate that the runtime's poller knows, made by the first Read
	conn   syscall.RawConn // the reader's
	closed bool

	readMu   sync.Mutex // one reader at a time, for what follows
	readBuf  [8]byte
	readErr  unix.Errno
	readCall func(fd uintptr) (done bool) // kept so that Read allocates nothing

	tryMu  sync.Mutex // its own, as Read waits with readMu held
	tryBuf [8]byte
}

// one is what Signal writes: the amount to add to the counter.
var one = [8]byte{1}

// NewEventFD makes one with its counter at 0.
func NewEventFD() (*EventFD, error) {
	n, err := unix.Eventfd(0, unix.EFD_CLOEXEC|unix.EFD_NONBLOCK)
	if err != nil {
		return nil, opError("eventfd", err)
	}
	return &EventFD{fd: newDescriptor(n)}, nil
}

// FD gives the bare descriptor, for other kernel interfaces that take one (vhost, poll). It
// stays the EventFD's own and goes away with Close.
func (e *EventFD) FD() int { return e.fd.n }

// Signal adds one to the counter and wakes who waits for it. It neither blocks nor allocates.
func (e *EventFD) Signal() error {
	if err := e.fd.acquire(); err != nil {
		return err
	}
	defer e.fd.release()
	errno := transfer(unix.SYS_WRITE, e.fd.n, &one)
	if errno == 0 || errno == unix.EAGAIN {
		return nil // EAGAIN: the counter stands at its limit, so the reader has its wake-up already
	}
	return opError("signal eventfd", errno)
}

// TryRead takes the counter and sets it to 0. It gives 0 at once if nobody signalled.
func (e *EventFD) TryRead() (uint64, error) {
	if err := e.fd.acquire(); err != nil {
		return 0, err
	}
	defer e.fd.release()
	e.tryMu.Lock()
	defer e.tryMu.Unlock()
	switch errno := transfer(unix.SYS_READ, e.fd.n, &e.tryBuf); errno {
	case 0:
		return binary.NativeEndian.Uint64(e.tryBuf[:]), nil
	case unix.EAGAIN:
		return 0, nil
	default:
		return 0, opError("read eventfd", errno)
	}
}

// Pending tells whether the counter is not 0, and leaves it as it is.
func (e *EventFD) Pending() (bool, error) {
	if err := e.fd.acquire(); err != nil {
		return false, err
	}
	defer e.fd.release()
	p := [...]unix.PollFd{{Fd: int32(e.fd.n), Events: unix.POLLIN}}
	for {
		n, err := unix.Poll(p[:], 0)
		if err != unix.EINTR {
			return n > 0, opError("poll eventfd", err)
		}
	}
}

// Read waits for a signal, takes the counter and sets it to 0. It parks the goroutine, not a
// thread. Close ends it with ErrClosed.
func (e *EventFD) Read() (uint64, error) {
	conn, err := e.pollable()
	if err != nil {
		return 0, err
	}
	e.readMu.Lock()
	defer e.readMu.Unlock()
	if err := conn.Read(e.readCall); err != nil {
		return 0, ErrClosed // there is no other reason: no deadline is ever set
	}
	if e.readErr != 0 {
		return 0, opError("read eventfd", e.readErr)
	}
	return binary.NativeEndian.Uint64(e.readBuf[:]), nil
}

// take is one attempt of Read. It is not done when nobody signalled.
func (e *EventFD) take(fd uintptr) (done bool) {
	e.readErr = transfer(unix.SYS_READ, int(fd), &e.readBuf)
	return e.readErr != unix.EAGAIN
}

// pollable gives the duplicate that the poller watches. It is made on first use: most eventfds
// are only heard by the kernel, and the poller would wake up at each of their signals.
func (e *EventFD) pollable() (syscall.RawConn, error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.closed {
		return nil, ErrClosed
	}
	if e.reader != nil {
		return e.conn, nil
	}
	n, err := unix.FcntlInt(uintptr(e.fd.n), unix.F_DUPFD_CLOEXEC, 0)
	if err != nil {
		return nil, opError("duplicate eventfd", err)
	}
	reader := os.NewFile(uintptr(n), "eventfd")
	conn, err := reader.SyscallConn()
	if err != nil {
		return nil, errors.Join(fmt.Errorf("wait for eventfd: %w", err), reader.Close())
	}
	e.reader, e.conn, e.readCall = reader, conn, e.take
	return conn, nil
}

// Close gives the descriptor up and ends a waiting Read. The kernel takes back the irqfds and
// keeps the ioeventfds that use it until they are removed or the VM goes.
func (e *EventFD) Close() error {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.closed = true
	if e.reader != nil {
		_ = e.reader.Close()
		e.reader = nil
	}
	return e.fd.Close()
}
