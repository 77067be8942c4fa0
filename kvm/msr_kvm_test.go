package kvm

import (
	"errors"
	"testing"
)

const (
	msrSysenterCS  = 0x174
	msrSysenterESP = 0x175
	msrUnknown     = 0x12345
)

// msrUser reads an MSR, tells the low byte, and writes 0x2A to it.
func msrUser(msr uint16) []byte {
	return []byte{
		0x66, 0xB9, byte(msr), byte(msr >> 8), 0x00, 0x00, // mov ecx, msr
		0x0F, 0x32, // rdmsr
		0xE6, tellPort, // out 0x80, al
		0x66, 0xB8, 0x2A, 0x00, 0x00, 0x00, // mov eax, 0x2a
		0x66, 0x31, 0xD2, // xor edx, edx
		0x0F, 0x30, // wrmsr
		0xE6, tellPort, // out 0x80, al
	}
}

func TestKVMMSRFilter(t *testing.T) {
	g := newGuest(t, msrUser(msrSysenterCS), guestOptions{prepare: func(vm *VM) {
		check(t, vm.EnableCap(CapX86UserSpaceMSR, MSRReasonFilter))
	}})
	check(t, g.vm.SetMSRFilter(MSRFilter{Ranges: []MSRFilterRange{{
		Access: MSRFilterRead | MSRFilterWrite, Base: msrSysenterCS, Count: 2, Bitmap: []byte{0b10},
	}}}))
	g.run(ExitRDMSR)
	want := MSRExit{Reason: uint32(MSRReasonFilter), Index: msrSysenterCS}
	if e := g.vcpu.MSRExit(); e.Write || e.Reason != want.Reason || e.Index != want.Index {
		t.Fatalf("%+v, want %+v", e, want)
	}
	g.vcpu.AnswerMSR(0x77, false)
	g.told(0x77)
	g.run(ExitWRMSR)
	want.Write, want.Data = true, 0x2A
	if e := g.vcpu.MSRExit(); e != want {
		t.Fatalf("%+v, want %+v", e, want)
	}
	g.vcpu.AnswerMSR(0, false)
	g.told(0x2A)
	check(t, g.vm.SetMSRFilter(MSRFilter{}))
	g.realMode()
	g.told(0)
}

// TestKVMMSRFault: what user space refuses is a #GP for the guest, also without a handler for
// the exit.
func TestKVMMSRFault(t *testing.T) {
	g := newGuest(t, msrUser(msrSysenterCS), guestOptions{prepare: func(vm *VM) {
		check(t, vm.EnableCap(CapX86UserSpaceMSR, MSRReasonFilter))
	}})
	copy(g.ram[4*13:], []byte{0x00, 0x20, 0, 0})                 // real-mode vector 13 is at 0:0x2000
	copy(g.ram[0x2000:], []byte{0xB0, 13, 0xE6, tellPort, 0xF4}) // mov al, 13; out 0x80, al; hlt
	all := make([]byte, 8)
	check(t, g.vm.SetMSRFilter(MSRFilter{DefaultDeny: true, Ranges: []MSRFilterRange{{Access: MSRFilterRead, Count: 1, Bitmap: all}}}))
	g.run(ExitRDMSR)
	g.vcpu.AnswerMSR(0, true)
	g.told(13)
}

func TestKVMMSRs(t *testing.T) {
	g := newGuest(t, waiter, guestOptions{})
	set := []MSREntry{{Index: msrSysenterCS, Data: 0x11}, {Index: msrSysenterESP, Data: 0x2200}}
	if n, err := g.vcpu.SetMSRs(set); n != 2 || err != nil {
		t.Fatalf("set %d, %v", n, err)
	}
	got := []MSREntry{{Index: msrSysenterCS}, {Index: msrSysenterESP}, {Index: msrUnknown, Data: 9}, {Index: msrSysenterCS}}
	n, err := g.vcpu.MSRs(got)
	var refused *MSRError
	if n != 2 || !errors.As(err, &refused) || *refused != (MSRError{Index: msrUnknown}) {
		t.Errorf("read %d, %v", n, err)
	}
	if got[0] != set[0] || got[1] != set[1] || got[2].Data != 9 {
		t.Errorf("read %+v", got)
	}
	n, err = g.vcpu.SetMSRs(got)
	if n != 2 || !errors.As(err, &refused) || *refused != (MSRError{Index: msrUnknown, Write: true}) {
		t.Errorf("set %d, %v", n, err)
	}
	many := make([]MSREntry, 3*maxMSRBatch+5)
	for i := range many {
		many[i] = set[i%2]
	}
	if n, err := g.vcpu.SetMSRs(many); n != len(many) || err != nil {
		t.Errorf("set %d of %d, %v", n, len(many), err)
	}
	many[len(many)-1].Data = 1
	if n, err := g.vcpu.MSRs(many); n != len(many) || err != nil || many[len(many)-1].Data != set[(len(many)-1)%2].Data {
		t.Errorf("read %d of %d, %v", n, len(many), err)
	}
}

func TestKVMMSRLists(t *testing.T) {
	sys, err := Open("")
	check(t, err)
	defer sys.Close()
	list, err := sys.MSRIndexList()
	check(t, err)
	found := false
	for _, m := range list {
		found = found || m == msrSysenterCS
	}
	if !found || len(list) < 20 {
		t.Errorf("%d MSRs: %x", len(list), list)
	}
	features, err := sys.MSRFeatureIndexList()
	check(t, err)
	if len(features) == 0 {
		t.Fatal("no feature MSRs")
	}
	entries := make([]MSREntry, len(features))
	for i, f := range features {
		entries[i].Index = f
	}
	n, err := sys.FeatureMSRs(entries)
	t.Logf("%d MSRs of state; %d of %d feature MSRs read, %v", len(list), n, len(features), err)
	if n == 0 {
		t.Error(err)
	}
}
