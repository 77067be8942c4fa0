package net

import (
	"bytes"
	"testing"
	"time"

	"github.com/gureum/gureum/virtio"
	"github.com/gureum/gureum/virtio/ratelimit"
	"github.com/gureum/gureum/virtio/virtiotest"
)

func TestReceiveMergeable(t *testing.T) {
	f := newFake(1)
	_, d := mustNew(t, f, nil)
	d.Start(virtiotest.AllFeatures)
	q := d.Queue(0)
	var reqs []*virtiotest.Request
	for range 20 {
		reqs = append(reqs, q.Submit(nil, 100, 400))
	}
	q.Kick()
	large, small := frame(3000, 1), frame(60, 2)
	f.arrive(0, large, small)
	var got []byte
	var parts [][]byte
	for i := range 7 { // 3012 bytes in buffers of 500
		n := q.Wait(reqs[i])
		parts = append(parts, reqs[i].AllWritable()[:n])
	}
	got = received(t, 7, parts...)
	if !bytes.Equal(got[HeaderSize:], large[HeaderSize:]) {
		t.Error("the large frame is not what was sent")
	}
	n := q.Wait(reqs[7])
	got = received(t, 1, reqs[7].AllWritable()[:n])
	if !bytes.Equal(got[HeaderSize:], small[HeaderSize:]) {
		t.Error("the small frame is not what was sent")
	}
}

// TestReceiveSpill has fewer buffers in the ring than a frame needs: it waits for
// more, in which its end comes.
func TestReceiveSpill(t *testing.T) {
	f := newFake(1)
	_, d := mustNew(t, f, nil)
	d.Start(virtiotest.AllFeatures)
	q := d.Queue(0)
	big := frame(60000, 3)
	f.arrive(0, big)
	var reqs []*virtiotest.Request
	submit := func(n int) {
		for range n {
			reqs = append(reqs, q.Submit(nil, 10, 2990))
		}
		q.Kick()
	}
	submit(3)
	d.Eventually("the frame is read", func() bool { return look(f, &f.reads) == 1 })
	time.Sleep(5 * time.Millisecond)
	if q.UsedIndex() != 0 {
		t.Fatal("a part of a frame was given to the driver")
	}
	submit(5)
	submit(13)
	var parts [][]byte
	for _, r := range reqs {
		n := q.Wait(r)
		parts = append(parts, r.AllWritable()[:n])
	}
	if got := received(t, 21, parts...); !bytes.Equal(got[HeaderSize:], big[HeaderSize:]) {
		t.Error("the frame is not what was sent")
	}
}

// TestReceiveExpects: many buffers are offered to the backend while large frames come, and one
// otherwise. Whatever comes is received whole.
func TestReceiveExpects(t *testing.T) {
	f := newFake(1)
	_, d := mustNew(t, f, nil)
	d.Start(virtiotest.AllFeatures)
	q := d.Queue(0)
	const size, big = 1600, 60000
	sizes := []int{60, 1514, big, 60, big}
	for range largeFrames + 1 {
		sizes = append(sizes, 60)
	}
	sizes = append(sizes, big)
	var ready []*virtiotest.Request
	for i, n := range sizes {
		sent := frame(n, byte(i))
		buffers := (len(sent) + size - 1) / size
		for len(ready) < 2*big/size { // so that the largest frame always fits
			ready = append(ready, q.Submit(nil, size))
		}
		q.Kick()
		f.arrive(0, sent)
		var parts [][]byte
		for _, r := range ready[:buffers] {
			used := q.Wait(r)
			parts = append(parts, r.AllWritable()[:used])
		}
		ready = ready[buffers:]
		if got := received(t, buffers, parts...); !bytes.Equal(got[HeaderSize:], sent[HeaderSize:]) {
			t.Fatalf("frame %d of %d bytes is not what was sent", i, n)
		}
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	// A buffer and the spill, or what the driver had offered by then.
	for i, n := range f.parts {
		if many := i > 2 && i < len(sizes)-2; many != (n > big/size/2) || !many && n != 2 {
			t.Errorf("frame %d: %d slices were offered; of all frames %v", i, n, f.parts)
		}
	}
}

// TestReceiveTooLarge holds that a frame that cannot fit is dropped and counted,
// and that the next one comes.
func TestReceiveTooLarge(t *testing.T) {
	f := newFake(1)
	dev, d := mustNew(t, f, nil)
	d.Start(without(FeatureMergeableRX))
	q := d.Queue(0)
	r := q.Submit(nil, 1526)
	q.Kick()
	f.arrive(0, frame(2000, 1), frame(1514, 2))
	if n := q.Wait(r); n != 1526 {
		t.Errorf("%d bytes", n)
	}
	if got := received(t, 1, r.AllWritable()); got[HeaderSize] != 2 {
		t.Error("the wrong frame came")
	}
	if s := dev.Stats(); s.RXDropped != 1 {
		t.Errorf("%+v", s)
	}
}

// TestReceiveTooLargeForRing is the same with mergeable buffers, all of which
// together are too small.
func TestReceiveTooLargeForRing(t *testing.T) {
	f := newFake(1)
	dev, d := mustNew(t, f, func(c *Config) { c.QueueSize = 4 })
	d.Start(virtiotest.AllFeatures)
	q := d.Queue(0)
	var reqs []*virtiotest.Request
	for range 4 {
		reqs = append(reqs, q.Submit(nil, 1000))
	}
	q.Kick()
	f.arrive(0, frame(5000, 1), frame(100, 2))
	q.Wait(reqs[0])
	if got := received(t, 1, reqs[0].AllWritable()); got[HeaderSize] != 2 {
		t.Error("the wrong frame came")
	}
	if s := dev.Stats(); s.RXDropped != 1 {
		t.Errorf("%+v", s)
	}
}

// TestReceiveBackPressure holds that nothing is taken from the host without a
// buffer in hand, and that a kick is enough to go on.
func TestReceiveBackPressure(t *testing.T) {
	f := newFake(1)
	dev, d := mustNew(t, f, nil)
	d.Start(virtiotest.AllFeatures)
	q := d.Queue(0)
	for i := range 100 {
		f.arrive(0, frame(1000, byte(i)))
	}
	time.Sleep(5 * time.Millisecond)
	if n := look(f, &f.reads); n != 0 {
		t.Fatalf("%d frames were read without a buffer", n)
	}
	for i := range 100 {
		r := q.Submit(nil, 1600)
		q.Kick()
		q.Wait(r)
		if got := received(t, 1, r.AllWritable()); got[HeaderSize] != byte(i) {
			t.Fatalf("frame %d is frame %d", i, got[HeaderSize])
		}
	}
	if s := dev.Stats(); s.RXDropped != 0 || look(f, &f.reads) != 100 {
		t.Errorf("%+v, %d reads", s, look(f, &f.reads))
	}
}

func TestReceiveHeaderFlags(t *testing.T) {
	for _, csum := range []bool{true, false} {
		f := newFake(1)
		_, d := mustNew(t, f, nil)
		features := virtiotest.AllFeatures
		if !csum {
			features = without(FeatureGuestCsum)
		}
		d.Start(features)
		in := frame(60, 1)
		in[0] = 2 // VIRTIO_NET_HDR_F_DATA_VALID
		f.arrive(0, in)
		r, _ := d.Queue(0).Do(nil, 2000)
		if flags := r.Writable(0)[0]; flags&2 != 0 != csum {
			t.Errorf("GUEST_CSUM %v: flags %#x", csum, flags)
		}
	}
}

func TestReceiveBadBuffer(t *testing.T) {
	for name, sizes := range map[string][]int{"short": {4, 7}, "readable": nil} {
		_, d := mustNew(t, newFake(1), nil)
		d.Start(virtiotest.AllFeatures)
		var readable [][]byte
		if sizes == nil {
			readable = [][]byte{make([]byte, 2000)}
		}
		d.Queue(0).Submit(readable, sizes...)
		d.Queue(0).Kick()
		d.Eventually(name+": the queue is broken", func() bool { return d.Core.Status()&virtio.StatusNeedsReset != 0 })
	}
}

// TestReceiveFailure holds that a backend that fails is asked again, but not at
// once.
func TestReceiveFailure(t *testing.T) {
	f := newFake(1)
	_, d := mustNew(t, f, nil)
	f.fail = errRefused
	d.Start(virtiotest.AllFeatures)
	q := d.Queue(0)
	r := q.Submit(nil, 2000)
	q.Kick()
	time.Sleep(5 * time.Millisecond)
	f.do(func() { f.fail = nil })
	f.arrive(0, frame(60, 1))
	q.Wait(r)
}

func TestReceiveLimit(t *testing.T) {
	f := newFake(1)
	_, d := mustNew(t, f, func(c *Config) {
		c.RX.Ops = ratelimit.Bucket{Size: 10, Refill: 100 * time.Millisecond}
	})
	d.Start(virtiotest.AllFeatures)
	q := d.Queue(0)
	start := time.Now()
	for i := range 30 { // 10 at once, 20 at one each 10 ms
		f.arrive(0, frame(60, byte(i)))
		r, _ := q.Do(nil, 2000)
		if got := r.Writable(0)[HeaderSize]; got != byte(i) {
			t.Fatalf("frame %d is frame %d", i, got)
		}
	}
	if took := time.Since(start); took < 180*time.Millisecond {
		t.Errorf("30 frames in %s", took)
	}
}

func TestReceiveWhileDown(t *testing.T) {
	f := newFake(1)
	dev, d := mustNew(t, f, nil)
	d.Start(virtiotest.AllFeatures)
	q := d.Queue(0)
	r := q.Submit(nil, 2000)
	q.Kick()
	for _, up := range []bool{false, true} {
		if err := dev.SetLink(up); err != nil {
			t.Fatal(err)
		}
		if look(f, &f.carrier) != up {
			t.Errorf("carrier is not %v", up)
		}
		if !up {
			time.Sleep(5 * time.Millisecond)
			f.arrive(0, frame(60, 1))
			time.Sleep(5 * time.Millisecond)
			if q.Done(r) {
				t.Fatal("a frame came while the link is down")
			}
		}
	}
	q.Wait(r)
	if n := d.ConfigInterrupts(); n != 2 {
		t.Errorf("%d interrupts", n)
	}
}

// TestReceiveTellsOfMany has frames come together: the driver sees each at once, and is
// interrupted for the last, or sooner where there are many, or much.
func TestReceiveTellsOfMany(t *testing.T) {
	for name, c := range map[string]struct{ frames, size, want int }{
		"few":          {20, 60, 1},
		"many":         {2*flushEvery + 5, 60, 3},
		"many exactly": {flushEvery, 60, 1},
		"much":         {5, flushBytes / 2, 3},
	} {
		t.Run(name, func(t *testing.T) {
			f := newFake(1)
			_, d := mustNew(t, f, nil)
			d.Start(virtiotest.AllFeatures &^ (1 << virtio.FeatureEventIdx))
			q := d.Queue(0)
			var last *virtiotest.Request
			for range c.frames {
				last = q.Submit(nil, maxFrame)
			}
			all := make([][]byte, c.frames)
			for i := range all {
				all[i] = frame(c.size, byte(i))
			}
			f.arrive(0, all...)
			q.Kick()
			q.Wait(last)
			d.Eventually("an interrupt for all", func() bool { return d.Interrupts(0) >= c.want })
			if n := d.Interrupts(0); n != c.want {
				t.Errorf("%d interrupts, want %d", n, c.want)
			}
		})
	}
}
