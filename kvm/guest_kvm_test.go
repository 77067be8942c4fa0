package kvm

import (
	"encoding/binary"
	"errors"
	"runtime"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// Where the tests' guests have things. Real mode has flat segments at 0, long mode an identity
// map of RAM and of the local APIC's page.
const (
	codeBase    = 0x1000
	handlerBase = 0x2000 // interrupt handlers, handlerSize apart, by vector
	handlerSize = 32
	stackTop    = 0x8000
	tableBase   = 0x8000 // page tables, IDT and GDT of long mode
	ramDefault  = 64 * pageSize

	lapicBase = 0xFEE00000
	tellPort  = 0x80 // where guests tell things
)

// patience is how long a guest may run before a test gives it up as hung.
const patience = 30 * time.Second

// guest is a VM with one vCPU and some RAM at 0, for hand-assembled code.
type guest struct {
	t    testing.TB
	sys  *System
	vm   *VM
	vcpu *VCPU
	ram  []byte
	tid  int
}

type guestOptions struct {
	ramSize int
	irqchip bool
	flags   MemoryFlags
	prepare func(*VM) // after the irqchip, before the vCPU
}

// newGuest makes a guest that is about to run code in real mode.
func newGuest(t testing.TB, code []byte, o guestOptions) *guest {
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
		o.ramSize = ramDefault
	}
	g := &guest{t: t, sys: sys, vm: vm, ram: anonymous(t, o.ramSize), tid: unix.Gettid()}
	copy(g.ram[codeBase:], code)
	check(t, vm.SetMemoryRegion(MemoryRegion{Size: uint64(o.ramSize), HostAddr: hostAddr(g.ram), Flags: o.flags}))
	g.vcpu, err = vm.CreateVCPU(0)
	check(t, err)
	t.Cleanup(func() { check(t, g.vcpu.Close()) })
	cpuid, err := sys.SupportedCPUID()
	check(t, err)
	check(t, g.vcpu.SetCPUID2(cpuid))
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
	check(g.t, g.vcpu.SetRegs(&Regs{RIP: codeBase, RSP: stackTop, RFLAGS: 2}))
}

// longMode puts the vCPU at the start of the code in 64-bit mode, with an IDT whose vectors go
// to handlerBase + handlerSize*vector.
func (g *guest) longMode() {
	g.t.Helper()
	const (
		pml4, pdpt, pdLow, pdHigh = tableBase, tableBase + 0x1000, tableBase + 0x2000, tableBase + 0x3000
		idt, gdt                  = tableBase + 0x4000, tableBase + 0x5000
		present                   = 0x3 // present, writable
		large                     = 0x83
		codeSelector              = 8
	)
	put := func(addr int, n uint64) { binary.LittleEndian.PutUint64(g.ram[addr:], n) }
	put(pml4, pdpt|present)
	put(pdpt, pdLow|present)
	put(pdpt+8*3, pdHigh|present)
	for i := range 512 {
		put(pdLow+8*i, uint64(i)<<21|large)
	}
	put(pdHigh+8*(lapicBase>>21&511), lapicBase|large|0x10) // uncached
	for v := range 256 {
		addr := uint64(handlerBase + handlerSize*v)
		const interruptGate = 0x8E << 40
		put(idt+16*v, addr&0xFFFF|codeSelector<<16|interruptGate|addr>>16<<48)
		g.handler(byte(v), false) // what nobody expects is told too
	}
	put(gdt+codeSelector, 0x00AF9B000000FFFF)
	put(gdt+2*codeSelector, 0x00CF93000000FFFF)
	s, err := g.vcpu.Sregs()
	check(g.t, err)
	s.CR0, s.CR3, s.CR4, s.EFER = 0x80050033, pml4, 0x620, 0x500 // PE MP ET NE WP AM PG; PAE OSFXSR OSXMMEXCPT; LME LMA
	code := Segment{Limit: 0xFFFFFFFF, Selector: codeSelector, Typ: 11, Present: 1, S: 1, L: 1, G: 1}
	data := Segment{Limit: 0xFFFFFFFF, Selector: 2 * codeSelector, Typ: 3, Present: 1, S: 1, DB: 1, G: 1}
	s.CS, s.DS, s.ES, s.FS, s.GS, s.SS = code, data, data, data, data, data
	s.GDT, s.IDT = Descriptor{Base: gdt, Limit: 23}, Descriptor{Base: idt, Limit: 4095}
	check(g.t, g.vcpu.SetSregs(&s))
	check(g.t, g.vcpu.SetRegs(&Regs{RIP: codeBase, RSP: stackTop, RFLAGS: 2}))
}

// handler installs a 64-bit interrupt handler that tells its vector, ends the interrupt at the
// local APIC if eoi, and returns.
func (g *guest) handler(vector byte, eoi bool) {
	code := []byte{0x50, 0xB0, vector, 0xE6, tellPort} // push rax; mov al, vector; out 0x80, al
	if eoi {
		code = append(code,
			0xB8, 0xB0, 0x00, 0xE0, 0xFE, // mov eax, 0xfee000b0
			0xC7, 0x00, 0, 0, 0, 0) // mov dword [rax], 0
	}
	code = append(code, 0x58, 0x48, 0xCF) // pop rax; iretq
	copy(g.ram[handlerBase+handlerSize*int(vector):], code)
}

// enableLAPIC switches the vCPU's local APIC on, as a guest does with the spurious vector, and
// masks LINT0, by which interrupts of the i8259 pair would come as well.
func (g *guest) enableLAPIC() {
	g.t.Helper()
	l, err := g.vcpu.LAPIC()
	check(g.t, err)
	l.Regs[0xF0], l.Regs[0xF1] = 0xFF, 1
	l.Regs[0x352] |= 1 // LVT LINT0, bit 16
	check(g.t, g.vcpu.SetLAPIC(&l))
}

// enter runs the vCPU once; a guest that does not come back fails the test.
func (g *guest) enter() error {
	var hung atomic.Bool
	watchdog := time.AfterFunc(patience, func() {
		hung.Store(true)
		g.kick()
	})
	defer watchdog.Stop()
	err := g.vcpu.Run()
	if hung.Load() {
		r, _ := g.vcpu.Regs()
		g.t.Fatalf("the guest hangs at rip %#x", r.RIP)
	}
	return err
}

// kick makes Run return on the thread that made the guest.
func (g *guest) kick() {
	g.vcpu.SetImmediateExit(true)
	_ = unix.Tgkill(unix.Getpid(), g.tid, unix.SIGURG)
}

// next goes on until the next exit. The Go runtime's own signals interrupt now and then.
func (g *guest) next() ExitReason {
	g.t.Helper()
	err := g.enter()
	for errors.Is(err, ErrInterrupted) {
		err = g.enter()
	}
	check(g.t, err)
	return g.vcpu.Exit()
}

// run goes on until the next exit, which has to be of this kind.
func (g *guest) run(want ExitReason) {
	g.t.Helper()
	if got := g.next(); got != want {
		r, _ := g.vcpu.Regs()
		g.t.Fatalf("exit %v, want %v; rip %#x, io %+v, mmio %+v, internal error %+v",
			got, want, r.RIP, g.vcpu.IO(), g.vcpu.MMIO(), g.vcpu.InternalError())
	}
}

// told runs until the guest writes a byte to tellPort, which has to be this one.
func (g *guest) told(want byte) {
	g.t.Helper()
	g.run(ExitIO)
	if e := g.vcpu.IO(); e.In || e.Port != tellPort || len(e.Data) != 1 || e.Data[0] != want {
		g.t.Fatalf("guest tells %+v, want %#x", e, want)
	}
}

func anonymous(t testing.TB, size int) []byte {
	t.Helper()
	b, err := unix.Mmap(-1, 0, size, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_PRIVATE|unix.MAP_ANONYMOUS)
	check(t, err)
	t.Cleanup(func() { _ = unix.Munmap(b) })
	return b
}
