package kvm

import (
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"sync"

	"golang.org/x/sys/unix"
)

// EventFD is a kernel counter that works as a doorbell: IRQFD makes Signal raise an interrupt
// in the guest, IOEventFD makes a guest's write ring it. Its methods may be called from
// several goroutines.
type EventFD struct {
	fd *descriptor

	mu     sync.Mutex // guards reader and closing of it
	reader *os.File   // a duplicate that the runtime's poller knows, made by the first Read
	closed bool

	readMu  sync.Mutex // one reader at a time, for readBuf
	readBuf [8]byte

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
	for {
		_, err := unix.Write(e.fd.n, one[:])
		switch err {
		case nil, unix.EAGAIN:
			// EAGAIN: the counter stands at its limit, so the reader has its wake-up already.
			return nil
		case unix.EINTR:
			continue
		}
		return opError("signal eventfd", err)
	}
}

// TryRead takes the counter and sets it to 0. It gives 0 at once if nobody signalled.
func (e *EventFD) TryRead() (uint64, error) {
	if err := e.fd.acquire(); err != nil {
		return 0, err
	}
	defer e.fd.release()
	e.tryMu.Lock()
	defer e.tryMu.Unlock()
	for {
		_, err := unix.Read(e.fd.n, e.tryBuf[:])
		switch err {
		case nil:
			return binary.NativeEndian.Uint64(e.tryBuf[:]), nil
		case unix.EAGAIN:
			return 0, nil
		case unix.EINTR:
			continue
		}
		return 0, opError("read eventfd", err)
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
	f, err := e.pollable()
	if err != nil {
		return 0, err
	}
	e.readMu.Lock()
	defer e.readMu.Unlock()
	if _, err := f.Read(e.readBuf[:]); err != nil {
		if errors.Is(err, os.ErrClosed) {
			return 0, ErrClosed
		}
		return 0, fmt.Errorf("read eventfd: %w", err)
	}
	return binary.NativeEndian.Uint64(e.readBuf[:]), nil
}

// pollable gives the duplicate that the poller watches. It is made on first use: most eventfds
// are only heard by the kernel, and the poller would wake up at each of their signals.
func (e *EventFD) pollable() (*os.File, error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.closed {
		return nil, ErrClosed
	}
	if e.reader != nil {
		return e.reader, nil
	}
	n, err := unix.FcntlInt(uintptr(e.fd.n), unix.F_DUPFD_CLOEXEC, 0)
	if err != nil {
		return nil, opError("duplicate eventfd", err)
	}
	e.reader = os.NewFile(uintptr(n), "eventfd")
	return e.reader, nil
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
