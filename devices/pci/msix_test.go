package pci

import (
	"encoding/binary"
	"errors"
	"testing"

	"github.com/gureum/gureum/kvm"
)

// msixHandler gives MSI-X its BAR: the table at 0, pending bits at 0x800.
type msixHandler struct {
	*recorder
	function *Function
	msix     *MSIX
}

func (h *msixHandler) ReadBAR(_ int, offset uint64, data []byte) {
	if offset >= 0x800 {
		h.msix.ReadPending(offset-0x800, data)
		return
	}
	h.msix.ReadTable(offset, data)
}

func (h *msixHandler) WriteBAR(_ int, offset uint64, data []byte) { h.msix.WriteTable(offset, data) }

func (h *msixHandler) AfterWrite(offset, size int) { h.msix.AfterWrite(h.function, offset, size) }

// msixBus is a bus with one function that has MSI-X.
type msixBus struct {
	*testBus
	*msixHandler
	vm   *fakeVM
	base uint64
}

func newMSIXBus(t testing.TB, vectors int) *msixBus {
	t.Helper()
	b := &msixBus{newTestBus(t), &msixHandler{recorder: newRecorder()}, newFakeVM(), 0}
	b.function = b.add(b.msixHandler, 4096)
	var err error
	b.msix, err = NewMSIX(b.function, NewRouter(b.vm), vectors, 0, 0, 0x800, nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := b.msix.Close(); err != nil {
			t.Error(err)
		}
		if len(b.vm.bound) != 0 {
			t.Errorf("%d irqfds are left", len(b.vm.bound))
		}
	})
	b.write(1, regCommand, 2, commandMemory)
	b.base = b.where[0]
	return b
}

// control writes message control.
func (b *msixBus) control(v uint16) { b.write(1, b.msix.cap+msixControl, 2, uint32(v)) }

// entry writes a word of the table.
func (b *msixBus) entry(vector, reg int, v uint32) {
	b.memory.Write(b.base+uint64(vector*VectorSize+reg)-testFirst, binary.LittleEndian.AppendUint32(nil, v))
}

// unmask gives a vector an address and data, and lets it through.
func (b *msixBus) unmask(vector int, data uint32) {
	b.entry(vector, vectorAddrLow, 0xFEE0_1000)
	b.entry(vector, vectorAddrHigh, 0)
	b.entry(vector, vectorData, data)
	b.entry(vector, vectorControl, 0)
}

// pendingBits reads the pending bits.
func (b *msixBus) pendingBits() uint64 {
	var p [8]byte
	b.memory.Read(b.base+0x800-testFirst, p[:])
	return binary.LittleEndian.Uint64(p[:])
}

func (b *msixBus) gsi(vector int) uint32 { return b.msix.vectors[vector].gsi }

func TestMSIXCapability(t *testing.T) {
	b := newMSIXBus(t, 5)
	at := int(b.read(1, regCapPointer, 1))
	if id := b.read(1, at, 1); id != CapMSIX {
		t.Fatalf("capability %#x", id)
	}
	if c := b.read(1, at+2, 2); c != 4 {
		t.Errorf("message control %#x, want a table of 5", c)
	}
	b.control(0xFFFF)
	if c := b.read(1, at+2, 2); c != msixEnable|msixFunctionMask|4 {
		t.Errorf("message control %#x after all ones", c)
	}
	if table, pending := b.read(1, at+4, 4), b.read(1, at+8, 4); table != 0 || pending != 0x800 {
		t.Errorf("table %#x, pending %#x", table, pending)
	}
}

func TestVectorsReachKVMUnmaskedOnly(t *testing.T) {
	b := newMSIXBus(t, 3)
	b.unmask(1, 0x41)
	if len(b.vm.bound) != 0 {
		t.Error("a vector is bound although MSI-X is off")
	}
	b.control(msixEnable | msixFunctionMask)
	if len(b.vm.bound) != 0 {
		t.Error("a vector is bound although the function is masked")
	}
	b.control(msixEnable)
	if len(b.vm.bound) != 1 || b.vm.bound[b.gsi(1)] != b.msix.Event(1) {
		t.Errorf("bound: %v", b.vm.bound)
	}
	if m, ok := b.vm.route(b.gsi(1)); !ok || m != (kvm.MSI{Address: 0xFEE0_1000, Data: 0x41}) {
		t.Errorf("route %+v, %v", m, ok)
	}
	sets := b.vm.sets
	b.entry(1, vectorData, 0x41)
	b.control(msixEnable)
	if b.vm.sets != sets {
		t.Error("routes were set although nothing changed")
	}
	b.entry(1, vectorControl, 1)
	b.entry(1, vectorData, 0x42)
	if len(b.vm.bound) != 0 || b.vm.sets != sets {
		t.Error("a masked vector is still bound, or changed its route")
	}
	b.entry(1, vectorControl, 0)
	if m, _ := b.vm.route(b.gsi(1)); m.Data != 0x42 {
		t.Errorf("route %+v", m)
	}
	b.control(0)
	if len(b.vm.bound) != 0 {
		t.Error("a vector is bound although MSI-X is off again")
	}
}

// TestPending holds that a masked vector keeps what was signalled, and shows it.
func TestPending(t *testing.T) {
	b := newMSIXBus(t, 20)
	check := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	check(b.msix.Event(3).Signal()) // before MSI-X is on: lost
	b.control(msixEnable)
	if p := b.pendingBits(); p != 0 {
		t.Errorf("pending %#x at first", p)
	}
	check(b.msix.Event(3).Signal())
	check(b.msix.Event(17).Signal())
	if p := b.pendingBits(); p != 1<<3|1<<17 {
		t.Errorf("pending %#x, want vectors 3 and 17", p)
	}
	b.unmask(3, 0x50)
	if p := b.pendingBits(); p != 1<<17 {
		t.Errorf("pending %#x, want vector 17", p)
	}
	// What was pending is in the eventfd that KVM was given, and KVM looks.
	if yes, err := b.vm.bound[b.gsi(3)].Pending(); !yes || err != nil {
		t.Errorf("KVM got an eventfd with nothing in it (%v)", err)
	}
}

func TestTableIsStrict(t *testing.T) {
	b := newMSIXBus(t, 2)
	b.entry(0, vectorAddrLow, 0xFFFF_FFFF)
	b.entry(0, vectorControl, 0xFFFF_FFFE)
	b.entry(2, vectorData, 7) // there is no such vector
	var p [16]byte
	b.memory.Read(b.base-testFirst, p[:4])
	if binary.LittleEndian.Uint32(p[:]) != 0xFFFF_FFFF {
		t.Errorf("address %x", p[:4])
	}
	b.memory.Read(b.base+12-testFirst, p[:4])
	if binary.LittleEndian.Uint32(p[:]) != 0 {
		t.Errorf("vector control %x", p[:4])
	}
	for _, c := range []struct{ offset, size int }{{1, 4}, {4, 8}, {0, 2}, {0, 1}, {32, 4}, {24, 16}} {
		data := make([]byte, c.size)
		data[0] = 1
		b.msix.WriteTable(uint64(c.offset), data)
		b.msix.ReadTable(uint64(c.offset), data)
		if data[0] != 0 && c.size != 16 {
			t.Errorf("%d bytes at %d read %x", c.size, c.offset, data)
		}
	}
	b.memory.Write(b.base+8-testFirst, []byte{9, 0, 0, 0, 1, 0, 0, 0})
	b.memory.Read(b.base+8-testFirst, p[:8])
	if binary.LittleEndian.Uint64(p[:]) != 1<<32|9 {
		t.Errorf("data and control in one write: %x", p[:8])
	}
}

// TestRefusedRoute has KVM refuse a message: the vector is silent, others are not.
func TestRefusedRoute(t *testing.T) {
	b := newMSIXBus(t, 2)
	b.control(msixEnable)
	b.unmask(0, 0x40)
	b.vm.refuse = true
	b.unmask(1, 0x41)
	b.vm.refuse = false
	if b.vm.bound[b.gsi(1)] != nil || b.vm.bound[b.gsi(0)] == nil {
		t.Errorf("bound: %v", b.vm.bound)
	}
	b.entry(1, vectorData, 0x42)
	if m, ok := b.vm.route(b.gsi(1)); !ok || m.Data != 0x42 {
		t.Errorf("route %+v, %v", m, ok)
	}
}

// TestRoutesChangeAtOnce holds that unmasking the function changes the table once,
// however many vectors it has, and that one bad message spoils no other.
func TestRoutesChangeAtOnce(t *testing.T) {
	b := newMSIXBus(t, 20)
	b.control(msixEnable | msixFunctionMask)
	for v := range 20 {
		b.unmask(v, uint32(0x40+v))
	}
	if b.vm.sets != 0 {
		t.Errorf("the table was changed %d times while the function is masked", b.vm.sets)
	}
	b.control(msixEnable)
	if b.vm.sets != 1 || len(b.vm.bound) != 20 {
		t.Errorf("the table was changed %d times, %d vectors are bound", b.vm.sets, len(b.vm.bound))
	}
	for v := range 20 {
		if m, ok := b.vm.route(b.gsi(v)); !ok || m.Data != uint32(0x40+v) {
			t.Errorf("vector %d: %+v, %v", v, m, ok)
		}
	}
	b.control(msixEnable | msixFunctionMask)
	b.entry(7, vectorData, 0x77)
	b.entry(8, vectorData, fakeBad)
	b.control(msixEnable)
	if m, _ := b.vm.route(b.gsi(7)); m.Data != 0x77 || len(b.vm.bound) != 19 {
		t.Errorf("vector 7 leads to %+v, %d vectors are bound", m, len(b.vm.bound))
	}
}

func TestRouterHasAnEnd(t *testing.T) {
	r := NewRouter(newFakeVM())
	first, err := r.Allocate(2048)
	if err != nil || first != firstMSI {
		t.Fatal(first, err)
	}
	if _, err := r.Allocate(2048); !errors.Is(err, ErrNoGSI) {
		t.Errorf("4096 interrupts gave %v", err)
	}
	if _, err := r.Allocate(maxRoutes - len(kvm.DefaultRoutes()) - 2048); err != nil {
		t.Errorf("the last interrupts: %v", err)
	}
	f, _ := NewFunction(Identity{}, [maxBARs]BAR{}, nil)
	if _, err := NewMSIX(f, r, 2049, 0, 0, 0, nil); err == nil {
		t.Error("2049 vectors were given")
	}
}

func TestRaiseDoesNotAllocate(t *testing.T) {
	b := newMSIXBus(t, 1)
	data := make([]byte, 4)
	if n := testing.AllocsPerRun(100, func() {
		_ = b.msix.Event(0).Signal()
		b.msix.ReadTable(0, data)
		b.msix.ReadPending(0, data)
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}
