package kvm

import "testing"

func TestKVMSingleStep(t *testing.T) {
	g := newGuest(t, []byte{0x90, 0x40, 0x40, 0xF4}, guestOptions{}) // nop; inc ax; inc ax; hlt
	check(t, g.vcpu.SetGuestDebug(GuestDebug{Control: DebugEnable | DebugSingleStep}))
	for i := range uint64(3) {
		g.run(ExitDebug)
		e := g.vcpu.DebugExit()
		const singleStep = 1 << 14 // DR6.BS
		if e.Exception != 1 || e.PC != codeBase+i+1 || e.DR6&singleStep == 0 {
			t.Fatalf("step %d: %+v", i, e)
		}
	}
	if r, err := g.vcpu.Regs(); r.RAX != 2 || err != nil {
		t.Errorf("ax is %d, %v", r.RAX, err)
	}
	check(t, g.vcpu.SetGuestDebug(GuestDebug{}))
	g.run(ExitHLT)
}

func TestKVMHardwareBreakpoint(t *testing.T) {
	g := newGuest(t, []byte{0x40, 0x40, 0x40, 0xF4}, guestOptions{}) // inc ax, three times; hlt
	d := GuestDebug{Control: DebugEnable | DebugUseHWBP}
	d.DebugReg[0] = codeBase + 2
	d.DebugReg[7] = 1<<10 | 1<<1 // DR7: DR0 on execution
	check(t, g.vcpu.SetGuestDebug(d))
	if g.next() == ExitHLT {
		t.Log("no exit: QEMU's TCG has no hardware breakpoints in nested guests")
		return
	}
	if e := g.vcpu.DebugExit(); g.vcpu.Exit() != ExitDebug || e.Exception != 1 || e.PC != codeBase+2 {
		t.Fatalf("exit %v, %+v", g.vcpu.Exit(), e)
	}
	if r, err := g.vcpu.Regs(); r.RAX != 2 || err != nil {
		t.Errorf("ax is %d, %v", r.RAX, err)
	}
}

func TestKVMSoftwareBreakpoint(t *testing.T) {
	g := newGuest(t, []byte{0x90, 0xCC, 0xF4}, guestOptions{}) // nop; int3; hlt
	g.longMode()
	check(t, g.vcpu.SetGuestDebug(GuestDebug{Control: DebugEnable | DebugUseSWBP}))
	switch r := g.next(); r {
	case ExitDebug:
		if e := g.vcpu.DebugExit(); e.Exception != 3 || e.PC != codeBase+1 {
			t.Fatalf("%+v", e)
		}
	case ExitIO: // the handler of vector 3
		t.Log("no exit: QEMU's TCG does not intercept INT3 in nested guests")
	default:
		t.Fatalf("exit %v", r)
	}
}

func TestKVMTranslate(t *testing.T) {
	g := newGuest(t, waiter, guestOptions{})
	g.longMode()
	tr, err := g.vcpu.Translate(codeBase + 5)
	check(t, err)
	if tr.Valid != 1 || tr.PhysicalAddress != codeBase+5 {
		t.Errorf("code: %+v", tr)
	}
	if tr, err := g.vcpu.Translate(1 << 46); err != nil || tr.Valid != 0 {
		t.Errorf("nothing: %+v, %v", tr, err)
	}
}

// TestKVMShutdown: a guest without an IDT that faults ends in a triple fault.
func TestKVMShutdown(t *testing.T) {
	g := newGuest(t, []byte{0x0F, 0x0B}, guestOptions{}) // ud2
	g.longMode()
	s, err := g.vcpu.Sregs()
	check(t, err)
	s.IDT = Descriptor{}
	check(t, g.vcpu.SetSregs(&s))
	g.run(ExitShutdown)
}
