package pci

import (
	"bytes"
	"encoding/binary"
	"math/bits"
	"testing"
)

const (
	testFirst = 0xC000_0000
	testLast  = 0xC00F_FFFF
)

// testBus is a host bridge with its three faces.
type testBus struct {
	t      testing.TB
	host   *Host
	ports  *Ports
	ecam   *ECAM
	memory *Memory
}

func newTestBus(t testing.TB) *testBus {
	t.Helper()
	h, err := NewHost(Window{testFirst, testLast})
	if err != nil {
		t.Fatal(err)
	}
	return &testBus{t, h, h.Ports(), h.ECAM(), h.Memory()}
}

func (b *testBus) add(h Handler, sizes ...uint32) *Function {
	b.t.Helper()
	var bars [maxBARs]BAR
	for i, s := range sizes {
		bars[i].Size = s
	}
	f, err := NewFunction(Identity{VendorID: 0x1234, DeviceID: 0x5678, Class: 0x020000, Revision: 3, SubsysVendor: 7, SubsysID: 8}, bars, h)
	if err != nil {
		b.t.Fatal(err)
	}
	if _, err := b.host.Add(f); err != nil {
		b.t.Fatal(err)
	}
	return f
}

// read reads configuration space by ports, and holds that ECAM says the same.
func (b *testBus) read(device, reg, size int) uint32 {
	b.t.Helper()
	b.address(device, reg)
	var p, e [4]byte
	b.ports.Read(uint64(portData+reg&3), p[:size])
	b.ecam.Read(uint64(device)<<15|uint64(reg), e[:size])
	if p != e {
		b.t.Errorf("register %#x of device %d: ports %x, ECAM %x", reg, device, p, e)
	}
	return binary.LittleEndian.Uint32(p[:])
}

func (b *testBus) address(device, reg int) {
	b.ports.Write(0, binary.LittleEndian.AppendUint32(nil, addressEnable|uint32(device)<<11|uint32(reg)&0xFC))
}

// write writes configuration space, by ports.
func (b *testBus) write(device, reg, size int, v uint32) {
	b.address(device, reg)
	b.ports.Write(uint64(portData+reg&3), binary.LittleEndian.AppendUint32(nil, v)[:size])
}

// writeECAM writes configuration space by memory.
func (b *testBus) writeECAM(device, reg, size int, v uint32) {
	b.ecam.Write(uint64(device)<<15|uint64(reg), binary.LittleEndian.AppendUint32(nil, v)[:size])
}

// peek reads a byte of the window.
func (b *testBus) peek(gpa uint64) byte {
	data := []byte{0}
	b.memory.Read(gpa-testFirst, data)
	return data[0]
}

func TestHeader(t *testing.T) {
	b := newTestBus(t)
	b.add(newRecorder(), 4096)
	for _, c := range []struct {
		device, reg, size int
		want              uint32
	}{
		{0, regVendorID, 4, bridgeDevice<<16 | bridgeVendor},
		{0, regRevision, 4, bridgeClass << 8},
		{1, regVendorID, 2, 0x1234},
		{1, regDeviceID, 2, 0x5678},
		{1, regRevision, 1, 3},
		{1, regClass + 2, 1, 2},
		{1, regHeaderType, 1, 0},
		{1, regSubsysVendor, 4, 8<<16 | 7},
		{1, 0x3D, 1, 0},                // no interrupt pin
		{2, regVendorID, 4, 1<<32 - 1}, // nobody there
		{31, regVendorID, 2, 0xFFFF},
	} {
		if got := b.read(c.device, c.reg, c.size); got != c.want {
			t.Errorf("device %d, register %#x: %#x, want %#x", c.device, c.reg, got, c.want)
		}
	}
	// Other functions and buses are empty, and there are no extended capabilities.
	var p [4]byte
	for _, at := range []uint64{1<<15 | 1<<12, 1<<20 | 1<<15, 0xFF << 20} {
		b.ecam.Read(at, p[:])
		if binary.LittleEndian.Uint32(p[:]) != 1<<32-1 {
			t.Errorf("ECAM at %#x: %x", at, p)
		}
	}
	b.ecam.Read(1<<15|0x100, p[:])
	if p != [4]byte{} {
		t.Errorf("extended capabilities: %x", p)
	}
}

func TestReadOnlyBitsStay(t *testing.T) {
	b := newTestBus(t)
	f := b.add(newRecorder(), 4096)
	before := f.config.bytes
	for reg := 0; reg < configSize; reg += 4 {
		if reg < regBAR0 || reg >= regBAR0+24 {
			b.write(1, reg, 4, 0xFFFF_FFFF)
		}
	}
	before[regIntLine] = 0xFF
	binary.LittleEndian.PutUint16(before[regCommand:], commandMemory|commandMaster|commandINTxDisable)
	if f.config.bytes != before {
		t.Errorf("configuration space changed:\n%x\n%x", before, f.config.bytes)
	}
}

func TestPortsAreStrict(t *testing.T) {
	b := newTestBus(t)
	var p [4]byte
	b.ports.Write(0, []byte{0, 0, 0, 0x80})
	b.ports.Write(0, []byte{0xFF}) // a byte is not for this register
	b.ports.Write(1, []byte{0xFF, 0xFF, 0xFF})
	b.ports.Read(0, p[:])
	if p != [4]byte{0, 0, 0, 0x80} {
		t.Errorf("address register: %x", p)
	}
	b.ports.Write(0, []byte{0, 0, 0, 0}) // not enabled
	b.ports.Read(4, p[:])
	if p != [4]byte{0xFF, 0xFF, 0xFF, 0xFF} {
		t.Errorf("data register while not enabled: %x", p)
	}
	b.address(0, 0)
	long := make([]byte, 4)
	b.ports.Read(5, long[:3])
	if !bytes.Equal(long[:3], []byte{bridgeVendor >> 8, bridgeDevice, 0}) {
		t.Errorf("three bytes from offset 1: %x", long[:3])
	}
}

func TestBARSizing(t *testing.T) {
	b := newTestBus(t)
	b.add(newRecorder(), 0x8000, 0, 16)
	for i, size := range []uint32{0x8000, 0, 16, 0, 0, 0} {
		reg := regBAR0 + 4*i
		old := b.read(1, reg, 4)
		b.write(1, reg, 4, 0xFFFF_FFFF)
		got := b.read(1, reg, 4)
		if got != -size {
			t.Errorf("BAR %d of %d bytes answers %#x to sizing", i, size, got)
		}
		b.write(1, reg, 4, old)
		if size != 0 && (old < testFirst || old%size != 0) {
			t.Errorf("BAR %d begins at %#x", i, old)
		}
	}
}

func TestBARsFollowTheGuest(t *testing.T) {
	b := newTestBus(t)
	r := newRecorder()
	b.add(r, 4096)
	first := uint64(b.read(1, regBAR0, 4))
	if b.peek(first) != 0xFF || len(r.where) != 0 {
		t.Error("a BAR answers before memory is enabled")
	}
	b.write(1, regCommand, 2, commandMemory)
	if b.peek(first+5) != 5 || r.where[0] != first {
		t.Errorf("read %#x, mapped at %#x", b.peek(first+5), r.where[0])
	}
	moved := uint64(testFirst + 0x4_0000)
	b.writeECAM(1, regBAR0, 4, uint32(moved))
	if b.peek(first) != 0xFF || b.peek(moved) != 0 || r.where[0] != moved {
		t.Errorf("after a move: %#x at the old place, mapped at %#x", b.peek(first), r.where[0])
	}
	b.memory.Write(moved+8-testFirst, []byte{1})
	if len(r.writes) != 1 || r.writes[0] != 8 {
		t.Errorf("writes at %v", r.writes)
	}
	// An access that crosses the end belongs to nobody.
	data := make([]byte, 8)
	b.memory.Read(moved+4092-testFirst, data)
	if !bytes.Equal(data, bytes.Repeat([]byte{0xFF}, 8)) {
		t.Errorf("across the end: %x", data)
	}
	b.write(1, regCommand, 2, 0)
	if b.peek(moved) != 0xFF || len(r.where) != 0 {
		t.Error("a BAR answers after memory was disabled")
	}
}

// TestBARsStayInTheWindow puts a BAR to places where RAM and other devices are.
func TestBARsStayInTheWindow(t *testing.T) {
	b := newTestBus(t)
	r := newRecorder()
	b.add(r, 4096)
	b.write(1, regCommand, 2, commandMemory)
	for _, at := range []uint32{0, 0x1000, testFirst - 0x1000, testLast + 1, 0xFEE0_0000, 0xFFFF_F000} {
		b.write(1, regBAR0, 4, at)
		if len(r.where) != 0 {
			t.Errorf("a BAR answers at %#x", r.where[0])
		}
	}
	b.write(1, regBAR0, 4, testLast-0xFFF)
	if r.where[0] != testLast-0xFFF {
		t.Error("a BAR at the window's end does not answer")
	}
}

// TestBARsDoNotOverlap puts one BAR onto another, which keeps the place until it
// goes.
func TestBARsDoNotOverlap(t *testing.T) {
	b := newTestBus(t)
	r, s := newRecorder(), newRecorder()
	s.value = 0x80
	b.add(r, 4096)
	b.add(s, 0x8000)
	b.write(1, regCommand, 2, commandMemory)
	b.write(2, regCommand, 2, commandMemory)
	place := uint32(r.where[0])
	b.write(2, regBAR0, 4, place&^0x7FFF)
	if len(s.where) != 0 || b.peek(uint64(place)) != 0 {
		t.Errorf("two BARs answer at %#x", place)
	}
	b.write(1, regBAR0, 4, testLast-0xFFF)
	if s.where[0] != uint64(place&^0x7FFF) || b.peek(uint64(place)) < 0x80 {
		t.Error("a BAR does not get a place that became free")
	}
}

func TestBusIsFull(t *testing.T) {
	b := newTestBus(t)
	handlers := make([]*recorder, MaxFunctions)
	for i := range handlers {
		handlers[i] = newRecorder()
		handlers[i].value = byte(i)
		b.add(handlers[i], 0x4000)
	}
	for i := range handlers {
		b.write(i+1, regCommand, 2, commandMemory)
	}
	seen := map[uint64]bool{}
	for i, h := range handlers {
		at, ok := h.where[0]
		if !ok || seen[at] || b.peek(at) != byte(i) || at != uint64(b.read(i+1, regBAR0, 4)) {
			t.Errorf("device %d: BAR at %#x (%v)", i+1, at, ok)
		}
		seen[at] = true
	}
	f, err := NewFunction(Identity{}, [maxBARs]BAR{}, nil)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := b.host.Add(f); err == nil {
		t.Error("a bus took more devices than it has numbers")
	}
}

func TestWindowIsFull(t *testing.T) {
	b := newTestBus(t)
	b.add(newRecorder(), 0x8_0000)
	f, err := NewFunction(Identity{}, [maxBARs]BAR{{Size: 0x8_0000}, {Size: 16}}, newRecorder())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := b.host.Add(f); err == nil {
		t.Error("BARs were put behind the window's end")
	}
	if n := bits.OnesCount32(uint32(b.host.count)); b.host.count != 2 || n != 1 {
		t.Errorf("%d functions after a refusal", b.host.count)
	}
}

func TestConfigurationMistakes(t *testing.T) {
	if _, err := NewHost(Window{0x1_0000_0000, 0x1_0000_FFFF}); err == nil {
		t.Error("a window above 4 GiB was taken")
	}
	for _, size := range []uint32{8, 24, 0x8001} {
		if _, err := NewFunction(Identity{}, [maxBARs]BAR{{Size: size}}, newRecorder()); err == nil {
			t.Errorf("a BAR of %d bytes was taken", size)
		}
	}
	f, err := NewFunction(Identity{}, [maxBARs]BAR{}, nil)
	if err != nil {
		t.Fatal(err)
	}
	for range 3 {
		if _, err := f.AddCapability(CapVendor, make([]byte, 60), nil); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := f.AddCapability(CapVendor, make([]byte, 10), nil); err == nil {
		t.Error("capabilities beyond 256 bytes were taken")
	}
}

func TestCapabilityList(t *testing.T) {
	b := newTestBus(t)
	f := b.add(newRecorder(), 4096)
	for _, body := range [][]byte{{1, 2}, {3, 4, 5}, {6}} {
		if _, err := f.AddCapability(CapVendor, body, nil); err != nil {
			t.Fatal(err)
		}
	}
	if b.read(1, regStatus, 2)&statusCapabilities == 0 {
		t.Error("the status register tells of no capabilities")
	}
	var firsts []uint32
	for at := b.read(1, regCapPointer, 1); at != 0; at = b.read(1, int(at)+1, 1) {
		if at%4 != 0 || b.read(1, int(at), 1) != CapVendor {
			t.Fatalf("capability at %#x", at)
		}
		firsts = append(firsts, b.read(1, int(at)+2, 1))
	}
	if len(firsts) != 3 || firsts[0] != 1 || firsts[1] != 3 || firsts[2] != 6 {
		t.Errorf("capabilities that begin with %v", firsts)
	}
}

func TestAccessDoesNotAllocate(t *testing.T) {
	b := newTestBus(t)
	b.add(newRecorder(), 4096)
	b.write(1, regCommand, 2, commandMemory)
	at := uint64(b.read(1, regBAR0, 4)) - testFirst
	data, address := make([]byte, 4), []byte{0x10, 0x08, 0, 0x80}
	if n := testing.AllocsPerRun(100, func() {
		b.memory.Read(at, data)
		b.ports.Write(0, address)
		b.ports.Read(4, data)
		b.ports.Write(4, data)
		b.ecam.Read(1<<15, data)
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}
