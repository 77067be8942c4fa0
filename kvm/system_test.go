package kvm

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

func TestOpenErrors(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "file")
	check(t, os.WriteFile(file, []byte("no device"), 0o600))
	fifo := filepath.Join(dir, "fifo")
	check(t, unix.Mkfifo(fifo, 0o600))
	for _, c := range []struct {
		path string
		is   error
		says string
	}{
		{filepath.Join(dir, "missing"), unix.ENOENT, "load the module"},
		{file, unix.ENOTTY, "not a KVM device"},
		{fifo, unix.ENOTTY, "not a KVM device"},
		{"/dev/null", unix.ENOTTY, "not a KVM device"},
		{dir, unix.EISDIR, "is a directory"},
	} {
		s, err := Open(c.path)
		if err == nil {
			_ = s.Close()
			t.Errorf("%s opens", c.path)
			continue
		}
		if !errors.Is(err, c.is) || !strings.Contains(err.Error(), c.says) || !strings.Contains(err.Error(), c.path) {
			t.Errorf("%s: %v", c.path, err)
		}
	}
}

// TestOpenHints needs no device, nor an unprivileged user, to see what each errno is told as.
func TestOpenHints(t *testing.T) {
	for errno, hint := range map[unix.Errno]string{
		unix.EACCES: "add yourself to the group",
		unix.EPERM:  "add yourself to the group",
		unix.ENODEV: "switch hardware virtualization on",
		unix.ENXIO:  "switch hardware virtualization on",
		unix.EIO:    "input/output error",
	} {
		err := openError(DefaultPath, errno)
		if !errors.Is(err, errno) || !strings.Contains(err.Error(), hint) {
			t.Errorf("%v: %v", errno, err)
		}
	}
	if err := createVMError(unix.EBUSY); !strings.Contains(err.Error(), "another hypervisor") {
		t.Errorf("EBUSY: %v", err)
	}
	if err := createVMError(unix.ENOMEM); !strings.Contains(err.Error(), "out of memory") {
		t.Errorf("ENOMEM: %v", err)
	}
}

func TestCapNames(t *testing.T) {
	for c, name := range map[Cap]string{
		CapIRQChip: "KVM_CAP_IRQCHIP", CapIRQFD: "KVM_CAP_IRQFD", CapXSave2: "KVM_CAP_XSAVE2",
		CapGuestMemFDFlags: "KVM_CAP_GUEST_MEMFD_FLAGS", 5: "KVM_CAP_5", 100000: "KVM_CAP_100000",
	} {
		if c.String() != name {
			t.Errorf("%d is %s, want %s", uint32(c), c, name)
		}
	}
	seen := map[string]bool{}
	for _, name := range capNames {
		if name != "" && seen[name] {
			t.Errorf("%s twice", name)
		}
		seen[name] = true
	}
}

func TestExitNames(t *testing.T) {
	for r, name := range map[ExitReason]string{ExitIO: "io", ExitTDX: "tdx", 13: "exit-13", 1 << 31: "exit-2147483648"} {
		if r.String() != name {
			t.Errorf("%d is %s, want %s", uint32(r), r, name)
		}
	}
	if MPHalted.String() != "halted" || MPState(9).String() != "mp-state-9" {
		t.Errorf("%v, %v", MPHalted, MPState(9))
	}
	if NumExitReasons != int(ExitTDX)+1 {
		t.Errorf("%d exit reasons", NumExitReasons)
	}
}
