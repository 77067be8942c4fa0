package kvm

import (
	"bytes"
	"encoding/binary"
	"errors"
	"slices"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

func TestKVMRegs(t *testing.T) {
	g := newGuest(t, waiter, guestOptions{})
	want := Regs{
		RAX: 1, RBX: 2, RCX: 3, RDX: 4, RSI: 5, RDI: 6, RSP: 7, RBP: 8, R8: 9, R9: 10, R10: 11,
		R11: 12, R12: 13, R13: 14, R14: 15, R15: 16, RIP: 17, RFLAGS: 0x202,
	}
	check(t, g.vcpu.SetRegs(&want))
	if got, err := g.vcpu.Regs(); got != want || err != nil {
		t.Errorf("%+v, %v", got, err)
	}
	g.longMode()
	before, err := g.vcpu.Sregs()
	check(t, err)
	if before.CR3 != tableBase || before.CS.L != 1 || before.GDT.Limit != 23 {
		t.Errorf("%+v", before)
	}
	check(t, g.vcpu.SetSregs(&before))
	if after, err := g.vcpu.Sregs(); after != before || err != nil {
		t.Errorf("%+v, want %+v, %v", after, before, err)
	}
}

func TestKVMFPU(t *testing.T) {
	g := newGuest(t, []byte{0x0F, 0x10, 0x06, 0x00, 0x20, 0xE6, tellPort}, guestOptions{}) // movups xmm0, [0x2000]; out 0x80, al
	s, err := g.vcpu.Sregs()
	check(t, err)
	s.CR4 |= 0x600 // OSFXSR, OSXMMEXCPT
	check(t, g.vcpu.SetSregs(&s))
	f, err := g.vcpu.FPU()
	check(t, err)
	f.FCW = 0x27F
	check(t, g.vcpu.SetFPU(&f))
	if got, err := g.vcpu.FPU(); got.FCW != 0x27F || err != nil {
		t.Errorf("%+v, %v", got, err)
	}
	copy(g.ram[0x2000:], "sixteen bytes ok")
	g.told(0)
	got, err := g.vcpu.FPU()
	check(t, err)
	if string(got.XMM[0][:]) != "sixteen bytes ok" {
		t.Errorf("%+v", got)
	}
}

func TestKVMXSave(t *testing.T) {
	const (
		xmm0      = 160 // Intel SDM vol. 1, 13.4.1: legacy region
		xstateBV  = 512 // 13.4.2: header
		sseState  = 1 << 1
		fpMXCSR   = 24
		mxcsrInit = 0x1F80
	)
	g := newGuest(t, waiter, guestOptions{})
	area, err := g.vcpu.XSave()
	check(t, err)
	if len(area) < minXSaveSize {
		t.Fatalf("%d bytes", len(area))
	}
	copy(area[xmm0:], "sixteen bytes ok")
	area[xstateBV] |= sseState
	binary.LittleEndian.PutUint32(area[fpMXCSR:], mxcsrInit)
	check(t, g.vcpu.SetXSave(area))
	got, err := g.vcpu.XSave()
	check(t, err)
	if !bytes.Equal(got[xmm0:xmm0+16], area[xmm0:xmm0+16]) || got[xstateBV]&sseState == 0 {
		t.Errorf("xmm0 is %q, header % x", got[xmm0:xmm0+16], got[xstateBV:xstateBV+16])
	}
	if f, err := g.vcpu.FPU(); string(f.XMM[0][:]) != "sixteen bytes ok" || err != nil {
		t.Errorf("FPU sees %q, %v", f.XMM[0], err)
	}
	if err := g.vcpu.SetXSave(area[:len(area)-1]); !errors.Is(err, unix.EINVAL) {
		t.Errorf("short area: %v", err)
	}
	if err := g.vcpu.SetXSave(nil); !errors.Is(err, unix.EINVAL) {
		t.Errorf("no area: %v", err)
	}
}

func TestKVMXCRs(t *testing.T) {
	g := newGuest(t, waiter, guestOptions{})
	x, err := g.vcpu.XCRs()
	check(t, err)
	if x.NrXRCS < 1 || x.Registers[0].XRC != 0 || x.Registers[0].Value&1 == 0 {
		t.Errorf("%+v", x)
	}
	x.Registers[0].Value |= 2 // SSE state
	check(t, g.vcpu.SetXCRs(&x))
	if got, err := g.vcpu.XCRs(); got != x || err != nil {
		t.Errorf("%+v, want %+v, %v", got, x, err)
	}
}

func TestKVMLAPICAndMPState(t *testing.T) {
	g := newGuest(t, waiter, guestOptions{irqchip: true})
	g.enableLAPIC()
	l, err := g.vcpu.LAPIC()
	check(t, err)
	if !bytes.Equal(l.Regs[0xF0:0xF4], []byte{0xFF, 1, 0, 0}) || l.Regs[0x30] == 0 {
		t.Errorf("spurious vector % x, version % x", l.Regs[0xF0:0xF4], l.Regs[0x30:0x34])
	}
	if s, err := g.vcpu.MPState(); s != MPRunnable || err != nil {
		t.Errorf("CPU 0: %v, %v", s, err)
	}
	ap, err := g.vm.CreateVCPU(1)
	check(t, err)
	defer ap.Close()
	if s, err := ap.MPState(); s != MPUninitialized || err != nil || ap.ID() != 1 {
		t.Errorf("CPU 1: %v, %v", s, err)
	}
	check(t, ap.SetMPState(MPHalted))
	if s, err := ap.MPState(); s != MPHalted || err != nil {
		t.Errorf("CPU 1: %v, %v", s, err)
	}
}

func TestKVMEventsAndDebugRegs(t *testing.T) {
	g := newGuest(t, waiter, guestOptions{irqchip: true})
	e, err := g.vcpu.Events()
	check(t, err)
	e.N.Masked, e.N.Pending = 1, 1
	e.Flags |= EventsNMIPending
	check(t, g.vcpu.SetEvents(&e))
	if got, err := g.vcpu.Events(); got.N.Masked != 1 || got.N.Pending != 1 || err != nil {
		t.Errorf("%+v, %v", got, err)
	}
	d, err := g.vcpu.DebugRegs()
	check(t, err)
	d.DB = [4]uint64{1, 2, 3, 4}
	check(t, g.vcpu.SetDebugRegs(&d))
	if got, err := g.vcpu.DebugRegs(); got != d || err != nil {
		t.Errorf("%+v, want %+v, %v", got, d, err)
	}
}

func TestKVMCPUID(t *testing.T) {
	sys, err := Open("")
	check(t, err)
	defer sys.Close()
	supported, err := sys.SupportedCPUID()
	check(t, err)
	if !slices.ContainsFunc(supported, func(e CPUIDEntry) bool { return e.Function == 0x40000000 && e.EBX != 0 }) {
		t.Errorf("no hypervisor leaf in %d entries", len(supported))
	}
	if _, err := sys.EmulatedCPUID(); err != nil {
		t.Error(err)
	}
	g := newGuest(t, []byte{
		0x66, 0x31, 0xC0, // xor eax, eax
		0x0F, 0xA2, // cpuid
		0x66, 0x89, 0xD8, // mov eax, ebx
		0x66, 0xE7, tellPort, // out 0x80, eax
	}, guestOptions{})
	mine := slices.Clone(supported)
	for i := range mine {
		if mine[i].Function == 0 {
			mine[i].EBX = 0x6E727547
		}
	}
	check(t, g.vcpu.SetCPUID2(mine))
	got, err := g.vcpu.CPUID2()
	check(t, err)
	if len(got) != len(mine) {
		t.Errorf("%d entries, set %d", len(got), len(mine))
	}
	g.run(ExitIO)
	if e := g.vcpu.IO(); string(e.Data) != "Gurn" {
		t.Errorf("guest sees %q", e.Data)
	}
}

func TestKVMClock(t *testing.T) {
	g := newGuest(t, waiter, guestOptions{irqchip: true})
	first, err := g.vm.Clock()
	check(t, err)
	second, err := g.vm.Clock()
	check(t, err)
	if second.Clock < first.Clock {
		t.Errorf("clock goes back: %d, %d", first.Clock, second.Clock)
	}
	const hour = uint64(time.Hour)
	check(t, g.vm.SetClock(&ClockData{Clock: second.Clock + hour}))
	third, err := g.vm.Clock()
	check(t, err)
	if third.Clock < second.Clock+hour || third.Clock > second.Clock+2*hour {
		t.Errorf("clock is %d, set to %d", third.Clock, second.Clock+hour)
	}
	if err := g.vcpu.KVMClockCtrl(); !errors.Is(err, unix.EINVAL) {
		t.Errorf("guest without kvmclock: %v", err)
	}
}

func TestKVMTSC(t *testing.T) {
	g := newGuest(t, waiter, guestOptions{})
	khz, err := g.vcpu.TSCKHz()
	check(t, err)
	if khz < 1000 {
		t.Errorf("TSC at %d kHz", khz)
	}
	check(t, g.vcpu.SetTSCKHz(khz))
	control, err := g.vm.CheckExtension(CapVMTSCControl)
	check(t, err)
	if control == 0 {
		t.Logf("%d kHz; not to be set for the VM", khz)
		return
	}
	check(t, g.vm.SetTSCKHz(khz))
	if got, err := g.vm.TSCKHz(); got != khz || err != nil {
		t.Errorf("%d kHz, %v, want %d", got, err, khz)
	}
}

func TestKVMSystem(t *testing.T) {
	sys, err := Open("")
	check(t, err)
	defer sys.Close()
	vm, err := sys.CreateVM()
	check(t, err)
	defer vm.Close()
	for _, c := range []Cap{
		CapIRQChip, CapUserMemory, CapIRQFD, CapIOEventFD, CapSignalMSI, CapImmediateExit, CapReadOnlyMem, CapIRQRouting,
		CapVCPUEvents, CapXSave, CapXCRs, CapAdjustClock, CapCheckExtensionVM, CapEnableCapVM, CapX86MSRFilter, CapIRQFDResample,
	} {
		n, err := sys.CheckExtension(c)
		check(t, err)
		if m, err := vm.CheckExtension(c); n == 0 || m == 0 || err != nil {
			t.Errorf("%v: %d for the system, %d for a VM, %v", c, n, m, err)
		}
	}
	if n, err := sys.CheckExtension(Cap(100000)); n != 0 || err != nil {
		t.Errorf("no extension: %d, %v", n, err)
	}
	check(t, vm.SetBootCPUID(3))
	if err := vm.SetNrMMUPages(1000); err != nil {
		t.Log(err)
	}
	if n, err := vm.NrMMUPages(); err != nil {
		t.Log(n, err)
	}
	if err := vm.EnableCap(Cap(100000)); !errors.Is(err, unix.EINVAL) {
		t.Errorf("no capability: %v", err)
	}
	check(t, sys.Close())
	if _, err := sys.CreateVM(); !errors.Is(err, ErrClosed) {
		t.Errorf("VM of a closed system: %v", err)
	}
	v, err := vm.CreateVCPU(3) // a VM lives on without its system
	check(t, err)
	check(t, v.Close())
	if _, err := vm.CreateVCPU(1 << 20); err == nil {
		t.Error("vcpu 1048576")
	}
}
