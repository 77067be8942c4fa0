package kvm

import (
	"bytes"
	"slices"
	"testing"
)

func TestKVMPortIO(t *testing.T) {
	g := newGuest(t, []byte{
		0xBA, 0xF8, 0x03, // mov dx, 0x3f8
		0xB0, 0x41, // mov al, 'A'
		0xEE,       // out dx, al
		0xE4, 0x64, // in al, 0x64
		0xE7, 0x80, // out 0x80, ax
		0x66, 0xE5, 0x70, // in eax, 0x70
		0x66, 0xE7, 0x80, // out 0x80, eax
		0xF4, // hlt
	}, guestOptions{})
	for _, want := range []struct {
		in     bool
		port   uint16
		data   []byte
		answer []byte
	}{
		{port: 0x3f8, data: []byte("A")},
		{in: true, port: 0x64, answer: []byte{0x5A}},
		{port: 0x80, data: []byte{0x5A, 0}},
		{in: true, port: 0x70, answer: []byte{1, 2, 3, 4}},
		{port: 0x80, data: []byte{1, 2, 3, 4}},
	} {
		g.run(ExitIO)
		e := g.vcpu.IO()
		size := len(want.data) + len(want.answer)
		if e.In != want.in || e.Port != want.port || e.Size != size || e.Count != 1 || len(e.Data) != size {
			t.Fatalf("%+v, want %+v", e, want)
		}
		if !want.in && !bytes.Equal(e.Data, want.data) {
			t.Fatalf("%+v, want %+v", e, want)
		}
		copy(e.Data, want.answer)
	}
	g.run(ExitHLT)
}

func TestKVMStringIO(t *testing.T) {
	g := newGuest(t, []byte{
		0xFC,             // cld
		0xBA, 0xF8, 0x03, // mov dx, 0x3f8
		0xBE, 0x00, 0x20, // mov si, 0x2000
		0xB9, 0x05, 0x00, // mov cx, 5
		0xF3, 0x6E, // rep outsb
		0xBF, 0x00, 0x30, // mov di, 0x3000
		0xB9, 0x06, 0x00, // mov cx, 6
		0xF3, 0x6D, // rep insw
		0xF4, // hlt
	}, guestOptions{})
	copy(g.ram[0x2000:], "hello")
	answer := []byte("twelve bytes")
	var out []byte
	// Whether KVM gives one exit or several is its own business.
	for left := answer; ; {
		r := g.next()
		if r == ExitHLT {
			break
		}
		if r != ExitIO {
			t.Fatalf("exit %v", r)
		}
		e := g.vcpu.IO()
		if e.Port != 0x3f8 || len(e.Data) != e.Size*e.Count {
			t.Fatalf("%+v", e)
		}
		if e.In {
			left = left[copy(e.Data, left):]
			continue
		}
		out = append(out, e.Data...)
	}
	if string(out) != "hello" {
		t.Errorf("guest wrote %q", out)
	}
	if got := g.ram[0x3000 : 0x3000+len(answer)]; !bytes.Equal(got, answer) {
		t.Errorf("guest read %q", got)
	}
}

func TestKVMMMIO(t *testing.T) {
	g := newGuest(t, []byte{
		0xB8, 0x00, 0xB8, // mov ax, 0xb800
		0x8E, 0xD8, // mov ds, ax
		0xC6, 0x06, 0x10, 0x00, 0x41, // mov byte [0x10], 'A'
		0xA1, 0x20, 0x00, // mov ax, [0x20]
		0xE7, 0x80, // out 0x80, ax
		0x66, 0xC7, 0x06, 0x30, 0x00, 0x78, 0x56, 0x34, 0x12, // mov dword [0x30], 0x12345678
		0xF4, // hlt
	}, guestOptions{})
	g.run(ExitMMIO)
	if e := g.vcpu.MMIO(); !e.Write || e.Addr != 0xB8010 || !bytes.Equal(e.Data, []byte("A")) {
		t.Fatalf("byte: %+v", e)
	}
	g.run(ExitMMIO)
	e := g.vcpu.MMIO()
	if e.Write || e.Addr != 0xB8020 || len(e.Data) != 2 {
		t.Fatalf("read: %+v", e)
	}
	copy(e.Data, []byte{0xCD, 0xAB})
	g.run(ExitIO)
	if e := g.vcpu.IO(); !bytes.Equal(e.Data, []byte{0xCD, 0xAB}) {
		t.Fatalf("guest read %+v", e)
	}
	g.run(ExitMMIO)
	if e := g.vcpu.MMIO(); !e.Write || e.Addr != 0xB8030 || !bytes.Equal(e.Data, []byte{0x78, 0x56, 0x34, 0x12}) {
		t.Fatalf("double word: %+v", e)
	}
	g.run(ExitHLT)
}

func TestKVMReadOnlySlot(t *testing.T) {
	g := newGuest(t, []byte{
		0xB8, 0x00, 0x80, // mov ax, 0x8000
		0x8E, 0xD8, // mov ds, ax
		0xA0, 0x00, 0x00, // mov al, [0]
		0xE6, 0x80, // out 0x80, al
		0xC6, 0x06, 0x01, 0x00, 0x42, // mov byte [1], 'B'
		0xA0, 0x01, 0x00, // mov al, [1]
		0xE6, 0x80, // out 0x80, al
		0xF4, // hlt
	}, guestOptions{})
	rom := anonymous(t, pageSize)
	copy(rom, "ro")
	check(t, g.vm.SetMemoryRegion(MemoryRegion{
		Slot: 1, Flags: MemReadOnly, GPA: 0x80000, Size: pageSize, HostAddr: hostAddr(rom),
	}))
	g.told('r')
	g.run(ExitMMIO)
	if e := g.vcpu.MMIO(); !e.Write || e.Addr != 0x80001 || !bytes.Equal(e.Data, []byte("B")) {
		t.Fatalf("write to a read-only slot: %+v", e)
	}
	g.told('o')
	g.run(ExitHLT)
	if string(rom[:2]) != "ro" {
		t.Errorf("read-only memory is now %q", rom[:2])
	}
}

func TestKVMDeletedSlot(t *testing.T) {
	g := newGuest(t, []byte{
		0xB8, 0x00, 0x80, // mov ax, 0x8000
		0x8E, 0xD8, // mov ds, ax
		0xA0, 0x00, 0x00, // again: mov al, [0]
		0xE6, 0x80, // out 0x80, al
		0xEB, 0xF9, // jmp again
	}, guestOptions{})
	more := anonymous(t, pageSize)
	more[0] = 7
	slot := MemoryRegion{Slot: 1, GPA: 0x80000, Size: pageSize, HostAddr: hostAddr(more)}
	check(t, g.vm.SetMemoryRegion(slot))
	g.told(7)
	check(t, g.vm.DeleteMemoryRegion(1))
	g.run(ExitMMIO)
	if e := g.vcpu.MMIO(); e.Write || e.Addr != 0x80000 {
		t.Fatalf("%+v", e)
	}
	g.told(0)
	slot.GPA = 0x90000
	check(t, g.vm.SetMemoryRegion(slot)) // elsewhere
	g.run(ExitMMIO)
	if err := g.vm.DeleteMemoryRegion(5); err != nil {
		t.Logf("deleting no slot: %v", err)
	}
	if err := g.vm.DirtyLog(5, make([]uint64, 1)); err == nil {
		t.Error("log of a deleted slot")
	}
}

func TestKVMCoalescedMMIO(t *testing.T) {
	g := newGuest(t, []byte{
		0xB8, 0x00, 0xB8, // mov ax, 0xb800
		0x8E, 0xD8, // mov ds, ax
		0xC6, 0x06, 0x10, 0x00, 0x41, // mov byte [0x10], 'A'
		0xC7, 0x06, 0x12, 0x00, 0x42, 0x43, // mov word [0x12], 'BC'
		0xB0, 0x09, // mov al, 9
		0xE6, 0x90, // out 0x90, al
		0xF4, // hlt
	}, guestOptions{})
	check(t, g.vm.CoalesceMMIO(0xB8000, 0x100, false))
	check(t, g.vm.CoalesceMMIO(0x90, 1, true))
	g.run(ExitHLT)
	for _, want := range []CoalescedWrite{
		{Addr: 0xB8010, Len: 1, Data: [8]byte{'A'}},
		{Addr: 0xB8012, Len: 2, Data: [8]byte{'B', 'C'}},
		{Addr: 0x90, Len: 1, Data: [8]byte{9}, PIO: true},
	} {
		w, ok := g.vcpu.NextCoalesced()
		if !ok || w.Addr != want.Addr || w.PIO != want.PIO || w.Len != want.Len || !slices.Equal(w.Data[:w.Len], want.Data[:want.Len]) {
			t.Errorf("%+v, %v, want %+v", w, ok, want)
		}
	}
	if w, ok := g.vcpu.NextCoalesced(); ok {
		t.Errorf("one more: %+v", w)
	}
	check(t, g.vm.UncoalesceMMIO(0xB8000, 0x100, false))
	g.realMode()
	g.run(ExitMMIO)
}
