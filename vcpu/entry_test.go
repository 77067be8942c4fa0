package vcpu

import (
	"encoding/binary"
	"reflect"
	"testing"

	"github.com/gureum/gureum/kvm"
)

func TestEntryCheck(t *testing.T) {
	tests := []struct {
		name string
		e    Entry
		ok   bool
	}{
		{"pvh", Entry{IP: 0x1000000, Arg: 0x6000}, true},
		{"pvh, top of 4 GiB", Entry{IP: 0xFFFFFFFF, Arg: 0xFFFFFFFF}, true},
		{"pvh, far kernel", Entry{IP: 1 << 32}, false},
		{"pvh, far argument", Entry{Arg: 1 << 32}, false},
		{"linux", Entry{Mode: EntryLinux64, IP: 1 << 40, Arg: 0x7000, PageTable: 0x9000, GDT: 0x500}, true},
		{"linux, no page table", Entry{Mode: EntryLinux64, GDT: 0x500}, false},
		{"linux, crooked page table", Entry{Mode: EntryLinux64, PageTable: 0x9008, GDT: 0x500}, false},
		{"linux, no GDT", Entry{Mode: EntryLinux64, PageTable: 0x9000}, false},
		{"neither", Entry{Mode: 7}, false},
	}
	for _, tt := range tests {
		if err := tt.e.check(); (err == nil) != tt.ok {
			t.Errorf("%s: %v", tt.name, err)
		}
	}
}

func TestEntryApply(t *testing.T) {
	// What is left from before must not show.
	dirty := kvm.Sregs{CR0: 0x60000010, CR2: 5, CR3: 6, CR4: 7, EFER: 8, ApicBase: 0xFEE00900, IDT: kvm.Descriptor{Base: 1, Limit: 0x3FF}}
	flat := func(sel uint16, typ, db, l uint8) kvm.Segment {
		return kvm.Segment{Limit: 0xFFFFFFFF, Selector: sel, Typ: typ, Present: 1, S: 1, G: 1, DB: db, L: l}
	}
	data := flat(0x18, 3, 1, 0)
	tss := kvm.Segment{Limit: 0x67, Typ: 11, Present: 1}
	tests := []struct {
		e     Entry
		regs  kvm.Regs
		sregs kvm.Sregs
	}{
		{
			Entry{Mode: EntryPVH, IP: 0x1000000, Arg: 0x6000},
			kvm.Regs{RIP: 0x1000000, RBX: 0x6000, RFLAGS: 2},
			kvm.Sregs{
				CS: flat(0x10, 11, 1, 0), DS: data, ES: data, FS: data, GS: data, SS: data,
				TR: tss, LDT: kvm.Segment{Unusable: 1}, CR0: 0x11, ApicBase: 0xFEE00900,
			},
		},
		{
			Entry{Mode: EntryLinux64, IP: 0x1000200, Arg: 0x7000, PageTable: 0x9000, GDT: 0x500},
			kvm.Regs{RIP: 0x1000200, RSI: 0x7000, RFLAGS: 2},
			kvm.Sregs{
				CS: flat(0x10, 11, 0, 1), DS: data, ES: data, FS: data, GS: data, SS: data,
				TR: tss, LDT: kvm.Segment{Unusable: 1}, CR0: 0x80000011, CR3: 0x9000, CR4: 0x20,
				EFER: 0x500, ApicBase: 0xFEE00900, GDT: kvm.Descriptor{Base: 0x500, Limit: 0x1F},
			},
		},
	}
	for _, tt := range tests {
		r, s := kvm.Regs{RAX: 1, RSI: 2, RBX: 3, RFLAGS: 0x202}, dirty
		tt.e.apply(&r, &s)
		if r != tt.regs {
			t.Errorf("%v: regs\n%+v, want\n%+v", tt.e.Mode, r, tt.regs)
		}
		if !reflect.DeepEqual(s, tt.sregs) {
			t.Errorf("%v: sregs\n%+v, want\n%+v", tt.e.Mode, s, tt.sregs)
		}
	}
}

func TestLocalInterrupts(t *testing.T) {
	for _, bsp := range []bool{true, false} {
		var l kvm.LAPICState
		setLocalInterrupts(&l, bsp)
		lint0 := binary.LittleEndian.Uint32(l.Regs[0x350:])
		lint1 := binary.LittleEndian.Uint32(l.Regs[0x360:])
		want := uint32(0x10000)
		if bsp {
			want = 0x700
		}
		if lint0 != want || lint1 != 0x400 {
			t.Errorf("bsp %v: LINT0 %#x, LINT1 %#x", bsp, lint0, lint1)
		}
	}
}

func TestBootMSRs(t *testing.T) {
	known := msrSet{msrTSC, msrPAT, msrMiscEnable, msrLSTAR, 0x4B564D00}
	got := bootMSRs(known, true, 0x1800)
	want := []kvm.MSREntry{
		{Index: msrLSTAR},
		{Index: msrPAT, Data: patReset},
		{Index: msrMiscEnable, Data: 0x1801},
		{Index: msrMTRRDefType, Data: 0x806},
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("%+v\nwant %+v", got, want)
	}
	if got := bootMSRs(nil, false, 0); len(got) != 0 {
		t.Errorf("with nothing known: %+v", got)
	}
}

func TestStateMSRs(t *testing.T) {
	got := stateMSRs(msrSet{msrSysenterCS, msrTSCDeadline, msrTSC, msrPAT}, true)
	if got[0] != msrTSC || got[len(got)-1] != msrTSCDeadline || len(got) != 4+11+16+1 {
		t.Errorf("%d: %#x", len(got), got)
	}
	got = stateMSRs(msrSet{msrPAT, msrMTRRDefType}, true) // a KVM that lists the MTRRs itself
	if !reflect.DeepEqual(got, []uint32{msrPAT, msrMTRRDefType}) {
		t.Errorf("%#x", got)
	}
}
