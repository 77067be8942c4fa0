package pci

import (
	"bytes"
	"encoding/binary"
	"errors"
	"testing"
	"time"

	"github.com/gureum/gureum/devices/pci"
	"github.com/gureum/gureum/guest/memory"
	"github.com/gureum/gureum/kvm"
	"github.com/gureum/gureum/virtio"
	"github.com/gureum/gureum/virtio/rng"
	"github.com/gureum/gureum/virtio/virtiotest"
)

const featureVersion1 = uint64(1) << virtio.FeatureVersion1

func TestIdentity(t *testing.T) {
	d := newDriver(t, &virtiotest.Stub{})
	if id := d.config(0, 4); id != 0x1042_1AF4 {
		t.Errorf("vendor and device %#x", id)
	}
	if r := d.config(8, 1); r != 1 {
		t.Errorf("revision %d: a modern device has 1 or more", r)
	}
	if pin := d.config(0x3D, 1); pin != 0 {
		t.Errorf("interrupt pin %d", pin)
	}
	if n := d.read(regNumQueues, 2); n != 2 {
		t.Errorf("%d queues", n)
	}
	for kind := byte(typeCommon); kind <= typeDevice; kind++ {
		at := d.capability(pci.CapVendor, kind)
		if b, length := d.config(at+capBAR, 1), d.config(at+capLength, 4); b != bar || length == 0 {
			t.Errorf("capability %d: BAR %d, %d bytes", kind, b, length)
		}
	}
	notify := d.capability(pci.CapVendor, typeNotify)
	if m, n := d.config(notify+capSize, 4), d.config(notify+2, 1); m != 4 || n != 20 {
		t.Errorf("notify multiplier %d, capability of %d bytes", m, n)
	}
	if c := d.config(d.capability(pci.CapMSIX, 0)+2, 2); c != 2 {
		t.Errorf("message control %#x, want three vectors", c)
	}
}

func TestNegotiation(t *testing.T) {
	s := &virtiotest.Stub{}
	d := newDriver(t, s)
	var offered uint64
	for sel := range uint32(2) {
		d.write(regDeviceFeatureSelect, 4, sel)
		offered |= uint64(d.read(regDeviceFeature, 4)) << (32 * sel)
	}
	if offered&s.Features() != s.Features() || offered&featureVersion1 == 0 {
		t.Errorf("offered features %#x", offered)
	}
	d.negotiate(featureVersion1 | 1<<37)
	for n, size := range []uint32{64, 16, 0} {
		d.write(regQueueSelect, 2, uint32(n))
		if got := d.read(regQueueSize, 2); got != size || d.read(regQueueEnable, 2) != 0 {
			t.Errorf("queue %d: size %d, want %d", n, got, size)
		}
	}
	d.enable(1, 8, 2, 0x1_0010_0000)
	d.write(regQueueDesc+4, 4, 0) // too late
	for reg, want := range map[uint64]uint32{
		regQueueSelect: 1, regQueueSize: 8, regQueueVector: 2, regQueueEnable: 1, regQueueNotifyOff: 1, regQueueReset: 0,
	} {
		if got := d.read(reg, 2); got != want {
			t.Errorf("register %#x: %d, want %d", reg, got, want)
		}
	}
	if low, high := d.read(regQueueDriver, 4), d.read(regQueueDriver+4, 4); low != 0x10_1000 || high != 1 {
		t.Errorf("available ring at %#x%08x", high, low)
	}
	d.setStatus(0)
	d.negotiate(featureVersion1)
	d.enable(1, 8, noVector, 0x10_0000)
	d.setStatus(d.status() | virtio.StatusDriverOK)
	if s.Activations.Load() != 1 || s.Active.Queues[0] != nil || s.Active.Queues[1] == nil {
		t.Fatalf("%d activations, queues %v", s.Activations.Load(), s.Active.Queues)
	}
	if c := s.Active.Queues[1].Config(); c.Size != 8 || c.Desc != 0x10_0000 || c.Device != 0x10_2000 {
		t.Errorf("queue 1: %+v", c)
	}
	d.setStatus(0)
	if s.Resets.Load() != 1 || d.status() != 0 || d.read(regQueueSelect, 2) != 0 {
		t.Error("the device was not reset")
	}
}

// TestWidths accesses fields by widths that are not their own.
func TestWidths(t *testing.T) {
	d := newDriver(t, &virtiotest.Stub{})
	d.negotiate(featureVersion1)
	status := d.status()
	for offset := uint64(0); offset < commonSize; offset++ {
		for _, size := range []int{1, 2, 4, 8} {
			if offset == regDeviceStatus && size == 1 || offset == regQueueSelect && size == 2 {
				continue
			}
			d.window.Write(d.base+offset, make([]byte, size))
			d.window.Read(d.base+offset, make([]byte, size))
		}
	}
	if d.status() != status {
		t.Errorf("status went from %#x to %#x", status, d.status())
	}
}

func TestVectors(t *testing.T) {
	s := &virtiotest.Stub{}
	d := newDriver(t, s)
	d.useMSIX()
	d.negotiate(featureVersion1)
	d.write(regConfigVector, 2, 0)
	d.enable(0, 16, 1, 0x10_0000)
	d.enable(1, 16, 7, 0x20_0000) // there are three
	if v := d.read(regQueueVector, 2); v != noVector {
		t.Errorf("vector 7 of 3 reads back as %#x", v)
	}
	d.setStatus(d.status() | virtio.StatusDriverOK)
	i := s.Active.Interrupt
	i.Queue(0)
	i.Queue(0)
	i.Queue(1)
	i.Config()
	for v, want := range []uint64{1, 2, 0} {
		if n, err := d.msix.Event(v).TryRead(); n != want || err != nil {
			t.Errorf("vector %d raised %d times (%v), want %d", v, n, err, want)
		}
	}
	events := i.(virtio.EventInterrupt)
	if events.QueueEvent(0) != d.msix.Event(1) || events.QueueEvent(1) != d.sink {
		t.Error("queues have other eventfds than those of their vectors")
	}
	// What had no vector is in the ISR register, which reading clears.
	if a, b := d.read(isrAt, 1), d.read(isrAt, 1); a != isrQueue || b != 0 {
		t.Errorf("ISR %#x, then %#x", a, b)
	}
	d.setStatus(0)
	d.write(regQueueSelect, 2, 0)
	if d.read(regConfigVector, 2) != noVector || d.read(regQueueVector, 2) != noVector {
		t.Error("vectors outlive a reset")
	}
}

// TestMaskedVector holds that a masked vector keeps its interrupt.
func TestMaskedVector(t *testing.T) {
	s := &virtiotest.Stub{}
	d := newDriver(t, s)
	d.useMSIX()
	d.negotiate(featureVersion1)
	d.enable(0, 16, 1, 0x10_0000)
	d.setStatus(d.status() | virtio.StatusDriverOK)
	d.write(tableAt+pci.VectorSize+12, 4, 1)
	s.Active.Interrupt.Queue(0)
	if p := d.read(pendingAt, 4); p != 2 {
		t.Errorf("pending bits %#x", p)
	}
	d.write(tableAt+pci.VectorSize+12, 4, 0)
	if p := d.read(pendingAt, 4); p != 0 {
		t.Errorf("pending bits %#x after unmasking", p)
	}
}

func TestDoorbellsFollowTheBAR(t *testing.T) {
	d := newDriver(t, &virtiotest.Stub{})
	check := func(base uint64) {
		t.Helper()
		if len(d.vm.bells) != 2 || d.vm.bells[base+notifyAt] != d.kicks[0] || d.vm.bells[base+notifyAt+4] != d.kicks[1] {
			t.Errorf("doorbells %v, want them from %#x", d.vm.bells, base+notifyAt)
		}
	}
	check(windowFirst + d.base)
	d.setConfig(0x10, 4, windowFirst+0x10_0000)
	check(windowFirst + 0x10_0000)
	d.base = 0x10_0000
	d.setConfig(0x04, 2, 0)
	if len(d.vm.bells) != 0 {
		t.Errorf("doorbells %v of a BAR that does not answer", d.vm.bells)
	}
	// Where KVM has no room for doorbells, writes do.
	d.vm.refuse = true
	d.setConfig(0x04, 2, 2)
	d.write(notifyAt+4, 4, 1)
	d.write(notifyAt+8, 4, 2)
	d.write(notifyAt+5, 1, 2)
	if n, err := d.kicks[1].TryRead(); n != 1 || err != nil {
		t.Errorf("%d kicks (%v)", n, err)
	}
}

func TestConfigSpace(t *testing.T) {
	s := &virtiotest.Stub{Config: [16]byte{1, 2, 3, 4}}
	d := newDriver(t, s)
	if v := d.read(deviceAt+1, 2); v != 0x0302 {
		t.Errorf("read %#x", v)
	}
	d.write(deviceAt+3, 1, 9)
	if s.Config[3] != 9 {
		t.Errorf("config %x", s.Config)
	}
}

// TestWindow accesses registers by configuration space alone.
func TestWindow(t *testing.T) {
	d := newDriver(t, &virtiotest.Stub{})
	at := d.capability(pci.CapVendor, typePCIConfig)
	access := func(offset, size uint32) uint64 {
		d.setConfig(at+capBAR, 1, bar)
		d.setConfig(at+capOffset, 4, offset)
		d.setConfig(at+capLength, 4, size)
		return at + capData
	}
	d.setConfig(access(commonAt+regDeviceStatus, 1), 1, virtio.StatusAcknowledge)
	if d.status() != virtio.StatusAcknowledge || d.config(access(commonAt+regDeviceStatus, 1), 1) != virtio.StatusAcknowledge {
		t.Errorf("status %#x", d.status())
	}
	if n := d.config(access(regNumQueues, 2), 2); n != 2 {
		t.Errorf("%d queues", n)
	}
	// Out of bounds, not aligned, another BAR: nothing happens.
	for _, c := range [][3]uint32{{bar, 1<<32 - 4, 4}, {bar, barSize, 4}, {bar, 1, 2}, {bar, 0, 3}, {bar, 0, 1 << 31}, {1, 0, 4}} {
		d.setConfig(at+capBAR, 1, c[0])
		d.setConfig(at+capOffset, 4, c[1])
		d.setConfig(at+capLength, 4, c[2])
		d.setConfig(at+capData, 4, 0)
		_ = d.config(at+capData, 4)
	}
	if d.status() != virtio.StatusAcknowledge {
		t.Errorf("status %#x at the end", d.status())
	}
}

// TestEntropy drives a real device through registers and rings alone.
func TestEntropy(t *testing.T) {
	d := newDriver(t, rng.New(rng.Config{}))
	d.useMSIX()
	d.negotiate(featureVersion1)
	const rings, buffer = 0x10_0000, 0x20_0000
	d.enable(0, 8, 1, rings)
	d.setStatus(d.status() | virtio.StatusDriverOK)
	desc := binary.LittleEndian.AppendUint64(nil, buffer)
	desc = binary.LittleEndian.AppendUint32(desc, 64)
	desc = append(desc, 2, 0, 0, 0) // writable
	if err := errors.Join(d.memory.WriteAt(desc, rings), d.memory.WriteAt([]byte{0, 0, 1, 0, 0, 0}, rings+0x1000)); err != nil {
		t.Fatal(err)
	}
	d.write(notifyAt, 2, 0)
	for deadline := time.Now().Add(30 * time.Second); ; time.Sleep(time.Millisecond) {
		if n, err := d.msix.Event(1).TryRead(); n == 1 && err == nil {
			break
		}
		if time.Now().After(deadline) {
			t.Fatal("no interrupt")
		}
	}
	got := make([]byte, 64)
	if err := d.memory.ReadAt(got, buffer); err != nil || bytes.Equal(got, make([]byte, 64)) {
		t.Errorf("%x, %v", got, err)
	}
	if c := d.Core().Counters(); c[0].Chains != 1 || c[0].BytesIn != 64 {
		t.Errorf("counters %+v", c)
	}
}

// many is a device with a number of queues.
type many struct {
	virtiotest.Stub
	queues int
}

func (m *many) QueueSizes() []uint16 {
	sizes := make([]uint16, m.queues)
	for i := range sizes {
		sizes[i] = 8
	}
	return sizes
}

func TestMostQueues(t *testing.T) {
	d := newDriver(t, &many{queues: maxQueues})
	if n := d.read(regNumQueues, 2); n != maxQueues || len(d.vm.bells) != maxQueues {
		t.Errorf("%d queues, %d doorbells", n, len(d.vm.bells))
	}
	m, err := memory.New(memory.Config{Size: memory.MinSize})
	if err != nil {
		t.Fatal(err)
	}
	defer m.Close()
	vm := newFakeVM()
	if _, err := New(Config{Device: &many{queues: maxQueues + 1}, Memory: m, VM: vm, Router: pci.NewRouter(vm)}); err == nil {
		t.Error("a device with too many queues was taken")
	}
}

func TestAccessDoesNotAllocate(t *testing.T) {
	s := &virtiotest.Stub{}
	d := newDriver(t, s)
	d.useMSIX()
	d.negotiate(featureVersion1)
	d.enable(0, 16, 1, 0x10_0000)
	d.write(regConfigVector, 2, 0)
	d.setStatus(d.status() | virtio.StatusDriverOK)
	var i virtio.Interrupt = interrupt{d.Transport}
	data := make([]byte, 4)
	if n := testing.AllocsPerRun(100, func() {
		d.window.Read(d.base+regDeviceStatus, data[:1])
		d.window.Read(d.base+regQueueSize, data[:2])
		d.window.Write(d.base+regQueueSelect, data[:2])
		d.window.Write(d.base+notifyAt, data)
		d.window.Read(d.base+deviceAt, data)
		i.Queue(0)
		i.Config()
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

var _ VM = (*kvm.VM)(nil)
