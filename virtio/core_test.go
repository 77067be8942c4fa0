package virtio_test

import (
	"bytes"
	"errors"
	"strings"
	"sync"
	"testing"

	"github.com/gureum/gureum/guest/memory"
	"github.com/gureum/gureum/virtio"
	"github.com/gureum/gureum/virtio/queue"
	"github.com/gureum/gureum/virtio/virtiotest"
)

// echo copies what it reads to what it may write. Bit 5 is its only feature.
type echo struct {
	failActivate error
	queues       []*queue.Queue
	interrupt    virtio.Interrupt
	activations  int
	resets       int
	work         [2]sync.WaitGroup // of each queue
}

func (e *echo) Type() uint32               { return 63 }
func (e *echo) Features() uint64           { return 1 << 5 }
func (e *echo) QueueSizes() []uint16       { return []uint16{16, 8} }
func (e *echo) ReadConfig(uint64, []byte)  {}
func (e *echo) WriteConfig(uint64, []byte) {}
func (e *echo) Close() error               { return nil }

func (e *echo) Activate(a virtio.Activation) error {
	e.activations++
	if e.failActivate != nil {
		return e.failActivate
	}
	e.queues, e.interrupt = a.Queues, a.Interrupt
	for _, q := range a.Queues {
		if q != nil {
			e.serve(q)
		}
	}
	return nil
}

func (e *echo) serve(q *queue.Queue) {
	e.work[q.Index()].Go(func() {
		q.Serve(func(c *queue.Chain) (uint32, error) {
			b := make([]byte, min(c.ReadLen, 1<<16))
			c.Read(b)
			return uint32(c.WriteAt(b, 0)), nil
		})
	})
}

func (e *echo) Reset() {
	e.resets++
	for _, q := range e.queues {
		if q != nil {
			q.Stop()
		}
	}
	for n := range e.work {
		e.work[n].Wait()
	}
}

const featuresOK = virtio.StatusAcknowledge | virtio.StatusDriver | virtio.StatusFeaturesOK

func TestDeviceAnswers(t *testing.T) {
	for _, features := range []uint64{0, 1 << virtio.FeatureEventIdx, virtiotest.AllFeatures} {
		d := virtiotest.New(t, &echo{})
		d.Start(features)
		for n := range 2 {
			q := d.Queue(n)
			q.Indirect = features>>virtio.FeatureIndirectDesc&1 != 0
			for i := range 100 {
				msg := bytes.Repeat([]byte{byte(i)}, 1+i*3)
				r, written := q.Do([][]byte{msg[:1], msg[1:]}, 10, 1000)
				if int(written) != len(msg) || !bytes.Equal(r.AllWritable()[:written], msg) {
					t.Fatalf("features %#x, queue %d: wrote %d of %d bytes, or other ones", features, n, written, len(msg))
				}
			}
			if d.Interrupts(n) == 0 {
				t.Errorf("features %#x: queue %d never interrupted", features, n)
			}
		}
	}
}

func TestFeaturesThatWereNotOfferedAreRefused(t *testing.T) {
	tests := map[string]struct {
		accept uint64
		ok     bool
	}{
		"version 1 alone":      {1 << virtio.FeatureVersion1, true},
		"what is offered":      {1<<virtio.FeatureVersion1 | 1<<5 | 1<<virtio.FeatureEventIdx | 1<<virtio.FeatureIndirectDesc, true},
		"no version 1":         {1 << 5, false},
		"a feature not there":  {1<<virtio.FeatureVersion1 | 1<<6, false},
		"ring reset, not had":  {1<<virtio.FeatureVersion1 | 1<<virtio.FeatureRingReset, false},
		"all ones":             {^uint64(0), false},
		"nothing":              {0, false},
		"packed ring, not had": {1<<virtio.FeatureVersion1 | 1<<34, false},
	}
	for name, test := range tests {
		c := virtiotest.New(t, &echo{}).Core
		c.SetStatus(virtio.StatusAcknowledge | virtio.StatusDriver)
		c.SetDriverFeatures(0, uint32(test.accept))
		c.SetDriverFeatures(1, uint32(test.accept>>32))
		c.SetDriverFeatures(2, 1)
		c.SetStatus(featuresOK)
		if got := c.Status()&virtio.StatusFeaturesOK != 0; got != test.ok {
			t.Errorf("%s: FEATURES_OK is %v, want %v", name, got, test.ok)
		}
	}
}

func TestFeaturesAreFrozen(t *testing.T) {
	d := virtiotest.New(t, &echo{})
	d.Negotiate(0)
	d.Core.SetDriverFeatures(0, 1<<5)
	if got := d.Core.DriverFeatures(0); got != 0 {
		t.Errorf("features are %#x after FEATURES_OK, want 0", got)
	}
}

func TestDriverOKNeedsFeaturesOK(t *testing.T) {
	dev := &echo{}
	d := virtiotest.New(t, dev)
	d.Core.SetStatus(virtio.StatusAcknowledge | virtio.StatusDriver | virtio.StatusDriverOK)
	if d.Core.Status()&virtio.StatusDriverOK != 0 || dev.activations != 0 {
		t.Errorf("status %#x, %d activations: the device runs without negotiation", d.Core.Status(), dev.activations)
	}
}

func TestStatusBitsAreNotTakenBack(t *testing.T) {
	d := virtiotest.New(t, &echo{})
	d.Start(0)
	d.Core.SetStatus(virtio.StatusAcknowledge)
	if want := uint8(featuresOK | virtio.StatusDriverOK); d.Core.Status() != want {
		t.Errorf("status %#x, want %#x", d.Core.Status(), want)
	}
}

// TestRegistersAreFrozen is CVE-2026-5747: a queue whose addresses change under a
// running device.
func TestRegistersAreFrozen(t *testing.T) {
	d := virtiotest.New(t, &echo{})
	d.Start(0)
	before := d.Core.Queue(0)
	d.Core.SetQueueSize(0, 2)
	d.Core.SetQueueAddr(0, virtio.PartDesc, false, 0x1000)
	d.Core.SetQueueAddr(0, virtio.PartDriver, true, 0xFFFF_FFFF)
	d.Core.SetQueueEnabled(0, false)
	d.Core.ResetQueue(0)
	if after := d.Core.Queue(0); after != before {
		t.Errorf("registers changed after DRIVER_OK: %+v, were %+v", after, before)
	}
	if _, n := d.Queue(0).Do([][]byte{{1, 2, 3}}, 10); n != 3 {
		t.Errorf("the queue gave %d bytes afterwards, want 3", n)
	}
}

func TestBadQueuesNeedAReset(t *testing.T) {
	spoil := map[string]func(c *virtio.Core){
		"size 0":               func(c *virtio.Core) { c.SetQueueSize(0, 0) },
		"size no power of 2":   func(c *virtio.Core) { c.SetQueueSize(0, 3) },
		"size too large":       func(c *virtio.Core) { c.SetQueueSize(0, 32) },
		"unaligned table":      func(c *virtio.Core) { c.SetQueueAddr(0, virtio.PartDesc, false, 0x10_0008) },
		"unaligned used ring":  func(c *virtio.Core) { c.SetQueueAddr(0, virtio.PartDevice, false, 0x10_0002) },
		"unaligned avail ring": func(c *virtio.Core) { c.SetQueueAddr(0, virtio.PartDriver, false, 0x10_0001) },
		"beyond RAM":           func(c *virtio.Core) { c.SetQueueAddr(0, virtio.PartDesc, true, 1) },
		"in the MMIO hole":     func(c *virtio.Core) { c.SetQueueAddr(0, virtio.PartDevice, false, memory.HoleStart) },
		"across RAM's end":     func(c *virtio.Core) { c.SetQueueAddr(0, virtio.PartDesc, false, 64<<20-16) },
		"wraps around":         func(c *virtio.Core) { setAddr(c, virtio.PartDesc, ^uint64(15)) },
		"parts overlap":        func(c *virtio.Core) { setAddr(c, virtio.PartDriver, c.Queue(0).Addr[virtio.PartDesc]+16) },
	}
	for name, f := range spoil {
		dev := &echo{}
		d := virtiotest.New(t, dev)
		d.Negotiate(0)
		d.SetUpQueues()
		d.Core.SetQueueEnabled(0, false)
		f(d.Core)
		d.Core.SetQueueEnabled(0, true)
		d.Core.SetStatus(featuresOK | virtio.StatusDriverOK)
		if d.Core.Status()&virtio.StatusNeedsReset == 0 || dev.activations != 0 {
			t.Errorf("%s: status %#x, %d activations", name, d.Core.Status(), dev.activations)
		}
		d.Start(0) // a reset makes it good again
		if _, n := d.Queue(0).Do([][]byte{{1}}, 1); n != 1 {
			t.Errorf("%s: dead after the reset", name)
		}
	}
}

func setAddr(c *virtio.Core, part virtio.Part, gpa uint64) {
	c.SetQueueAddr(0, part, false, uint32(gpa))
	c.SetQueueAddr(0, part, true, uint32(gpa>>32))
}

func TestFailedActivationNeedsAReset(t *testing.T) {
	dev := &echo{failActivate: errors.New("no")}
	d := virtiotest.New(t, dev)
	d.Negotiate(0)
	d.SetUpQueues()
	d.Core.SetStatus(featuresOK | virtio.StatusDriverOK)
	if d.Core.Status()&virtio.StatusNeedsReset == 0 {
		t.Errorf("status %#x, want DEVICE_NEEDS_RESET", d.Core.Status())
	}
	dev.failActivate = nil
	d.Start(0)
	if dev.resets != 0 {
		t.Errorf("a device that was not active was reset %d times", dev.resets)
	}
}

func TestBrokenQueueStaysBrokenUntilReset(t *testing.T) {
	var log bytes.Buffer
	d := virtiotest.NewLogged(t, &echo{}, &log)
	d.Start(virtiotest.AllFeatures)
	q := d.Queue(0)
	q.Publish(9999)
	q.Kick()
	d.Eventually("DEVICE_NEEDS_RESET", func() bool { return d.Core.Status()&virtio.StatusNeedsReset != 0 })
	d.Eventually("one configuration interrupt", func() bool { return d.ConfigInterrupts() == 1 })
	r := q.Submit([][]byte{{1}}, 1)
	for range 10 {
		q.Kick()
	}
	// The other queue works on: it is the driver's turn to reset.
	if _, n := d.Queue(1).Do([][]byte{{1}}, 1); n != 1 {
		t.Errorf("the other queue gave %d bytes, want 1", n)
	}
	if q.Done(r) || d.ConfigInterrupts() != 1 {
		t.Errorf("the broken queue went on, or %d configuration interrupts", d.ConfigInterrupts())
	}
	if got := d.Core.Counters()[0].Errors; got != 1 {
		t.Errorf("%d errors counted, want 1", got)
	}
	if d.Core.Generation() == 0 {
		t.Error("the generation did not change with the status")
	}
	d.Start(0)
	if n := strings.Count(log.String(), "needs a reset"); n != 1 {
		t.Errorf("logged %d times, want once:\n%s", n, log.String())
	}
	if _, n := d.Queue(0).Do([][]byte{{1}}, 1); n != 1 {
		t.Error("the queue is still broken after a reset")
	}
}

func TestCountersOutliveResets(t *testing.T) {
	d := virtiotest.New(t, &echo{})
	for range 3 {
		d.Start(0)
		d.Queue(0).Do([][]byte{make([]byte, 10)}, 20)
	}
	d.Reset()
	c := d.Core.Counters()[0]
	if c.Chains != 3 || c.BytesOut != 30 || c.BytesIn != 30 {
		t.Errorf("counters %+v, want 3 chains, 30 bytes each way", c)
	}
}

func TestQueuesThatDoNotExist(t *testing.T) {
	d := virtiotest.New(t, &echo{})
	d.Negotiate(0)
	for _, n := range []int{-1, 2, 1 << 16} {
		d.Core.SetQueueSize(n, 1)
		d.Core.SetQueueAddr(n, virtio.PartDesc, false, 0)
		d.Core.SetQueueEnabled(n, true)
		d.Core.ResetQueue(n)
		if q := d.Core.Queue(n); q != (virtio.QueueRegs{}) {
			t.Errorf("queue %d is %+v", n, q)
		}
	}
	d.Core.SetQueueAddr(0, 17, false, 0)
}

func TestDisabledQueueIsNil(t *testing.T) {
	dev := &echo{}
	d := virtiotest.New(t, dev)
	d.Negotiate(0)
	d.SetUpQueues()
	d.Core.SetQueueEnabled(1, false)
	d.Core.SetStatus(featuresOK | virtio.StatusDriverOK)
	if len(dev.queues) != 2 || dev.queues[0] == nil || dev.queues[1] != nil {
		t.Errorf("queues of the activation: %v", dev.queues)
	}
}

func TestStopIsForGood(t *testing.T) {
	dev := &echo{}
	d := virtiotest.New(t, dev)
	d.Start(0)
	d.Core.Stop()
	d.Core.SetStatus(featuresOK | virtio.StatusDriverOK)
	if dev.activations != 1 || dev.resets != 1 {
		t.Errorf("%d activations and %d resets, want 1 and 1", dev.activations, dev.resets)
	}
}

// ringEcho is an echo whose rings can be reset one by one.
type ringEcho struct{ echo }

func (e *ringEcho) ResetQueue(n int) {
	e.queues[n].Stop()
	// The next owner waits on the same doorbell, and must not take this one's kick.
	e.work[n].Wait()
	e.queues[n] = nil
}

func (e *ringEcho) EnableQueue(n int, q *queue.Queue) error {
	e.queues[n] = q
	e.serve(q)
	return nil
}

func TestRingReset(t *testing.T) {
	d := virtiotest.New(t, &ringEcho{})
	d.Start(1 << virtio.FeatureRingReset)
	d.Queue(0).Do([][]byte{{1}}, 1)
	d.Core.ResetQueue(0)
	if d.Core.Queue(0).Enabled {
		t.Fatal("the queue is enabled after its reset")
	}
	if _, n := d.Queue(1).Do([][]byte{{1}}, 1); n != 1 {
		t.Error("the other queue has stopped")
	}
	d.RenewQueue(0)
	if _, n := d.Queue(0).Do([][]byte{{1}}, 1); n != 1 {
		t.Error("the queue did not come back")
	}
}

func TestHammer(t *testing.T) {
	for seed := range uint64(4) {
		virtiotest.Hammer(t, func() virtio.Device { return &ringEcho{} }, 20_000, seed, []byte("hello"))
	}
}
