package kvm

import (
	"errors"
	"testing"

	"golang.org/x/sys/unix"
)

func TestDefaultRoutes(t *testing.T) {
	perGSI := map[uint32][]Route{}
	for _, r := range DefaultRoutes() {
		perGSI[r.GSI] = append(perGSI[r.GSI], r)
	}
	for gsi := range uint32(IOAPICPins) {
		want := []Route{IRQChipRoute(gsi, IOAPIC, gsi)}
		switch {
		case gsi < 8:
			want = append(want, IRQChipRoute(gsi, PICMaster, gsi))
		case gsi < 16:
			want = append(want, IRQChipRoute(gsi, PICSlave, gsi-8))
		}
		if got := perGSI[gsi]; len(got) != len(want) || got[0] != want[0] || got[len(got)-1] != want[len(want)-1] {
			t.Errorf("GSI %d: %+v, want %+v", gsi, got, want)
		}
	}
	if len(perGSI) != IOAPICPins {
		t.Errorf("%d GSIs", len(perGSI))
	}
}

// TestArguments: what the kernel would read or write out of bounds never gets there.
func TestArguments(t *testing.T) {
	vm := newVM(-1, 0)
	vm.slotPages[1] = 1000
	v := &VCPU{fd: newDescriptor(-1), vm: vm}
	big := make([]uint64, 16)
	for name, err := range map[string]error{
		"routes":              vm.SetGSIRouting(make([]Route, maxRoutes+1)),
		"kind of route":       vm.SetGSIRouting([]Route{{Kind: 3}}),
		"size 0":              vm.SetMemoryRegion(MemoryRegion{}),
		"odd size":            vm.SetMemoryRegion(MemoryRegion{Size: 4097}),
		"odd address":         vm.SetMemoryRegion(MemoryRegion{Size: 4096, GPA: 1}),
		"odd host address":    vm.SetMemoryRegion(MemoryRegion{Size: 4096, HostAddr: 8}),
		"wrap around":         vm.SetMemoryRegion(MemoryRegion{Size: 8192, GPA: 1<<64 - 4096}),
		"log of no slot":      vm.DirtyLog(0, big),
		"log too long":        vm.DirtyLog(1, big[:15]),
		"clear of no slot":    vm.ClearDirtyLog(0, 0, 64, big),
		"clear past the end":  vm.ClearDirtyLog(1, 960, 64, big),
		"clear far past":      vm.ClearDirtyLog(1, 1<<63, 64, big),
		"clear at odd page":   vm.ClearDirtyLog(1, 1, 64, big),
		"clear of nothing":    vm.ClearDirtyLog(1, 0, 0, big),
		"clear with few bits": vm.ClearDirtyLog(1, 0, 1000, big[:15]),
		"filter ranges":       vm.SetMSRFilter(MSRFilter{Ranges: make([]MSRFilterRange, 17)}),
		"filter of nothing":   vm.SetMSRFilter(MSRFilter{Ranges: make([]MSRFilterRange, 1)}),
		"filter too wide":     vm.SetMSRFilter(MSRFilter{Ranges: []MSRFilterRange{{Count: maxMSRBitmap*8 + 1}}}),
		"arguments":           vm.EnableCap(CapDirtyLogRing, 1, 2, 3, 4, 5),
		"ring":                vm.EnableDirtyRing(0),
		"width":               vm.IOEventFD(IOEventFD{Len: 3}),
		"CPUID":               v.SetCPUID2(make([]CPUIDEntry, maxCPUIDEntries+1)),
	} {
		if !errors.Is(err, unix.EINVAL) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := vm.CreateVCPU(-1); !errors.Is(err, unix.EINVAL) {
		t.Errorf("negative id: %v", err)
	}
	for size, want := range map[uint64]int{0: 0, 4096: 1, 64 * 4096: 1, 65 * 4096: 2, 1 << 40: 1 << 22} {
		if got := DirtyBitmapLen(size); got != want {
			t.Errorf("bitmap for %#x bytes has %d words, want %d", size, got, want)
		}
	}
}

func TestDirtyRingHarvest(t *testing.T) {
	v := &VCPU{fd: newDescriptor(-1), ring: make([]byte, 4*dirtyEntrySize)}
	put := func(i int, flags byte, slot, page byte) {
		e := v.ring[i*dirtyEntrySize:]
		e[0], e[4], e[8] = flags, slot, page
	}
	dst := make([]DirtyPage, 8)
	if n := v.HarvestDirty(dst); n != 0 {
		t.Fatalf("%d from an empty ring", n)
	}
	for i := range 3 {
		put(i, dirtyFlagDirty, 1, byte(10+i))
	}
	if n := v.HarvestDirty(dst[:2]); n != 2 || dst[0] != (DirtyPage{1, 10}) || dst[1] != (DirtyPage{1, 11}) {
		t.Fatalf("first two: %d, %v", n, dst[:2])
	}
	put(3, dirtyFlagDirty, 2, 13)
	put(0, dirtyFlagDirty, 3, 20) // the kernel has reset and reused it
	if n := v.HarvestDirty(dst); n != 3 || dst[0] != (DirtyPage{1, 12}) || dst[2] != (DirtyPage{3, 20}) {
		t.Fatalf("round the end: %d, %v", n, dst[:3])
	}
	if v.ring[0] != dirtyFlagReset || v.HarvestDirty(dst) != 0 {
		t.Errorf("entries are not handed back: % x", v.ring)
	}
	if n := testing.AllocsPerRun(10, func() { v.HarvestDirty(dst) }); n != 0 {
		t.Errorf("%v allocations", n)
	}
}
