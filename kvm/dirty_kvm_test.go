package kvm

import (
	"slices"
	"testing"
)

// writer tells, dirties page 5, 9 and 65 of a 128-page slot, tells, dirties page 6, tells, ...
// It tells at once because pages that it only reads may count as dirty when they are mapped.
var writer = []byte{
	0xE6, tellPort, // out 0x80, al
	0xC6, 0x06, 0x00, 0x50, 0x01, // mov byte [0x5000], 1
	0xC6, 0x06, 0x00, 0x90, 0x01, // mov byte [0x9000], 1
	0xB8, 0x00, 0x41, // mov ax, 0x4100
	0x8E, 0xC0, // mov es, ax
	0x26, 0xC6, 0x06, 0x00, 0x00, 0x01, // mov byte es:[0], 1
	0xE6, tellPort, // out 0x80, al
	0xC6, 0x06, 0x00, 0x60, 0x01, // mov byte [0x6000], 1
	0xE6, tellPort, // out 0x80, al
	0xC6, 0x06, 0x00, 0x60, 0x02, // mov byte [0x6000], 2
	0xE6, tellPort, // out 0x80, al
}

func (g *guest) dirty() []int {
	g.t.Helper()
	bitmap := make([]uint64, DirtyBitmapLen(uint64(len(g.ram)))+1)
	const canary = 0xDEADBEEF
	bitmap[len(bitmap)-1] = canary
	check(g.t, g.vm.DirtyLog(0, bitmap))
	if bitmap[len(bitmap)-1] != canary {
		g.t.Error("the kernel wrote past the bitmap")
	}
	return pagesOf(bitmap[:len(bitmap)-1])
}

func pagesOf(bitmap []uint64) (pages []int) {
	for i := range 64 * len(bitmap) {
		if bitmap[i/64]>>(i%64)&1 != 0 {
			pages = append(pages, i)
		}
	}
	return pages
}

func wantPages(t *testing.T, what string, got []int, want ...int) {
	t.Helper()
	if !slices.Equal(got, want) {
		t.Errorf("%s: pages %v are dirty, want %v", what, got, want)
	}
}

func TestKVMDirtyLog(t *testing.T) {
	g := newGuest(t, writer, guestOptions{ramSize: 128 * pageSize, flags: MemLogDirty})
	wantPages(t, "before", g.dirty())
	g.told(0)
	g.dirty()
	g.told(0)
	wantPages(t, "first", g.dirty(), 5, 9, 65)
	wantPages(t, "nothing new", g.dirty())
	g.told(0)
	wantPages(t, "second", g.dirty(), 6)
	g.told(0)
	wantPages(t, "again", g.dirty(), 6)
}

func TestKVMDirtyLogManualProtect(t *testing.T) {
	g := newGuest(t, writer, guestOptions{ramSize: 128 * pageSize, prepare: func(vm *VM) {
		check(t, vm.EnableCap(CapManualDirtyLogProtect2, DirtyManualProtect))
	}})
	check(t, g.vm.SetMemoryRegion(MemoryRegion{Size: uint64(len(g.ram)), HostAddr: hostAddr(g.ram), Flags: MemLogDirty}))
	g.told(0)
	check(t, g.vm.ClearDirtyLog(0, 0, 128, []uint64{1<<64 - 1, 1<<64 - 1}))
	g.told(0)
	wantPages(t, "first", g.dirty(), 5, 9, 65)
	wantPages(t, "not cleared", g.dirty(), 5, 9, 65)
	check(t, g.vm.ClearDirtyLog(0, 0, 64, []uint64{1 << 5}))
	wantPages(t, "5 cleared", g.dirty(), 9, 65)
	check(t, g.vm.ClearDirtyLog(0, 64, 64, []uint64{1 << 1}))
	wantPages(t, "65 cleared", g.dirty(), 9)
	g.told(0)
	wantPages(t, "second", g.dirty(), 6, 9)
}

func TestKVMDirtyRing(t *testing.T) {
	g := newGuest(t, writer, guestOptions{flags: MemLogDirty, ramSize: 128 * pageSize, prepare: func(vm *VM) {
		check(t, vm.EnableDirtyRing(1024))
	}})
	harvest := func() (pages []int) {
		dst := make([]DirtyPage, 2)
		for {
			n := g.vcpu.HarvestDirty(dst)
			for _, d := range dst[:n] {
				if d.Slot != 0 {
					t.Errorf("slot %d", d.Slot)
				}
				pages = append(pages, int(d.Offset))
			}
			if n < len(dst) {
				return pages
			}
		}
	}
	reset := func(want int) {
		t.Helper()
		if n, err := g.vm.ResetDirtyRings(); n != want || err != nil {
			t.Errorf("reset %d, %v, want %d", n, err, want)
		}
	}
	wantPages(t, "before", harvest())
	g.told(0)
	reset(len(harvest()))
	g.told(0)
	wantPages(t, "first", harvest(), 5, 9, 65)
	reset(3)
	g.told(0)
	wantPages(t, "second", harvest(), 6)
	g.told(0)
	// Hardware notes a page once until it is reset, KVM's emulator every time.
	again := harvest()
	if len(again) > 0 {
		wantPages(t, "without reset", again, 6)
	}
	reset(1 + len(again))
}

// TestKVMDirtyRingFull dirties more pages than the ring has entries.
func TestKVMDirtyRingFull(t *testing.T) {
	const first, pages = 1024, 3000
	g := newGuest(t, []byte{
		0xB8, 0x00, 0x00, 0x40, 0x00, // mov eax, 0x400000
		0xB9, pages & 0xFF, pages >> 8, 0x00, 0x00, // mov ecx, 3000
		0xC6, 0x00, 0x01, // again: mov byte [rax], 1
		0x48, 0x05, 0x00, 0x10, 0x00, 0x00, // add rax, 4096
		0xFF, 0xC9, // dec ecx
		0x75, 0xF3, // jnz again
		0xE6, tellPort, // out 0x80, al
	}, guestOptions{flags: MemLogDirty, ramSize: 16 << 20, prepare: func(vm *VM) {
		check(t, vm.EnableDirtyRing(1024))
	}})
	g.longMode()
	seen := map[uint64]bool{}
	dst := make([]DirtyPage, 1024)
	full := 0
	harvest := func() {
		n := g.vcpu.HarvestDirty(dst)
		for _, d := range dst[:n] {
			seen[d.Offset] = true
		}
		if got, err := g.vm.ResetDirtyRings(); got != n || err != nil {
			t.Fatalf("reset %d of %d, %v", got, n, err)
		}
	}
	for g.next() == ExitDirtyRingFull {
		full++
		harvest()
	}
	if e := g.vcpu.IO(); g.vcpu.Exit() != ExitIO || e.Port != tellPort {
		t.Fatalf("exit %v, %+v", g.vcpu.Exit(), e)
	}
	harvest()
	for p := range uint64(pages) {
		if !seen[first+p] {
			t.Fatalf("page %d is missing; %d seen", first+p, len(seen))
		}
	}
	if full == 0 {
		t.Error("the ring was never full")
	}
}
