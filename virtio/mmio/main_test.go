package mmio

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"testing"

	"go.uber.org/goleak"

	"github.com/gureum/gureum/guest/memory"
	"github.com/gureum/gureum/kvm"
	"github.com/gureum/gureum/virtio"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const (
	testPages = 0xD000_0000
	testGSI   = 16
	testSlot  = 300
)

// fakeVM keeps what a VM was told. The fail-th call of it is refused, if not 0.
type fakeVM struct {
	bells map[string]*kvm.EventFD
	irqs  map[uint32]*kvm.EventFD
	slots map[uint32]kvm.MemoryRegion
	calls int
	fail  int
	// noReadOnly has no read-only memory to give.
	noReadOnly bool
}

func newFakeVM() *fakeVM {
	return &fakeVM{bells: map[string]*kvm.EventFD{}, irqs: map[uint32]*kvm.EventFD{}, slots: map[uint32]kvm.MemoryRegion{}}
}

var errRefused = errors.New("refused")

func (f *fakeVM) call() error {
	if f.calls++; f.calls == f.fail {
		return errRefused
	}
	return nil
}

func bellKey(io kvm.IOEventFD) string {
	return fmt.Sprintf("%#x/%d/%v/%d", io.Addr, io.Len, io.Match, io.Data)
}

func (f *fakeVM) IOEventFD(io kvm.IOEventFD) error {
	if err := f.call(); err != nil {
		return err
	}
	f.bells[bellKey(io)] = io.Event
	return nil
}

func (f *fakeVM) RemoveIOEventFD(io kvm.IOEventFD) error {
	if f.bells[bellKey(io)] != io.Event {
		return errors.New("no such ioeventfd")
	}
	delete(f.bells, bellKey(io))
	return nil
}

func (f *fakeVM) IRQFD(e *kvm.EventFD, gsi uint32) error {
	if err := f.call(); err != nil {
		return err
	}
	f.irqs[gsi] = e
	return nil
}

func (f *fakeVM) RemoveIRQFD(e *kvm.EventFD, gsi uint32) error {
	if f.irqs[gsi] != e {
		return errors.New("no such irqfd")
	}
	delete(f.irqs, gsi)
	return nil
}

func (f *fakeVM) SetMemoryRegion(r kvm.MemoryRegion) error {
	if f.noReadOnly {
		return errRefused
	}
	f.slots[r.Slot] = r
	return nil
}

func (f *fakeVM) DeleteMemoryRegion(slot uint32) error {
	if _, ok := f.slots[slot]; !ok {
		return errors.New("no such slot")
	}
	delete(f.slots, slot)
	return nil
}

// left tells what has not been given back.
func (f *fakeVM) left() int { return len(f.bells) + len(f.irqs) + len(f.slots) }

// driver is a guest's side of one transport.
type driver struct {
	*Transport
	t      testing.TB
	vm     *fakeVM
	memory *memory.Memory
}

func newDriver(t testing.TB, device virtio.Device) *driver {
	t.Helper()
	m, err := memory.New(memory.Config{Size: memory.MinSize})
	if err != nil {
		t.Fatal(err)
	}
	vm := newFakeVM()
	tr, err := New(testConfig(device, m, vm))
	if err != nil {
		t.Fatal(err)
	}
	d := &driver{tr, t, vm, m}
	t.Cleanup(func() {
		if err := errors.Join(tr.Close(), m.Close()); err != nil {
			t.Error(err)
		}
		if n := vm.left(); n != 0 {
			t.Errorf("%d things of KVM's are left", n)
		}
	})
	return d
}

func testConfig(device virtio.Device, m *memory.Memory, vm VM) Config {
	return Config{
		Device: device, Memory: m, VM: vm, Pages: testPages, Slot: testSlot, GSI: testGSI,
		Log: slog.New(slog.NewTextHandler(io.Discard, nil)),
	}
}

func (d *driver) read(reg uint64) uint32 {
	var p [4]byte
	d.Read(reg, p[:])
	return binary.LittleEndian.Uint32(p[:])
}

func (d *driver) write(reg uint64, v uint32) {
	d.Write(reg, binary.LittleEndian.AppendUint32(nil, v))
}

// negotiate goes as far as FEATURES_OK with the features given.
func (d *driver) negotiate(features uint64) {
	d.t.Helper()
	d.write(regStatus, 0)
	d.write(regStatus, virtio.StatusAcknowledge)
	d.write(regStatus, virtio.StatusAcknowledge|virtio.StatusDriver)
	for sel := range uint32(2) {
		d.write(regDriverFeaturesSel, sel)
		d.write(regDriverFeatures, uint32(features>>(32*sel)))
	}
	d.write(regStatus, d.read(regStatus)|virtio.StatusFeaturesOK)
	if d.read(regStatus)&virtio.StatusFeaturesOK == 0 {
		d.t.Fatal("FEATURES_OK was refused")
	}
}

// enable sets a queue up with its rings at the given GPA.
func (d *driver) enable(n, size uint32, gpa uint64) {
	d.write(regQueueSel, n)
	d.write(regQueueSize, size)
	for i, reg := range []uint64{regQueueDescLow, regQueueDriverLow, regQueueDeviceLow} {
		at := gpa + uint64(i)*0x1000
		d.write(reg, uint32(at))
		d.write(reg+4, uint32(at>>32))
	}
	d.write(regQueueReady, 1)
}
