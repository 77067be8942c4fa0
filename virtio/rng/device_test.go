package rng

import (
	"bytes"
	"errors"
	"sync/atomic"
	"testing"
	"time"

	"github.com/gureum/gureum/virtio"
	"github.com/gureum/gureum/virtio/queue"
	"github.com/gureum/gureum/virtio/ratelimit"
	"github.com/gureum/gureum/virtio/virtiotest"
)

func TestBuffersAreFilled(t *testing.T) {
	d := virtiotest.New(t, New(Config{}))
	for _, features := range []uint64{0, virtiotest.AllFeatures} {
		d.Start(features)
		q := d.Queue(0)
		for _, sizes := range [][]int{{1}, {64}, {8, 8, 4096, 1}, {MaxRequest}} {
			r, written := q.Do(nil, sizes...)
			total := 0
			for _, n := range sizes {
				total += n
			}
			if int(written) != total {
				t.Fatalf("%d bytes written to buffers of %v", written, sizes)
			}
			if total >= 64 && bytes.Equal(r.AllWritable(), make([]byte, total)) {
				t.Errorf("%d bytes are all zero", total)
			}
		}
		d.Reset()
	}
}

func TestRequestsAreBounded(t *testing.T) {
	d := virtiotest.New(t, New(Config{}))
	d.Start(0)
	r, written := d.Queue(0).Do(nil, 1000, 10*MaxRequest)
	if written != MaxRequest {
		t.Errorf("%d bytes written, want %d", written, MaxRequest)
	}
	if tail := r.Writable(1)[MaxRequest-1000:]; !bytes.Equal(tail, make([]byte, len(tail))) {
		t.Error("bytes behind the bound were written")
	}
}

// TestReadableIsIgnored gives the device a buffer that it may only read.
func TestReadableIsIgnored(t *testing.T) {
	d := virtiotest.New(t, New(Config{}))
	d.Start(0)
	if _, written := d.Queue(0).Do([][]byte{{1, 2, 3}}, 16); written != 16 {
		t.Errorf("%d bytes written", written)
	}
	if _, written := d.Queue(0).Do([][]byte{{1, 2, 3}}); written != 0 {
		t.Errorf("%d bytes written to a chain without room", written)
	}
}

func TestSourceThatFailsBreaksTheQueue(t *testing.T) {
	d := virtiotest.New(t, New(Config{Source: func([]byte) error { return errors.New("none left") }}))
	d.Start(0)
	d.Queue(0).Submit(nil, 16)
	d.Queue(0).Kick()
	d.Eventually("the device needs a reset", func() bool { return d.Core.Status()&virtio.StatusNeedsReset != 0 })
}

// TestRateLimit holds that a second request waits, and that a reset ends the wait.
func TestRateLimit(t *testing.T) {
	var filled atomic.Int64
	device := New(Config{
		Limit:  ratelimit.Config{Bytes: ratelimit.Bucket{Size: 64, Refill: time.Hour}},
		Source: func(b []byte) error { filled.Add(int64(len(b))); return nil },
	})
	d := virtiotest.New(t, device)
	d.Start(0)
	q := d.Queue(0)
	if _, written := q.Do(nil, 64); written != 64 {
		t.Fatalf("%d bytes written", written)
	}
	q.Submit(nil, 64)
	q.Kick()
	time.Sleep(20 * time.Millisecond)
	d.Reset()
	if n := filled.Load(); n != 64 {
		t.Errorf("%d bytes taken from the source, want 64", n)
	}
	// A reset does not fill the guest's purse.
	d.Start(0)
	d.Queue(0).Submit(nil, 64)
	d.Queue(0).Kick()
	time.Sleep(20 * time.Millisecond)
	if n := filled.Load(); n != 64 {
		t.Errorf("%d bytes taken from the source after a reset, want 64", n)
	}
}

func TestHandleDoesNotAllocate(t *testing.T) {
	w := &worker{source: getrandom, limit: ratelimit.New(ratelimit.Config{Bytes: ratelimit.PerSecond(1 << 40)})}
	c := &queue.Chain{Writable: [][]byte{make([]byte, 64), make([]byte, 512)}, WriteLen: 576}
	if n := testing.AllocsPerRun(100, func() {
		if got, err := w.handle(c); got != 576 || err != nil {
			t.Fatal(got, err)
		}
	}); n != 0 {
		t.Errorf("%v allocations a request", n)
	}
}

func TestHostileDriver(t *testing.T) {
	virtiotest.Hammer(t, func() virtio.Device { return New(Config{}) }, 20000, 1)
}
