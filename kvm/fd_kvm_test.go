package kvm

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// openDescriptors tells what this process has open, by descriptor.
func openDescriptors(t *testing.T) map[string]string {
	t.Helper()
	names, err := os.ReadDir("/proc/self/fd")
	check(t, err)
	fds := map[string]string{}
	for _, n := range names {
		if target, err := os.Readlink(filepath.Join("/proc/self/fd", n.Name())); err == nil {
			fds[n.Name()] = target
		}
	}
	return fds
}

// TestKVMDescriptorsStayHome: a child sees none of ours. The last one, left open on purpose,
// shows that the child would tell.
func TestKVMDescriptorsStayHome(t *testing.T) {
	g := newGuest(t, waiter, guestOptions{irqchip: true, prepare: func(vm *VM) { check(t, vm.EnableDirtyRing(1024)) }})
	e := newEventFD(t)
	check(t, e.Signal())
	_, err := e.Read() // which makes the poller's duplicate
	check(t, err)
	for name, n := range map[string]int{"system": g.sys.fd.n, "vm": g.vm.fd.n, "vcpu": g.vcpu.fd.n, "eventfd": e.FD()} {
		flags, err := unix.FcntlInt(uintptr(n), unix.F_GETFD, 0)
		check(t, err)
		if flags&unix.FD_CLOEXEC == 0 {
			t.Errorf("%s is not close-on-exec", name)
		}
	}
	if out := childDescriptors(t); strings.Contains(out, "kvm") || strings.Contains(out, "eventfd") {
		t.Errorf("a child sees\n%s", out)
	}
	leak, err := unix.Eventfd(0, 0)
	check(t, err)
	defer unix.Close(leak)
	if out := childDescriptors(t); !strings.Contains(out, "eventfd") {
		t.Errorf("a child does not tell what it sees:\n%s", out)
	}
}

func childDescriptors(t *testing.T) string {
	t.Helper()
	out, err := exec.Command("ls", "-l", "/proc/self/fd").CombinedOutput()
	check(t, err)
	return string(out)
}

// TestKVMNothingIsLeft: after Close there is neither a descriptor nor a mapping.
func TestKVMNothingIsLeft(t *testing.T) {
	before := openDescriptors(t)
	for range 3 {
		sys, err := Open("")
		check(t, err)
		vm, err := sys.CreateVM()
		check(t, err)
		check(t, vm.CreateIRQChip())
		check(t, vm.EnableDirtyRing(1024))
		e, err := NewEventFD()
		check(t, err)
		check(t, vm.IRQFD(e, 5))
		v, err := vm.CreateVCPU(0)
		check(t, err)
		_, err = vm.CreateVCPU(0)
		if err == nil {
			t.Error("vcpu 0 twice")
		}
		for range 2 {
			for _, c := range []interface{ Close() error }{v, e, vm, sys} {
				check(t, c.Close())
			}
		}
	}
	for n, target := range openDescriptors(t) {
		if before[n] == "" && (strings.Contains(target, "kvm") || strings.Contains(target, "eventfd")) {
			t.Errorf("descriptor %s is left: %s", n, target)
		}
	}
	maps, err := os.ReadFile("/proc/self/maps")
	check(t, err)
	if strings.Contains(string(maps), "anon_inode") {
		t.Errorf("a mapping is left:\n%s", maps)
	}
}
