package kvm

import (
	"errors"
	"fmt"

	"golang.org/x/sys/unix"
)

var (
	// ErrClosed is given by a call on a System, VM, VCPU or EventFD that has been closed.
	ErrClosed = errors.New("already closed")

	// ErrInterrupted is given by VCPU.Run when KVM_RUN ended with EINTR or EAGAIN: a signal
	// arrived, SetImmediateExit(true) was in force, or an application processor is still
	// waiting for its INIT and SIPI. No exit information is valid. Run may be called again.
	ErrInterrupted = errors.New("vcpu interrupted")

	// ErrNotSupported is given when this kernel's KVM does not offer what was asked for.
	ErrNotSupported = errors.New("not supported by this KVM")
)

// opError says which request failed. Errors from the kernel keep their errno, so that
// errors.Is(err, unix.EINVAL) works.
func opError(op string, err error) error {
	if err == nil {
		return nil
	}
	if errors.Is(err, unix.ENOTTY) {
		return fmt.Errorf("%s: %w (%w)", op, ErrNotSupported, err)
	}
	return fmt.Errorf("%s: %w", op, err)
}

// argError is for arguments that are refused before the kernel sees them, with the errno
// that the kernel would have given.
func argError(op, format string, args ...any) error {
	return fmt.Errorf("%s: %s: %w", op, fmt.Sprintf(format, args...), unix.EINVAL)
}
