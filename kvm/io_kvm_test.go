package kvm

import (
	"bytes"
	"testing"
)

func TestKVMPortIO(t *testing.T) {
	g := newGuest(t, []byte{
		0xBA, 0xF8, 0x03, // mov dx, 0x3f8
		0xB0, 0x41, // mov al, 'A'
		0xEE,       // out dx, al
		0xE4, 0x64, // in al, 0x64
		0xE7, 0x80, // out 0x80, ax
		0xF4, // hlt
	}, guestOptions{})
	g.run(ExitIO)
	e := g.vcpu.IO()
	if e.In || e.Port != 0x3f8 || e.Size != 1 || e.Count != 1 || !bytes.Equal(e.Data, []byte("A")) {
		t.Fatalf("out: %+v", e)
	}
	g.run(ExitIO)
	e = g.vcpu.IO()
	if !e.In || e.Port != 0x64 || e.Size != 1 || e.Count != 1 || len(e.Data) != 1 {
		t.Fatalf("in: %+v", e)
	}
	e.Data[0] = 0x5A
	g.run(ExitIO)
	e = g.vcpu.IO()
	if e.In || e.Port != 0x80 || e.Size != 2 || !bytes.Equal(e.Data, []byte{0x5A, 0}) {
		t.Fatalf("out of the answer: %+v", e)
	}
	g.run(ExitHLT)
}
