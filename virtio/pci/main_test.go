package pci

import (
	"encoding/binary"
	"errors"
	"io"
	"log/slog"
	"slices"
	"testing"

	"go.uber.org/goleak"

	"github.com/gureum/gureum/devices/pci"
	"github.com/gureum/gureum/guest/memory"
	"github.com/gureum/gureum/kvm"
	"github.com/gureum/gureum/virtio"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const (
	windowFirst = 0xC000_0000
	windowLast  = 0xC0FF_FFFF
)

// fakeVM keeps what a VM was told.
type fakeVM struct {
	bells  map[uint64]*kvm.EventFD
	irqs   map[uint32]*kvm.EventFD
	routes []kvm.Route
	refuse bool // ioeventfds
}

func newFakeVM() *fakeVM {
	return &fakeVM{bells: map[uint64]*kvm.EventFD{}, irqs: map[uint32]*kvm.EventFD{}}
}

func (f *fakeVM) IOEventFD(io kvm.IOEventFD) error {
	if f.refuse || f.bells[io.Addr] != nil || io.Len != 0 || io.Match {
		return errors.New("refused")
	}
	f.bells[io.Addr] = io.Event
	return nil
}

func (f *fakeVM) RemoveIOEventFD(io kvm.IOEventFD) error {
	if f.bells[io.Addr] != io.Event {
		return errors.New("no such ioeventfd")
	}
	delete(f.bells, io.Addr)
	return nil
}

func (f *fakeVM) IRQFD(e *kvm.EventFD, gsi uint32) error {
	if f.irqs[gsi] != nil {
		return errors.New("bound twice")
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

func (f *fakeVM) SetGSIRouting(r []kvm.Route) error {
	f.routes = slices.Clone(r)
	return nil
}

// driver is a guest's side of one transport, device 1 on a PCI bus.
type driver struct {
	*Transport
	t      testing.TB
	vm     *fakeVM
	memory *memory.Memory
	ecam   *pci.ECAM
	window *pci.Memory
	base   uint64 // of the BAR, from the window's start
}

func newDriver(t testing.TB, device virtio.Device) *driver {
	t.Helper()
	m, err := memory.New(memory.Config{Size: memory.MinSize})
	if err != nil {
		t.Fatal(err)
	}
	vm := newFakeVM()
	tr, err := New(Config{
		Device: device, Memory: m, VM: vm, Router: pci.NewRouter(vm),
		Log: slog.New(slog.NewTextHandler(io.Discard, nil)),
	})
	if err != nil {
		t.Fatal(err)
	}
	host, err := pci.NewHost(pci.Window{First: windowFirst, Last: windowLast})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := host.Add(tr.Function()); err != nil {
		t.Fatal(err)
	}
	d := &driver{Transport: tr, t: t, vm: vm, memory: m, ecam: host.ECAM(), window: host.Memory()}
	d.setConfig(0x04, 2, 6) // memory and bus master
	d.base = uint64(d.config(0x10, 4)) - windowFirst
	t.Cleanup(func() {
		if err := errors.Join(tr.Close(), m.Close()); err != nil {
			t.Error(err)
		}
		if n := len(vm.bells) + len(vm.irqs); n != 0 {
			t.Errorf("%d things of KVM's are left", n)
		}
	})
	return d
}

// config reads configuration space.
func (d *driver) config(offset uint64, size int) uint32 {
	var p [4]byte
	d.ecam.Read(1<<15|offset, p[:size])
	return binary.LittleEndian.Uint32(p[:])
}

func (d *driver) setConfig(offset uint64, size int, v uint32) {
	d.ecam.Write(1<<15|offset, binary.LittleEndian.AppendUint32(nil, v)[:size])
}

// read reads from the BAR.
func (d *driver) read(offset uint64, size int) uint32 {
	var p [4]byte
	d.window.Read(d.base+offset, p[:size])
	return binary.LittleEndian.Uint32(p[:])
}

func (d *driver) write(offset uint64, size int, v uint32) {
	d.window.Write(d.base+offset, binary.LittleEndian.AppendUint32(nil, v)[:size])
}

func (d *driver) status() uint32     { return d.read(regDeviceStatus, 1) }
func (d *driver) setStatus(v uint32) { d.write(regDeviceStatus, 1, v) }

// negotiate goes as far as FEATURES_OK with the features given.
func (d *driver) negotiate(features uint64) {
	d.t.Helper()
	d.setStatus(0)
	d.setStatus(virtio.StatusAcknowledge)
	d.setStatus(virtio.StatusAcknowledge | virtio.StatusDriver)
	for sel := range uint32(2) {
		d.write(regDriverFeatureSelect, 4, sel)
		d.write(regDriverFeature, 4, uint32(features>>(32*sel)))
	}
	d.setStatus(d.status() | virtio.StatusFeaturesOK)
	if d.status()&virtio.StatusFeaturesOK == 0 {
		d.t.Fatal("FEATURES_OK was refused")
	}
}

// enable sets a queue up with its rings at the given GPA and a vector.
func (d *driver) enable(n, size, vector uint32, gpa uint64) {
	d.write(regQueueSelect, 2, n)
	d.write(regQueueSize, 2, size)
	d.write(regQueueVector, 2, vector)
	for i, reg := range []uint64{regQueueDesc, regQueueDriver, regQueueDevice} {
		at := gpa + uint64(i)*0x1000
		d.write(reg, 4, uint32(at))
		d.write(reg+4, 4, uint32(at>>32))
	}
	d.write(regQueueEnable, 2, 1)
}

// useMSIX switches MSI-X on, with all vectors unmasked.
func (d *driver) useMSIX() {
	at := d.capability(pci.CapMSIX, 0)
	d.setConfig(at+2, 2, 0x8000)
	for v := range uint64(d.msix.Vectors()) {
		d.write(tableAt+v*pci.VectorSize, 4, 0xFEE0_0000)
		d.write(tableAt+v*pci.VectorSize+8, 4, 0x40+uint32(v))
		d.write(tableAt+v*pci.VectorSize+12, 4, 0)
	}
}

// capability finds one by its ID, and by its virtio type if that is not 0.
func (d *driver) capability(id byte, kind byte) uint64 {
	d.t.Helper()
	for at := d.config(0x34, 1); at != 0; at = d.config(uint64(at)+1, 1) {
		if byte(d.config(uint64(at), 1)) == id && (kind == 0 || byte(d.config(uint64(at)+3, 1)) == kind) {
			return uint64(at)
		}
	}
	d.t.Fatalf("no capability %#x of type %d", id, kind)
	return 0
}
