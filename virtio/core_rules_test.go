package virtio_test

import (
	"bytes"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/gureum/gureum/virtio"
	"github.com/gureum/gureum/virtio/queue"
	"github.com/gureum/gureum/virtio/virtiotest"
)

func TestStatusIsSetInOrder(t *testing.T) {
	const (
		ack    = virtio.StatusAcknowledge
		driver = virtio.StatusDriver
		ok     = virtio.StatusDriverOK
		fine   = virtio.StatusFeaturesOK
	)
	tests := map[string]struct {
		writes []uint8
		want   uint8
	}{
		"driver alone":          {[]uint8{driver}, 0},
		"both in one":           {[]uint8{ack | driver}, ack | driver},
		"features alone":        {[]uint8{fine}, 0},
		"features before ack":   {[]uint8{driver | fine}, 0},
		"driver ok alone":       {[]uint8{ok}, 0},
		"driver ok too early":   {[]uint8{ack, ack | driver, ack | driver | ok}, ack | driver},
		"all in one":            {[]uint8{ack | driver | fine | ok}, ack | driver | fine | ok},
		"in steps":              {[]uint8{ack, ack | driver, ack | driver | fine, ack | driver | fine | ok}, ack | driver | fine | ok},
		"the device's own bit":  {[]uint8{ack | virtio.StatusNeedsReset}, ack},
		"failed is always good": {[]uint8{virtio.StatusFailed}, virtio.StatusFailed},
		"reset at the end":      {[]uint8{ack | driver | fine | ok, 0}, 0},
	}
	for name, test := range tests {
		d := virtiotest.New(t, &echo{})
		d.Core.SetDriverFeatures(1, 1)
		for _, v := range test.writes {
			d.Core.SetStatus(v)
		}
		if got := d.Core.Status(); got != test.want {
			t.Errorf("%s: status %#x, want %#x", name, got, test.want)
		}
	}
}

// TestQueuesOverlapEachOther: two queues of a device on the same ring.
func TestQueuesOverlapEachOther(t *testing.T) {
	dev := &echo{}
	d := virtiotest.New(t, dev)
	d.Negotiate(0)
	d.SetUpQueues()
	d.Core.SetQueueEnabled(1, false)
	used := d.Core.Queue(0).Addr[virtio.PartDevice]
	d.Core.SetQueueAddr(1, virtio.PartDriver, false, uint32(used)+4)
	d.Core.SetQueueEnabled(1, true)
	d.Core.SetStatus(featuresOK | virtio.StatusDriverOK)
	if d.Core.Status()&virtio.StatusNeedsReset == 0 || dev.activations != 0 {
		t.Errorf("status %#x, %d activations", d.Core.Status(), dev.activations)
	}
}

// TestLogIsBounded: a driver that breaks a rule, resets and begins again does not
// fill the host's disk.
func TestLogIsBounded(t *testing.T) {
	var log bytes.Buffer
	d := virtiotest.NewLogged(t, &echo{}, &log)
	for range 1000 {
		d.Negotiate(0)
		d.SetUpQueues()
		d.Core.SetQueueEnabled(0, false)
		d.Core.SetQueueSize(0, 3)
		d.Core.SetQueueEnabled(0, true)
		d.Core.SetStatus(featuresOK | virtio.StatusDriverOK)
		d.Core.SetQueueSize(0, 2)
		d.Core.SetQueueSize(9, 2)
	}
	if n := strings.Count(log.String(), "\n"); n == 0 || n > 30 {
		t.Errorf("%d lines, want a few:\n%.500s", n, log.String())
	}
}

// TestBrokenQueueIsNotMendedByARingReset: only a reset of the device takes
// DEVICE_NEEDS_RESET back.
func TestBrokenQueueIsNotMendedByARingReset(t *testing.T) {
	d := virtiotest.New(t, &ringEcho{})
	d.Start(1 << virtio.FeatureRingReset)
	d.Queue(0).Publish(9999)
	d.Queue(0).Kick()
	d.Eventually("DEVICE_NEEDS_RESET", func() bool { return d.Core.Status()&virtio.StatusNeedsReset != 0 })
	d.Core.ResetQueue(0)
	d.RenewQueue(0)
	if d.Core.Status()&virtio.StatusNeedsReset == 0 || d.Core.Queue(0).Enabled {
		t.Errorf("status %#x, queue %+v", d.Core.Status(), d.Core.Queue(0))
	}
	d.Start(0)
	if _, n := d.Queue(0).Do([][]byte{{1}}, 1); n != 1 {
		t.Error("the queue is still broken after a reset")
	}
}

// refusing is a device that does not take rings back.
type refusing struct{ ringEcho }

func (*refusing) EnableQueue(int, *queue.Queue) error { return errors.New("no") }

// TestRefusedRingIsForgotten: a ring that the device did not take is not reset, and
// cannot be enabled again.
func TestRefusedRingIsForgotten(t *testing.T) {
	dev := &refusing{}
	d := virtiotest.New(t, dev)
	d.Start(1 << virtio.FeatureRingReset)
	d.Core.ResetQueue(0)
	d.RenewQueue(0)
	if d.Core.Status()&virtio.StatusNeedsReset == 0 || d.Core.Queue(0).Enabled {
		t.Errorf("status %#x, queue %+v", d.Core.Status(), d.Core.Queue(0))
	}
	d.Core.ResetQueue(0) // would stop a nil queue
	d.Start(0)
}

// TestRingResetBeforeDriverOK has no ring to reset, and leaves the registers.
func TestRingResetBeforeDriverOK(t *testing.T) {
	d := virtiotest.New(t, &ringEcho{})
	d.Negotiate(1 << virtio.FeatureRingReset)
	d.SetUpQueues()
	before := d.Core.Queue(0)
	d.Core.ResetQueue(0)
	if after := d.Core.Queue(0); after != before {
		t.Errorf("registers are %+v, were %+v", after, before)
	}
}

// slow gives chains back late, from another goroutine than the one that took them.
type slow struct{ echo }

func (s *slow) Activate(a virtio.Activation) error {
	s.queues = a.Queues
	for _, q := range a.Queues {
		s.work[q.Index()].Go(func() {
			var c queue.Chain
			var taken []queue.Used
			for q.Wait() == nil {
				for {
					ok, _ := q.Next(&c)
					if !ok {
						break
					}
					taken = append(taken, queue.Used{Head: c.Head})
				}
				if len(taken) > 8 {
					time.Sleep(50 * time.Microsecond)
					q.PutAll(taken[:4])
					q.Flush()
					taken = taken[4:]
				}
			}
			q.PutAll(taken)
			q.Flush()
		})
	}
	return nil
}

// TestResetWithRequestsInFlight: when the reset returns, rings and buffers are the
// driver's again.
func TestResetWithRequestsInFlight(t *testing.T) {
	d := virtiotest.New(t, &slow{})
	for i := range 300 {
		d.Start(virtiotest.AllFeatures)
		q := d.Queue(0)
		for range 12 {
			q.Submit([][]byte{{1}})
			q.Kick()
		}
		if i%3 == 0 {
			time.Sleep(30 * time.Microsecond)
		}
		d.Reset()
		rings, err := d.Memory.Slice(q.Desc, 4096)
		if err != nil {
			t.Fatal(err)
		}
		before := bytes.Clone(rings)
		interrupts := d.Interrupts(0)
		if i%10 == 0 {
			time.Sleep(200 * time.Microsecond)
		}
		if !bytes.Equal(before, rings) || d.Interrupts(0) != interrupts {
			t.Fatal("the rings change, or interrupts come, after a reset")
		}
	}
}
