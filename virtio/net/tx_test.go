package net

import (
	"bytes"
	"testing"
	"time"

	"github.com/gureum/gureum/virtio/ratelimit"
	"github.com/gureum/gureum/virtio/virtiotest"
)

// header in the guest's form.
func guestHeader(h header) []byte {
	var b [HeaderSize]byte
	h.put(&b)
	return b[:]
}

func TestSend(t *testing.T) {
	f := newFake(1)
	_, d := mustNew(t, f, nil)
	d.Start(virtiotest.AllFeatures)
	q := d.Queue(1)
	h := header{flags: flagNeedsCsum, gsoType: gsoTCPv4, hdrLen: 54, gsoSize: 1448, csumStart: 34, csumOffset: 16}
	in := append(guestHeader(h), frame(5000, 1)[HeaderSize:]...)
	in[0] |= 0x80 // a flag that nobody knows
	for _, parts := range [][][]byte{{in}, {in[:12], in[12:]}, {in[:5], in[5:20], in[20:3000], in[3000:]}} {
		for _, q.Indirect = range []bool{false, true} {
			if _, n := q.Do(parts); n != 0 {
				t.Errorf("%d bytes written", n)
			}
		}
	}
	want := append([]byte{flagNeedsCsum}, in[1:]...)
	got := f.sent()
	if len(got) != 6 {
		t.Fatalf("%d frames", len(got))
	}
	for i := range got {
		if !bytes.Equal(got[i], want) {
			t.Errorf("frame %d is not what was sent", i)
		}
	}
}

func TestSendBad(t *testing.T) {
	f := newFake(1)
	dev, d := mustNew(t, f, nil)
	d.Start(without(FeatureHostTSO6, FeatureHostECN))
	q := d.Queue(1)
	body := frame(100, 1)[HeaderSize:]
	bad := [][]byte{
		{1, 2, 3},
		frame(13, 1),
		frame(maxFrame, 1),
		append(guestHeader(header{flags: 1, csumStart: 90, csumOffset: 9}), body...),
		append(guestHeader(header{flags: 1, csumStart: 0xffff, csumOffset: 0xffff}), body...),
		append(guestHeader(header{flags: 1, gsoType: gsoTCPv6, gsoSize: 1000}), body...),
		append(guestHeader(header{flags: 1, gsoType: gsoTCPv4 | gsoECN, gsoSize: 1000}), body...),
		append(guestHeader(header{flags: 1, gsoType: gsoTCPv4}), body...),
		append(guestHeader(header{gsoType: gsoTCPv4, gsoSize: 1000}), body...),
		append(guestHeader(header{gsoType: 2, gsoSize: 1000}), body...),
		append(guestHeader(header{gsoType: 0x7f, gsoSize: 1000}), body...),
	}
	for _, b := range bad {
		q.Do([][]byte{b})
	}
	if s := dev.Stats(); s.TXErrors != uint64(len(bad)) || len(f.sent()) != 0 {
		t.Errorf("%+v for %d bad frames, %d sent", s, len(bad), len(f.sent()))
	}
	q.Do(nil, 100) // writable only: no frame at all
	q.Do([][]byte{frame(60, 1)})
	if len(f.sent()) != 1 {
		t.Error("the queue does not go on")
	}
}

// TestSendBackPressure holds that no frame is lost when the host takes none.
func TestSendBackPressure(t *testing.T) {
	f := newFake(1)
	dev, d := mustNew(t, f, nil)
	f.full = true
	d.Start(virtiotest.AllFeatures)
	q := d.Queue(1)
	var reqs []*virtiotest.Request
	for i := range 200 {
		reqs = append(reqs, q.Submit([][]byte{frame(60, byte(i))}))
	}
	q.Kick()
	time.Sleep(5 * time.Millisecond)
	if q.UsedIndex() != 0 {
		t.Fatal("a frame was given back that was not sent")
	}
	f.do(func() { f.full = false })
	for _, r := range reqs {
		q.Wait(r)
	}
	for i, got := range f.sent() {
		if got[HeaderSize] != byte(i) {
			t.Fatalf("frame %d is frame %d", i, got[HeaderSize])
		}
	}
	if s := dev.Stats(); s != (Stats{}) || len(f.sent()) != 200 {
		t.Errorf("%+v, %d frames", s, len(f.sent()))
	}
}

func TestSendRefused(t *testing.T) {
	f := newFake(1)
	dev, d := mustNew(t, f, nil)
	f.fail = errRefused
	d.Start(virtiotest.AllFeatures)
	d.Queue(1).Do([][]byte{frame(60, 1)})
	if s := dev.Stats(); s.TXDropped != 1 {
		t.Errorf("%+v", s)
	}
}

func TestSendWhileDown(t *testing.T) {
	f := newFake(2)
	dev, d := mustNew(t, f, nil)
	d.Start(virtiotest.AllFeatures)
	d.Queue(3).Do([][]byte{frame(60, 1)}) // a pair that is not switched on
	if err := dev.SetLink(false); err != nil {
		t.Fatal(err)
	}
	d.Queue(1).Do([][]byte{frame(60, 1)})
	if s := dev.Stats(); s.TXDropped != 2 || len(f.sent()) != 0 {
		t.Errorf("%+v, %d frames", s, len(f.sent()))
	}
}

func TestSendLimit(t *testing.T) {
	f := newFake(1)
	_, d := mustNew(t, f, func(c *Config) {
		c.TX.Bytes = ratelimit.Bucket{Size: 10000, Refill: 100 * time.Millisecond}
	})
	d.Start(virtiotest.AllFeatures)
	q := d.Queue(1)
	start := time.Now()
	for range 30 {
		q.Do([][]byte{frame(1000, 1)})
	}
	if took := time.Since(start); took < 180*time.Millisecond || len(f.sent()) != 30 {
		t.Errorf("%d frames in %s", len(f.sent()), took)
	}
}

// TestLimitsChange sets a limit while a device runs, and takes it away.
func TestLimitsChange(t *testing.T) {
	f := newFake(1)
	dev, d := mustNew(t, f, nil)
	d.Start(virtiotest.AllFeatures)
	q := d.Queue(1)
	limit := ratelimit.Config{Ops: ratelimit.Bucket{Size: 1, Refill: 50 * time.Millisecond}}
	if err := dev.SetLimit(ratelimit.Config{}, limit); err != nil {
		t.Fatal(err)
	}
	start := time.Now()
	for range 5 {
		q.Do([][]byte{frame(100, 1)})
	}
	if took := time.Since(start); took < 180*time.Millisecond {
		t.Errorf("5 frames in %s", took)
	}
	if err := dev.SetLimit(ratelimit.Config{}, ratelimit.Config{}); err != nil || dev.txLimit.on() {
		t.Error(err)
	}
	q.Do([][]byte{frame(100, 1)})
	if err := dev.SetLimit(ratelimit.Config{Bytes: ratelimit.Bucket{Burst: 1}}, limit); err == nil {
		t.Error("a burst without a size is taken")
	}
}
