package vm

import (
	"bytes"
	"errors"
	"io/fs"
	"os"

	"golang.org/x/sys/unix"
)

// ErrSoftwareKVM is the reason why a host with a KVM device still cannot run
// Linux guests.
var ErrSoftwareKVM = errors.New("its KVM works in software: the CPU offers neither VT-x (vmx) nor AMD-V (svm)")

// CheckHost tells whether machines can run here, at the cost of two small file
// reads. Its errors are *HostError.
func CheckHost(device string) error {
	if device == "" {
		device = "/dev/kvm"
	}
	if err := unix.Access(device, unix.R_OK|unix.W_OK); err != nil {
		return kvmAccessError(device, err)
	}
	hardware, err := hasVirtualization("/proc/cpuinfo")
	if err != nil {
		return &HostError{err}
	}
	if !hardware {
		return hostErrorf("this host cannot run Linux guests: %w; switch virtualization on in the firmware, "+
			"or in the outer machine's settings (nested virtualization), or use the lab: bin/lab -- gureum run", ErrSoftwareKVM)
	}
	return nil
}

func kvmAccessError(device string, err error) error {
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return hostErrorf("open %s: no such device: load the kvm_intel or kvm_amd module, or run 'gureum doctor'", device)
	case errors.Is(err, fs.ErrPermission):
		return hostErrorf("open %s: permission denied: add yourself to the group kvm, or run 'gureum doctor'", device)
	}
	return hostErrorf("open %s: %w: run 'gureum doctor'", device, err)
}

// hasVirtualization looks at the flags of the first CPU. Only the start of the
// file is read: it has a part for each CPU of the host.
func hasVirtualization(cpuinfo string) (bool, error) {
	f, err := os.Open(cpuinfo)
	if err != nil {
		return false, err
	}
	defer f.Close()
	buf := make([]byte, 8<<10)
	n, err := f.Read(buf)
	if err != nil {
		return false, err
	}
	_, flags, _ := bytes.Cut(buf[:n], []byte("\nflags"))
	flags, _, _ = bytes.Cut(flags, []byte("\n"))
	for _, flag := range bytes.Fields(flags) {
		if string(flag) == "vmx" || string(flag) == "svm" {
			return true, nil
		}
	}
	return false, nil
}
