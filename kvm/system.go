package kvm

import (
	"errors"
	"fmt"

	"golang.org/x/sys/unix"
)

const (
	// DefaultPath is the device that Open("") opens.
	DefaultPath = "/dev/kvm"

	// apiVersion is the only version that there has been since Linux 2.6.22.
	apiVersion = 12
)

// System is the KVM device. It tells what the host offers and makes VMs. Its methods may be
// called from several goroutines.
type System struct {
	fd       *descriptor
	mmapSize int
}

// Open opens the KVM device at path ("" is DefaultPath) and checks that it is one, with the
// API version that this package is written for. The errno is kept in the error: a missing
// device is unix.ENOENT, one that this user may not open unix.EACCES.
func Open(path string) (*System, error) {
	if path == "" {
		path = DefaultPath
	}
	n, err := openRetry(path)
	if err != nil {
		return nil, openError(path, err)
	}
	s := &System{fd: newDescriptor(n)}
	if err := s.check(); err != nil {
		_ = s.fd.Close()
		return nil, fmt.Errorf("open %s: %w", path, err)
	}
	return s, nil
}

func openRetry(path string) (int, error) {
	for {
		// O_NONBLOCK so that a FIFO or a terminal given by mistake cannot hold us up; the KVM
		// device ignores it.
		n, err := unix.Open(path, unix.O_RDWR|unix.O_CLOEXEC|unix.O_NONBLOCK|unix.O_NOCTTY, 0)
		if err != unix.EINTR {
			return n, err
		}
	}
}

func openError(path string, err error) error {
	hint := ""
	switch {
	case errors.Is(err, unix.EACCES), errors.Is(err, unix.EPERM):
		hint = ": add yourself to the group that owns it (usually kvm) and log in again"
	case errors.Is(err, unix.ENOENT):
		hint = ": load the module kvm_intel or kvm_amd (in a container, pass the device in)"
	case errors.Is(err, unix.ENODEV), errors.Is(err, unix.ENXIO):
		hint = ": switch hardware virtualization on in the firmware, or nested virtualization in the host"
	}
	return fmt.Errorf("open %s: %w%s", path, err, hint)
}

func (s *System) check() error {
	v, err := s.fd.ioctl(reqGetAPIVersion, 0)
	if err != nil {
		return fmt.Errorf("not a KVM device (KVM_GET_API_VERSION: %w)", err)
	}
	if v != apiVersion {
		return fmt.Errorf("KVM API version is %d, want %d: %w", v, apiVersion, ErrNotSupported)
	}
	s.mmapSize, err = s.fd.ioctl(reqGetVCPUMmapSize, 0)
	if err != nil {
		return opError("KVM_GET_VCPU_MMAP_SIZE", err)
	}
	if s.mmapSize < runPageMin {
		return fmt.Errorf("vcpu mapping of %d bytes is too small, want %d: %w", s.mmapSize, runPageMin, ErrNotSupported)
	}
	return nil
}

// Close gives the device up. VMs made from it live on.
func (s *System) Close() error { return s.fd.Close() }

// CheckExtension tells what the host's KVM says of c: 0 for no, else yes or a number that c's
// comment explains. A VM may differ: see VM.CheckExtension.
func (s *System) CheckExtension(c Cap) (int, error) {
	return checkExtension(s.fd, c)
}

func checkExtension(d *descriptor, c Cap) (int, error) {
	n, err := d.ioctl(reqCheckExtension, uintptr(c))
	if err != nil {
		return 0, opError("KVM_CHECK_EXTENSION "+c.String(), err)
	}
	return n, nil
}

// CreateVM makes an empty virtual machine: no memory, no CPUs, no interrupt controllers.
func (s *System) CreateVM() (*VM, error) {
	n, err := s.fd.ioctl(reqCreateVM, 0)
	if err != nil {
		return nil, createVMError(err)
	}
	return newVM(n, s.mmapSize), nil
}

func createVMError(err error) error {
	err = opError("KVM_CREATE_VM", err)
	switch {
	case errors.Is(err, unix.EBUSY):
		return fmt.Errorf("%w: another hypervisor holds this host's virtualization hardware; stop it", err)
	case errors.Is(err, unix.ENOMEM):
		return fmt.Errorf("%w: the host is out of memory", err)
	}
	return err
}
