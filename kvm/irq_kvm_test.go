package kvm

import (
	"encoding/binary"
	"testing"
	"time"
)

// waiter is a long-mode guest that waits for interrupts: sti; again: hlt; jmp again.
var waiter = []byte{0xFB, 0xF4, 0xEB, 0xFD}

// newWaiter makes one with an in-kernel irqchip and a handler for each vector.
func newWaiter(t *testing.T, vectors ...byte) *guest {
	t.Helper()
	g := newGuest(t, waiter, guestOptions{irqchip: true})
	g.longMode()
	g.enableLAPIC()
	for _, v := range vectors {
		g.handler(v, true)
	}
	return g
}

// pin programs a pin of the I/O APIC, as a guest would, to send vector to CPU 0.
func (g *guest) pin(pin int, vector byte, level bool) {
	g.t.Helper()
	s, err := g.vm.IRQChip(IOAPIC)
	check(g.t, err)
	const (
		redirect     = 24 // offset of the redirection table in struct kvm_ioapic_state
		levelTrigger = 1 << 15
	)
	entry := uint64(vector)
	if level {
		entry |= levelTrigger
	}
	binary.LittleEndian.PutUint64(s.Chip[redirect+8*pin:], entry)
	check(g.t, g.vm.SetIRQChip(&s))
}

// quiet sees to it that the guest now waits without an interrupt.
func (g *guest) quiet() {
	g.t.Helper()
	timer := time.AfterFunc(20*time.Millisecond, g.kick)
	defer timer.Stop()
	for {
		if err := g.vcpu.Run(); err == nil {
			g.t.Fatalf("exit %v, %+v, want none", g.vcpu.Exit(), g.vcpu.IO())
		}
		if g.vcpu.u8(runImmediateExit) != 0 {
			g.vcpu.SetImmediateExit(false)
			return
		}
	}
}

func TestKVMSignalMSI(t *testing.T) {
	g := newWaiter(t, 0x40)
	m := MSI{Address: lapicBase, Data: 0x40}
	for range 3 {
		delivered, err := g.vm.SignalMSI(m)
		check(t, err)
		if !delivered {
			t.Error("not delivered")
		}
		g.told(0x40)
	}
	nobody := MSI{Address: lapicBase | 5<<12, Data: 0x40}
	if delivered, err := g.vm.SignalMSI(nobody); delivered || err != nil {
		t.Errorf("to no CPU: %v, %v", delivered, err)
	}
	g.quiet()
	if n := testing.AllocsPerRun(10, func() { _, _ = g.vm.SignalMSI(m) }); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

func TestKVMIRQFD(t *testing.T) {
	const gsi = IOAPICPins
	g := newWaiter(t, 0x41, 0x42)
	e := newEventFD(t)
	check(t, g.vm.SetGSIRouting(append(DefaultRoutes(), MSIRoute(gsi, MSI{Address: lapicBase, Data: 0x41}))))
	check(t, g.vm.IRQFD(e, gsi))
	check(t, e.Signal())
	g.told(0x41)
	check(t, g.vm.SetGSIRouting(append(DefaultRoutes(), MSIRoute(gsi, MSI{Address: lapicBase, Data: 0x42}))))
	check(t, e.Signal())
	g.told(0x42)
	check(t, g.vm.RemoveIRQFD(e, gsi))
	check(t, e.Signal())
	g.quiet()
	if n, err := e.TryRead(); n != 1 || err != nil {
		t.Errorf("what an unbound eventfd keeps: %d, %v", n, err)
	}
}

func TestKVMIRQFDToIOAPIC(t *testing.T) {
	g := newWaiter(t, 0x43, 0x44)
	e := newEventFD(t)
	g.pin(10, 0x43, false)
	g.pin(11, 0x44, false)
	check(t, g.vm.IRQFD(e, 10))
	check(t, e.Signal())
	g.told(0x43)
	check(t, g.vm.IRQLine(11, true))
	g.told(0x44)
	check(t, g.vm.IRQLine(11, true)) // still high: no edge
	g.quiet()
	check(t, g.vm.IRQLine(11, false))
	check(t, g.vm.IRQLine(11, true))
	g.told(0x44)
	if n := testing.AllocsPerRun(10, func() { _ = g.vm.IRQLine(11, true) }); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

func TestKVMIRQFDResample(t *testing.T) {
	g := newWaiter(t, 0x45)
	e, resample := newEventFD(t), newEventFD(t)
	g.pin(10, 0x45, true)
	check(t, g.vm.IRQFDResample(e, resample, 10))
	for i := range 3 {
		check(t, e.Signal())
		g.told(0x45)
		if n, err := resample.TryRead(); n != 0 || err != nil {
			t.Fatalf("resample before the end of interrupt %d: %d, %v", i, n, err)
		}
		var n uint64
		for deadline := time.Now().Add(patience); n == 0 && time.Now().Before(deadline); {
			g.quiet() // the handler's EOI, and no second interrupt
			var err error
			n, err = resample.TryRead()
			check(t, err)
		}
		if n != 1 {
			t.Fatalf("resample after the end of interrupt %d: %d", i, n)
		}
	}
	check(t, g.vm.RemoveIRQFD(e, 10))
}

func TestKVMNMI(t *testing.T) {
	g := newWaiter(t)
	g.handler(2, false)
	check(t, g.vcpu.NMI())
	g.told(2)
}

func TestKVMSplitIRQChip(t *testing.T) {
	g := newGuest(t, waiter, guestOptions{prepare: func(vm *VM) { check(t, vm.EnableSplitIRQChip(IOAPICPins)) }})
	g.longMode()
	g.enableLAPIC()
	g.handler(0x50, true)
	const levelTrigger = 1<<15 | 1<<14
	check(t, g.vm.SetGSIRouting([]Route{MSIRoute(5, MSI{Address: lapicBase, Data: 0x50 | levelTrigger})}))
	_, err := g.vm.SignalMSI(MSI{Address: lapicBase, Data: 0x50 | levelTrigger})
	check(t, err)
	g.told(0x50)
	g.run(ExitIOAPICEOI)
	if v := g.vcpu.EOIVector(); v != 0x50 {
		t.Errorf("end of vector %#x", v)
	}
}

func TestKVMIOEventFD(t *testing.T) {
	g := newGuest(t, []byte{
		0xB0, 0x05, // mov al, 5
		0xE6, 0x70, // out 0x70, al
		0xB0, 0x07, // mov al, 7
		0xE6, 0x70, // out 0x70, al
		0xB8, 0x00, 0xB8, // mov ax, 0xb800
		0x8E, 0xD8, // mov ds, ax
		0xA2, 0x00, 0x00, // mov [0], al
		0xA3, 0x00, 0x00, // mov [0], ax
		0xA3, 0x08, 0x00, // mov [8], ax
		0xE6, tellPort, // out 0x80, al
		0xEB, 0xE6, // jmp to the start
	}, guestOptions{})
	port, memory := newEventFD(t), newEventFD(t)
	onPort := IOEventFD{Event: port, Addr: 0x70, Len: 1, PIO: true, Match: true, Data: 7}
	onMemory := IOEventFD{Event: memory, Addr: 0xB8000}
	check(t, g.vm.IOEventFD(onPort))
	check(t, g.vm.IOEventFD(onMemory))
	if err := g.vm.IOEventFD(onPort); err == nil {
		t.Error("the same ioeventfd twice")
	}
	g.run(ExitIO)
	if e := g.vcpu.IO(); e.Port != 0x70 || e.Data[0] != 5 {
		t.Fatalf("a value that does not match: %+v", e)
	}
	g.run(ExitMMIO)
	if e := g.vcpu.MMIO(); e.Addr != 0xB8008 {
		t.Fatalf("an address that does not match: %+v", e)
	}
	g.told(0x00)
	for name, c := range map[string]struct {
		e    *EventFD
		want uint64
	}{"port": {port, 1}, "memory": {memory, 2}} {
		if n, err := c.e.TryRead(); n != c.want || err != nil {
			t.Errorf("%s: %d signals, %v", name, n, err)
		}
	}
	check(t, g.vm.RemoveIOEventFD(onPort))
	check(t, g.vm.RemoveIOEventFD(onMemory))
	g.run(ExitIO)
	g.run(ExitIO)
	if e := g.vcpu.IO(); e.Port != 0x70 || e.Data[0] != 7 {
		t.Fatalf("after removal: %+v", e)
	}
	g.run(ExitMMIO)
	if e := g.vcpu.MMIO(); e.Addr != 0xB8000 || len(e.Data) != 1 {
		t.Fatalf("after removal: %+v", e)
	}
}

// TestKVMIOEventFDToIRQFD: a doorbell that is an interrupt, without user space in between.
func TestKVMIOEventFDToIRQFD(t *testing.T) {
	const gsi = IOAPICPins
	g := newGuest(t, []byte{0xE6, 0x70, 0xFB, 0xF4, 0xEB, 0xFD}, guestOptions{irqchip: true}) // out 0x70, al; waiter
	g.longMode()
	g.enableLAPIC()
	g.handler(0x46, true)
	e := newEventFD(t)
	check(t, g.vm.SetGSIRouting([]Route{MSIRoute(gsi, MSI{Address: lapicBase, Data: 0x46})}))
	check(t, g.vm.IRQFD(e, gsi))
	check(t, g.vm.IOEventFD(IOEventFD{Event: e, Addr: 0x70, Len: 1, PIO: true}))
	g.told(0x46)
}

func TestKVMEventFDCloseEndsIRQFD(t *testing.T) {
	g := newWaiter(t, 0x47)
	e, err := NewEventFD()
	check(t, err)
	g.pin(10, 0x47, false)
	check(t, g.vm.IRQFD(e, 10))
	check(t, e.Close())
	other := newEventFD(t)
	check(t, g.vm.IRQFD(other, 10))
	check(t, other.Signal())
	g.told(0x47)
	for name, err := range map[string]error{
		"irqfd":    g.vm.IRQFD(e, 10),
		"resample": g.vm.IRQFDResample(other, e, 11),
		"ioevent":  g.vm.IOEventFD(IOEventFD{Event: e, Len: 1}),
	} {
		if err == nil {
			t.Errorf("%s of a closed eventfd", name)
		}
	}
}

func TestKVMPIT(t *testing.T) {
	g := newGuest(t, waiter, guestOptions{irqchip: true, prepare: func(vm *VM) { check(t, vm.CreatePIT(true)) }})
	check(t, g.vm.SetPITReinject(false))
	s, err := g.vm.PIT2()
	check(t, err)
	s.Channels[2].Count, s.Channels[2].Mode, s.Channels[2].RWMode = 1234, 2, 3
	check(t, g.vm.SetPIT2(&s))
	got, err := g.vm.PIT2()
	check(t, err)
	if c := got.Channels[2]; c.Count != 1234 || c.Mode != 2 || c.RWMode != 3 {
		t.Errorf("channel 2 is %+v", c)
	}
}

func TestKVMIRQChipState(t *testing.T) {
	g := newGuest(t, waiter, guestOptions{irqchip: true})
	for _, chip := range []uint32{PICMaster, PICSlave, IOAPIC} {
		s, err := g.vm.IRQChip(chip)
		check(t, err)
		if s.ChipID != chip {
			t.Errorf("chip %d says it is %d", chip, s.ChipID)
		}
		if chip != IOAPIC {
			s.Chip[2] = 0xA5 // IMR
		}
		check(t, g.vm.SetIRQChip(&s))
		if got, err := g.vm.IRQChip(chip); err != nil || got != s {
			t.Errorf("chip %d: %v, state differs: %v", chip, err, got != s)
		}
	}
	if _, err := g.vm.IRQChip(3); err == nil {
		t.Error("a fourth chip")
	}
}
