package mmio

import (
	"bytes"
	"encoding/binary"
	"errors"
	"os"
	"testing"
	"time"

	"github.com/gureum/gureum/guest/memory"
	"github.com/gureum/gureum/kvm"
	"github.com/gureum/gureum/virtio"
	"github.com/gureum/gureum/virtio/rng"
	"github.com/gureum/gureum/virtio/virtiotest"
)

const featureVersion1 = uint64(1) << virtio.FeatureVersion1

func TestIdentity(t *testing.T) {
	d := newDriver(t, &virtiotest.Stub{})
	for reg, want := range map[uint64]uint32{
		regMagic: 0x74726976, regVersion: 2, regDeviceID: 2, regVendorID: vendorID, regStatus: 0,
		regSHMLenLow: 1<<32 - 1, regSHMBaseHigh: 1<<32 - 1, 0x018: 0, 0x0FC: 0,
	} {
		if got := d.read(reg); got != want {
			t.Errorf("register %#x: %#x, want %#x", reg, got, want)
		}
	}
	d.write(regMagic, 0)
	if d.read(regMagic) != magic {
		t.Error("a read-only register was written")
	}
	// Other widths and places than a register's own.
	for _, c := range []struct{ offset, size int }{{0, 1}, {0, 2}, {2, 4}, {0, 8}, {4, 3}} {
		data := bytes.Repeat([]byte{7}, c.size)
		d.Read(uint64(c.offset), data)
		d.Write(uint64(c.offset), data)
		if !bytes.Equal(data, make([]byte, c.size)) {
			t.Errorf("%d bytes at %#x: %x", c.size, c.offset, data)
		}
	}
}

func TestNegotiation(t *testing.T) {
	s := &virtiotest.Stub{}
	d := newDriver(t, s)
	var offered uint64
	for sel := range uint32(3) {
		d.write(regDeviceFeaturesSel, sel)
		if sel < 2 {
			offered |= uint64(d.read(regDeviceFeatures)) << (32 * sel)
		} else if d.read(regDeviceFeatures) != 0 {
			t.Error("features beyond 64 bits")
		}
	}
	if offered&s.Features() != s.Features() || offered&featureVersion1 == 0 {
		t.Errorf("offered features %#x", offered)
	}
	d.negotiate(featureVersion1 | 1<<37)
	for n, size := range []uint32{64, 16} {
		d.write(regQueueSel, uint32(n))
		if got := d.read(regQueueSizeMax); got != size || d.read(regQueueReady) != 0 {
			t.Errorf("queue %d: at most %d", n, got)
		}
	}
	d.write(regQueueSel, 2)
	d.write(regQueueReady, 1)
	if d.read(regQueueSizeMax) != 0 || d.read(regQueueReady) != 0 {
		t.Error("there is a queue too many")
	}
	d.enable(1, 16, 0x10_0000)
	if d.read(regQueueReady) != 1 {
		t.Error("a queue cannot be enabled")
	}
	d.write(regStatus, d.read(regStatus)|virtio.StatusDriverOK)
	if s.Activations.Load() != 1 || s.Active.Features != featureVersion1|1<<37 {
		t.Fatalf("%d activations, with %#x", s.Activations.Load(), s.Active.Features)
	}
	if s.Active.Queues[0] != nil || s.Active.Queues[1] == nil {
		t.Errorf("queues %v", s.Active.Queues)
	}
	c := s.Active.Queues[1].Config()
	if c.Size != 16 || c.Desc != 0x10_0000 || c.Driver != 0x10_1000 || c.Device != 0x10_2000 {
		t.Errorf("queue 1: %+v", c)
	}
	d.write(regStatus, 0)
	if s.Resets.Load() != 1 || d.read(regStatus) != 0 || d.read(regQueueReady) != 0 {
		t.Error("the device was not reset")
	}
}

func TestConfigSpace(t *testing.T) {
	s := &virtiotest.Stub{Config: [16]byte{1, 2, 3, 4}}
	d := newDriver(t, s)
	p := make([]byte, 2)
	d.Read(regConfig+1, p)
	if !bytes.Equal(p, []byte{2, 3}) {
		t.Errorf("read %x", p)
	}
	d.Write(regConfig+3, []byte{9})
	if s.Config[3] != 9 {
		t.Errorf("config %x", s.Config)
	}
	d.Read(Size-8, make([]byte, 8))
}

// TestConfigInterrupt holds that a change is told once, and stays until it was
// acknowledged.
func TestConfigInterrupt(t *testing.T) {
	s := &virtiotest.Stub{}
	d := newDriver(t, s)
	d.negotiate(featureVersion1)
	d.write(regStatus, d.read(regStatus)|virtio.StatusDriverOK)
	before := d.read(regConfigGeneration)
	s.Active.Interrupt.Config()
	if st := d.read(regInterruptStatus); st != interruptConfig|interruptQueue {
		t.Errorf("interrupt status %#x", st)
	}
	if d.read(regConfigGeneration) == before {
		t.Error("the generation did not change")
	}
	if n, err := d.vm.irqs[testGSI].TryRead(); n != 1 || err != nil {
		t.Errorf("%d interrupts (%v)", n, err)
	}
	d.write(regInterruptACK, interruptQueue)
	if d.read(regInterruptStatus)&interruptConfig == 0 {
		t.Error("another's acknowledgement took the change away")
	}
	d.write(regInterruptACK, interruptConfig|interruptQueue)
	if d.read(regInterruptStatus) != interruptQueue {
		t.Error("the acknowledgement did not arrive")
	}
	// A broken queue shows in the status register without a write of the guest.
	d.write(regStatus, 0)
	d.negotiate(featureVersion1)
	d.enable(0, 64, 0x10_0000)
	d.write(regStatus, d.read(regStatus)|virtio.StatusDriverOK)
	_ = s.Active.Queues[0].Fail(errors.New("test"))
	if d.read(regStatus)&virtio.StatusNeedsReset == 0 || d.read(regInterruptStatus)&interruptConfig == 0 {
		t.Error("a broken queue does not show")
	}
	d.write(regStatus, 0)
	if d.read(regStatus) != 0 || d.read(regInterruptStatus) != interruptQueue {
		t.Error("a reset leaves something behind")
	}
}

func TestDoorbells(t *testing.T) {
	d := newDriver(t, &virtiotest.Stub{})
	for n := range uint64(2) {
		key := bellKey(kvm.IOEventFD{Addr: testPages + Offset + regQueueNotify, Len: 4, Match: true, Data: n})
		if d.vm.bells[key] != d.kicks[n] {
			t.Errorf("queue %d has no doorbell", n)
		}
		// A write that KVM passes on does the same.
		d.write(regQueueNotify, uint32(n))
		if k, err := d.kicks[n].TryRead(); k != 1 || err != nil {
			t.Errorf("queue %d: %d kicks (%v)", n, k, err)
		}
	}
	d.write(regQueueNotify, 2)
	d.write(regQueueNotify, 1<<32-1)
	ack := bellKey(kvm.IOEventFD{Addr: testPages + Offset + regInterruptACK, Len: 4, Match: true, Data: interruptQueue})
	if d.vm.bells[ack] == nil {
		t.Error("acknowledgements are not swallowed")
	}
	if r := d.vm.slots[testSlot]; r.GPA != testPages || r.Size != pageSize || r.Flags != kvm.MemReadOnly || r.HostAddr != d.page.host() {
		t.Errorf("register page %+v", r)
	}
}

// TestGuestSeesTheImage reads the page as the guest does.
func TestGuestSeesTheImage(t *testing.T) {
	d := newDriver(t, &virtiotest.Stub{})
	d.negotiate(featureVersion1)
	d.write(regQueueSel, 1)
	for reg := uint64(0); reg < regConfig; reg += 4 {
		if seen := d.page.words[reg/4].Load(); seen != d.read(reg) {
			t.Errorf("register %#x: the page has %#x, a read gives %#x", reg, seen, d.read(reg))
		}
	}
	if d.page.words[regQueueSizeMax/4].Load() != 16 {
		t.Error("the page does not follow")
	}
}

// TestEntropy drives a real device through registers and rings alone.
func TestEntropy(t *testing.T) {
	d := newDriver(t, rng.New(rng.Config{}))
	d.negotiate(featureVersion1)
	const rings, buffer = 0x10_0000, 0x20_0000
	d.enable(0, 8, rings)
	d.write(regStatus, d.read(regStatus)|virtio.StatusDriverOK)
	desc := binary.LittleEndian.AppendUint64(nil, buffer)
	desc = binary.LittleEndian.AppendUint32(desc, 64)
	desc = append(desc, 2, 0, 0, 0) // writable
	if err := errors.Join(d.memory.WriteAt(desc, rings), d.memory.WriteAt([]byte{0, 0, 1, 0, 0, 0}, rings+0x1000)); err != nil {
		t.Fatal(err)
	}
	d.write(regQueueNotify, 0)
	for deadline := time.Now().Add(30 * time.Second); ; time.Sleep(time.Millisecond) {
		if n, err := d.vm.irqs[testGSI].TryRead(); n == 1 && err == nil {
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

// TestRefusals has KVM refuse each call in turn: nothing may be left.
func TestRefusals(t *testing.T) {
	m, err := memory.New(memory.Config{Size: memory.MinSize})
	if err != nil {
		t.Fatal(err)
	}
	defer m.Close()
	before := openFiles(t)
	s := &virtiotest.Stub{}
	for fail := 1; ; fail++ {
		vm := newFakeVM()
		vm.fail = fail
		tr, err := New(testConfig(s, m, vm))
		if err == nil {
			if err := tr.Close(); err != nil {
				t.Error(err)
			}
			break
		}
		if !errors.Is(err, errRefused) || vm.left() != 0 {
			t.Errorf("refusal %d: %v, %d things left", fail, err, vm.left())
		}
	}
	if s.Closes.Load() != 1 {
		t.Errorf("the device was closed %d times", s.Closes.Load())
	}
	if after := openFiles(t); after != before {
		t.Errorf("%d open files before, %d after", before, after)
	}
}

// TestWithoutReadOnlyMemory holds that an old KVM does as well.
func TestWithoutReadOnlyMemory(t *testing.T) {
	m, err := memory.New(memory.Config{Size: memory.MinSize})
	if err != nil {
		t.Fatal(err)
	}
	defer m.Close()
	vm := newFakeVM()
	vm.noReadOnly = true
	tr, err := New(testConfig(&virtiotest.Stub{}, m, vm))
	if err != nil {
		t.Fatal(err)
	}
	var p [4]byte
	tr.Read(regMagic, p[:])
	if binary.LittleEndian.Uint32(p[:]) != magic {
		t.Errorf("magic %x", p)
	}
	if err := tr.Close(); err != nil || vm.left() != 0 {
		t.Errorf("%v, %d things left", err, vm.left())
	}
}

func TestAccessDoesNotAllocate(t *testing.T) {
	d := newDriver(t, &virtiotest.Stub{})
	d.negotiate(featureVersion1)
	d.write(regStatus, d.read(regStatus)|virtio.StatusDriverOK)
	data := make([]byte, 4)
	i := interrupt{d.Transport}
	if n := testing.AllocsPerRun(100, func() {
		d.Read(regInterruptStatus, data)
		d.Write(regInterruptACK, data)
		d.Write(regQueueSel, data)
		d.Write(regQueueNotify, data)
		d.Read(regConfig, data)
		i.Queue(0)
		i.Config()
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

func openFiles(t *testing.T) int {
	t.Helper()
	entries, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	return len(entries)
}
