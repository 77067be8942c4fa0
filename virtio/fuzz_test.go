package virtio_test

import (
	"encoding/binary"
	"log/slog"
	"testing"

	"github.com/gureum/gureum/guest/memory"
	"github.com/gureum/gureum/kvm"
	"github.com/gureum/gureum/virtio"
	"github.com/gureum/gureum/virtio/queue"
)

// recorder is a device that holds the Core to its promises.
type recorder struct {
	t      *testing.T
	active bool
	queues []*queue.Queue
}

func (r *recorder) Type() uint32               { return 63 }
func (r *recorder) Features() uint64           { return 1<<5 | 1<<41 }
func (r *recorder) QueueSizes() []uint16       { return []uint16{16, 8, 256} }
func (r *recorder) ReadConfig(uint64, []byte)  {}
func (r *recorder) WriteConfig(uint64, []byte) {}
func (r *recorder) Close() error               { return nil }

func (r *recorder) Activate(a virtio.Activation) error {
	if r.active {
		r.t.Fatal("activated twice")
	}
	const may = 1<<5 | 1<<41 | 1<<virtio.FeatureVersion1 | 1<<virtio.FeatureIndirectDesc | 1<<virtio.FeatureEventIdx | 1<<virtio.FeatureRingReset
	if !a.Has(virtio.FeatureVersion1) || a.Features&^uint64(may) != 0 {
		r.t.Fatalf("activated with features %#x", a.Features)
	}
	r.active, r.queues = true, a.Queues
	for n, q := range a.Queues {
		r.check(n, q)
	}
	return nil
}

// check holds that a queue is sound: New has seen to the rest.
func (r *recorder) check(n int, q *queue.Queue) {
	if q == nil {
		return
	}
	if q.Index() != n || q.Size() == 0 || q.Size() > r.QueueSizes()[n] {
		r.t.Fatalf("queue %d of %d descriptors in place %d", q.Index(), q.Size(), n)
	}
	for i, o := range r.queues {
		if i != n && o != nil && o.Overlaps(q) {
			r.t.Fatal("overlapping queues")
		}
	}
}

func (r *recorder) Reset() {
	if !r.active {
		r.t.Fatal("reset while not active")
	}
	r.active = false
}

func (r *recorder) ResetQueue(n int) {
	if !r.active || r.queues[n] == nil {
		r.t.Fatal("reset of a ring that the device does not have")
	}
	r.queues[n] = nil
}

func (r *recorder) EnableQueue(n int, q *queue.Queue) error {
	if !r.active || r.queues[n] != nil || q == nil {
		r.t.Fatal("a ring enabled twice, or on an idle device")
	}
	r.check(n, q)
	r.queues[n] = q
	return nil
}

type noInterrupts struct{}

func (noInterrupts) Config()   {}
func (noInterrupts) Queue(int) {}

// FuzzCore writes registers in any order, and holds what must be true whatever the
// driver does: a device is active exactly between DRIVER_OK and the reset, on sound
// queues and features that were offered; steps of the status come in order; what
// the driver set up does not change under an active device.
func FuzzCore(f *testing.F) {
	mem, err := memory.New(memory.Config{Size: memory.MinSize})
	if err != nil {
		f.Fatal(err)
	}
	f.Cleanup(func() { _ = mem.Close() })
	var kicks []*kvm.EventFD
	for range 3 {
		kick, err := kvm.NewEventFD()
		if err != nil {
			f.Fatal(err)
		}
		f.Cleanup(func() { _ = kick.Close() })
		kicks = append(kicks, kick)
	}
	op := func(kind, n, part byte, v uint32) []byte {
		return binary.LittleEndian.AppendUint32([]byte{kind, n, part}, v)
	}
	var good []byte
	good = append(good, op(0, 0, 0, 3)...)
	good = append(good, op(1, 1, 0, 1|1<<8)...)
	good = append(good, op(0, 0, 0, 11)...)
	good = append(good, op(2, 0, 0, 8)...)
	for part, gpa := range []uint32{0x10000, 0x11000, 0x12000} {
		good = append(good, op(3, 0, byte(part), gpa)...)
	}
	good = append(good, op(4, 0, 1, 0)...)
	good = append(good, op(0, 0, 0, 15)...)
	f.Add(good)
	f.Add(append(append([]byte{}, good...), op(5, 0, 0, 0)...))
	f.Add(append(append(append(append([]byte{}, good...), op(5, 0, 0, 0)...), op(3, 0, 0, 0x20000)...), op(4, 0, 1, 0)...))
	f.Add(append(append(append([]byte{}, good...), op(3, 0, 0, 0)...), op(0, 0, 0, 0)...))
	f.Fuzz(func(t *testing.T, script []byte) {
		r := &recorder{t: t}
		c := virtio.NewCore(virtio.CoreConfig{
			Device: r, Memory: mem, Kicks: kicks, Interrupt: noInterrupts{}, Log: slog.New(slog.DiscardHandler),
		})
		for ; len(script) >= 7; script = script[7:] {
			n, v := int(int8(script[1])), binary.LittleEndian.Uint32(script[3:])
			before, old := registers(c), c.Status()
			kind := script[0] % 6
			switch kind {
			case 0:
				c.SetStatus(uint8(v))
			case 1:
				c.SetDriverFeatures(uint32(script[1]), v)
			case 2:
				c.SetQueueSize(n, uint16(v))
			case 3:
				c.SetQueueAddr(n, virtio.Part(script[2]&3), script[2]&4 != 0, v)
			case 4:
				c.SetQueueEnabled(n, script[2]&1 != 0)
			case 5:
				c.ResetQueue(n)
			}
			s := c.Status()
			checkStatus(t, r, kind, uint8(v), old, s)
			ringReset := c.DriverFeatures(1)>>(virtio.FeatureRingReset-32)&1 != 0
			if s&virtio.StatusDriverOK != 0 && old&virtio.StatusDriverOK != 0 && (!ringReset || s&old&virtio.StatusNeedsReset != 0 && kind != 5) {
				if registers(c) != before {
					t.Fatal("registers of an active device changed")
				}
			}
		}
		c.Stop()
		if r.active {
			t.Fatal("active after Stop")
		}
	})
}

func checkStatus(t *testing.T, r *recorder, kind, written, old, s uint8) {
	if kind == 0 && written == 0 && s != 0 {
		t.Fatalf("status %#x after a reset", s)
	}
	if lost := old &^ s; lost != 0 && s != 0 {
		t.Fatalf("status bits %#x were lost without a reset", lost)
	}
	const fine = virtio.StatusAcknowledge | virtio.StatusDriver | virtio.StatusFeaturesOK
	if s&virtio.StatusDriverOK != 0 && s&fine != fine {
		t.Fatalf("status %#x", s)
	}
	if r.active && s&virtio.StatusDriverOK == 0 {
		t.Fatalf("active with status %#x", s)
	}
	if !r.active && s&virtio.StatusDriverOK != 0 && s&virtio.StatusNeedsReset == 0 {
		t.Fatalf("not active with status %#x", s)
	}
}

// registers is what the driver can read of the queues and features.
func registers(c *virtio.Core) (all struct {
	queues   [3]virtio.QueueRegs
	features [2]uint32
},
) {
	for n := range all.queues {
		all.queues[n] = c.Queue(n)
	}
	all.features = [2]uint32{c.DriverFeatures(0), c.DriverFeatures(1)}
	return all
}
