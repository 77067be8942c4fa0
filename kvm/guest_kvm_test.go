package kvm

import (
	"errors"
	"runtime"
	"testing"

	"golang.org/x/sys/unix"
)

// codeBase is where the tests' guests begin, in real mode with flat segments.
const codeBase = 0x1000

// guest is a VM with one vCPU and some RAM at 0, for hand-assembled real-mode code.
type guest struct {
	t    *testing.T
	sys  *System
	vm   *VM
	vcpu *VCPU
	ram  []byte
}

type guestOptions struct {
	ramSize int
	irqchip bool
	flags   MemoryFlags
	prepare func(*VM)
}

func newGuest(t *testing.T, code []byte, o guestOptions) *guest {
	t.Helper()
	runtime.LockOSThread()
	t.Cleanup(runtime.UnlockOSThread)
	sys, err := Open("")
	check(t, err)
	t.Cleanup(func() { check(t, sys.Close()) })
	vm, err := sys.CreateVM()
	check(t, err)
	t.Cleanup(func() { check(t, vm.Close()) })
	check(t, vm.SetTSSAddr(0xFEFFD000))
	check(t, vm.SetIdentityMapAddr(0xFEFFC000))
	if o.irqchip {
		check(t, vm.CreateIRQChip())
	}
	if o.prepare != nil {
		o.prepare(vm)
	}
	if o.ramSize == 0 {
		o.ramSize = 16 * pageSize
	}
	g := &guest{t: t, sys: sys, vm: vm, ram: anonymous(t, o.ramSize)}
	copy(g.ram[codeBase:], code)
	check(t, vm.SetMemoryRegion(MemoryRegion{Size: uint64(o.ramSize), HostAddr: hostAddr(g.ram), Flags: o.flags}))
	g.vcpu, err = vm.CreateVCPU(0)
	check(t, err)
	t.Cleanup(func() { check(t, g.vcpu.Close()) })
	g.realMode()
	return g
}

// realMode puts the vCPU at the start of the code, as after a reset but with CS at 0.
func (g *guest) realMode() {
	g.t.Helper()
	s, err := g.vcpu.Sregs()
	check(g.t, err)
	s.CS.Base, s.CS.Selector = 0, 0
	check(g.t, g.vcpu.SetSregs(&s))
	check(g.t, g.vcpu.SetRegs(&Regs{RIP: codeBase, RSP: 0x8000, RFLAGS: 2}))
}

// run goes on until the next exit, which has to be of this kind.
func (g *guest) run(want ExitReason) {
	g.t.Helper()
	for {
		err := g.vcpu.Run()
		if errors.Is(err, ErrInterrupted) {
			continue
		}
		check(g.t, err)
		break
	}
	if got := g.vcpu.Exit(); got != want {
		r, _ := g.vcpu.Regs()
		g.t.Fatalf("exit %v, want %v; rip %#x, internal error %+v", got, want, r.RIP, g.vcpu.InternalError())
	}
}

func check(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func anonymous(t *testing.T, size int) []byte {
	t.Helper()
	b, err := unix.Mmap(-1, 0, size, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_PRIVATE|unix.MAP_ANONYMOUS)
	check(t, err)
	t.Cleanup(func() { _ = unix.Munmap(b) })
	return b
}
