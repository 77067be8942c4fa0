package vcpu

import "unsafe"

func hostAddr(b []byte) uintptr { return uintptr(unsafe.Pointer(unsafe.SliceData(b))) }

func (g *testGuest) counterWord() *uint32 {
	return (*uint32)(unsafe.Pointer(&g.ram[guestCounter]))
}
