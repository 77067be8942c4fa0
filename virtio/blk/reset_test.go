package blk

import (
	"bytes"
	"os"
	"runtime"
	"testing"
	"time"

	"github.com/gureum/gureum/virtio"
	"github.com/gureum/gureum/virtio/virtiotest"
)

// TestResetWaits resets a device while a slow disk has the guest's buffers: Reset
// returns when the disk has let go of them, and nothing changes afterwards.
func TestResetWaits(t *testing.T) {
	m := &memDisk{data: pattern(mib), gate: make(chan struct{}), entered: make(chan struct{}, 100)}
	g := start(t, Config{Disk: m})
	var all []*virtiotest.Request
	for i := range 40 {
		all = append(all, g.submit(0, typeIn, uint64(i), nil, 300<<10)) // too long for the lane itself
	}
	g.Queue(0).Kick()
	for range maxWorkers {
		<-m.entered
	}
	finished := make(chan struct{})
	go func() {
		defer close(finished)
		g.Reset()
	}()
	select {
	case <-finished:
		t.Fatal("the reset did not wait for the disk")
	case <-time.After(50 * time.Millisecond):
	}
	close(m.gate)
	<-finished
	used := g.Queue(0).UsedIndex()
	before := make([][]byte, len(all))
	for i, r := range all {
		before[i] = r.AllWritable()
	}
	time.Sleep(20 * time.Millisecond)
	for i, r := range all {
		if !bytes.Equal(before[i], r.AllWritable()) {
			t.Fatal("guest memory changed after the reset")
		}
	}
	if used != 0 || g.Queue(0).UsedIndex() != 0 {
		t.Errorf("%d requests were given back by a reset", used)
	}
	g.Start(virtiotest.AllFeatures)
	if !bytes.Equal(g.read(7, 512), m.data[7*512:8*512]) {
		t.Error("the device does not work after the reset")
	}
}

// TestResetCancelsRing resets a device whose requests the kernel would never end:
// reads from a pipe that nobody writes to.
func TestResetCancelsRing(t *testing.T) {
	pr, pw, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer pw.Close()
	g := newGuest(t, Config{Disk: &fileDisk{memDisk{data: make([]byte, mib)}, pr}, Engine: EngineIOURing})
	g.dev.nowait = true // what reads wait for, they wait for in the kernel
	g.Start(virtiotest.AllFeatures)
	for range 8 {
		g.submit(0, typeIn, 0, nil, 4096)
	}
	g.Queue(0).Kick()
	time.Sleep(20 * time.Millisecond)
	begin := time.Now()
	g.Reset()
	if d := time.Since(begin); d > 5*time.Second {
		t.Errorf("the reset took %s", d)
	}
	if n := g.Queue(0).UsedIndex(); n != 0 {
		t.Errorf("%d requests were given back", n)
	}
}

// TestResetOften resets with requests in every state.
func TestResetOften(t *testing.T) {
	content := pattern(mib)
	eachKind(t, content, func(t *testing.T, cfg Config, now func() []byte) {
		cfg.Queues = 2
		g := newGuest(t, cfg)
		for round := range 50 {
			g.Start(virtiotest.AllFeatures)
			for i := range 20 {
				g.submit(i%2, typeIn, uint64(i), nil, 4096<<(i%5))
				g.submit(i%2, typeFlush, 0, nil)
				g.submit(i%2, typeOut, uint64(i*8), [][]byte{content[i*4096:][:4096]})
			}
			g.Queue(0).Kick()
			g.Queue(1).Kick()
			for range 2 * round {
				runtime.Gosched()
			}
			g.Reset()
		}
		if !bytes.Equal(now(), content) {
			t.Error("the disk changed")
		}
	})
}

// TestRingReset resets one queue while the other goes on.
func TestRingReset(t *testing.T) {
	eachKind(t, pattern(mib), func(t *testing.T, cfg Config, _ func() []byte) {
		cfg.Queues = 2
		g := start(t, cfg)
		for range 50 {
			g.submit(0, typeIn, 0, nil, 65536)
		}
		g.Queue(0).Kick()
		g.Core.ResetQueue(0)
		r := g.submit(1, typeIn, 5, nil, 512)
		g.Queue(1).Kick()
		g.Queue(1).Wait(r)
		if status(r) != statusOK || !bytes.Equal(r.Writable(0), pattern(mib)[5*512:6*512]) {
			t.Error("the other queue does not work")
		}
		if s := g.Core.Status(); s&virtio.StatusNeedsReset != 0 {
			t.Errorf("status %#x", s)
		}
		if g.Core.Queue(0).Enabled {
			t.Error("the queue is still enabled")
		}
	})
}

func TestActivateTwice(t *testing.T) {
	g := start(t, Config{Disk: &memDisk{data: make([]byte, mib)}})
	if err := g.dev.Activate(virtio.Activation{Memory: g.Memory}); err == nil {
		t.Error("an active device was activated")
	}
	g.read(0, 512)
}

// TestResetLetsGo looks for writes to guest memory after a reset with reads in
// flight, of buffers that the kernel fills itself where it can.
func TestResetLetsGo(t *testing.T) {
	eachKind(t, bytes.Repeat([]byte{1}, 4*mib), func(t *testing.T, cfg Config, _ func() []byte) {
		g := newGuest(t, cfg)
		const n, size = 32, 65536
		for round := range 20 {
			g.Start(virtiotest.AllFeatures)
			w := newWheel(g, typeIn, n, size)
			for _, h := range w.heads {
				w.q.Publish(h)
			}
			w.q.Kick()
			for range round * 20 {
				runtime.Gosched()
			}
			g.Reset()
			all, err := g.Memory.Slice(8*mib, 32*mib)
			if err != nil {
				t.Fatal(err)
			}
			for i := 0; i < len(all); i += 4096 {
				all[i] = 2
			}
			time.Sleep(2 * time.Millisecond)
			for i := 0; i < len(all); i += 4096 {
				if all[i] != 2 {
					t.Fatalf("round %d: guest memory at %#x changed after the reset", round, 8*mib+i)
				}
			}
		}
	})
}
