package blk

import (
	"bytes"
	"runtime"
	"runtime/debug"
	"strconv"
	"testing"

	"github.com/gureum/gureum/virtio/virtiotest"
)

// wheel makes the same requests available again and again, without a driver's
// book-keeping: what allocates then is the device.
type wheel struct {
	q     *virtiotest.Queue
	heads []uint16
}

// newWheel prepares n requests of the given size.
func newWheel(g *guest, kind uint32, n, size int) *wheel {
	w := &wheel{q: g.Queue(0)}
	want := w.q.UsedIndex() + uint16(n)
	for i := range n {
		var r *virtiotest.Request
		if kind == typeIn {
			r = g.submit(0, kind, uint64(i*size/512), nil, size)
		} else {
			r = g.submit(0, kind, uint64(i*size/512), [][]byte{make([]byte, size)})
		}
		alignData(g, r.Head, size)
		w.heads = append(w.heads, r.Head)
	}
	w.wait(want)
	return w
}

// alignData gives the request at head another data buffer, which direct I/O can
// take as it is.
func alignData(g *guest, head uint16, size int) {
	const align = MaxBlockSize
	q := g.Queue(0)
	next, err := g.Memory.ReadU16(q.Desc + 16*uint64(head) + 14)
	if err != nil {
		g.t.Fatal(err)
	}
	gpa, _ := g.Alloc(size + align)
	if err := g.Memory.WriteU64(q.Desc+16*uint64(next), (gpa+align-1)&^(align-1)); err != nil {
		g.t.Fatal(err)
	}
}

func (w *wheel) turn() {
	want := w.q.UsedIndex() + uint16(len(w.heads))
	for _, h := range w.heads {
		w.q.Publish(h)
	}
	w.wait(want)
}

func (w *wheel) wait(used uint16) {
	w.q.Kick()
	for w.q.UsedIndex() != used {
		runtime.Gosched()
	}
}

// TestNoAllocations holds the steady path: page cache, ring, pool, direct.
func TestNoAllocations(t *testing.T) {
	defer debug.SetGCPercent(debug.SetGCPercent(-1))
	eachKind(t, pattern(mib), func(t *testing.T, cfg Config, _ func() []byte) {
		g := start(t, cfg)
		for name, w := range map[string]*wheel{
			"reads":  newWheel(g, typeIn, 16, 4096),
			"writes": newWheel(g, typeOut, 16, 4096),
		} {
			for range 20 {
				w.turn()
			}
			// The figure is that of all goroutines, and the runtime makes threads now
			// and then: what allocates each time is the request's.
			n := 1.0
			for try := 0; try < 4 && n > 0; try++ {
				n = testing.AllocsPerRun(25, w.turn)
			}
			if n > 0 {
				t.Errorf("%s: %v allocations for 16 requests", name, n)
			}
		}
		if s := g.dev.Stats(); s.Reads < 16*45 || s.Writes < 16*45 || s.Errors+s.Refused != 0 {
			t.Errorf("%+v", s)
		}
	})
}

// BenchmarkRequests is the device alone, without a guest: 32 requests of 4 KiB at
// a time from and to the page cache.
func BenchmarkRequests(b *testing.B) {
	for _, k := range kinds {
		for _, op := range []uint32{typeIn, typeOut} {
			for _, depth := range []int{1, 32} {
				name := k.name + "/read/"
				if op == typeOut {
					name = k.name + "/write/"
				}
				b.Run(name+strconv.Itoa(depth), func(b *testing.B) {
					cfg := Config{Engine: k.engine}
					if k.memory {
						cfg.Disk = &memDisk{data: make([]byte, mib)}
					} else {
						cfg.Disk = openImage(b, bytes.Repeat([]byte{1}, mib), k.direct)
					}
					g := start(b, cfg)
					w := newWheel(g, op, depth, 4096)
					b.SetBytes(4096 * int64(depth))
					b.ReportAllocs()
					for b.Loop() {
						w.turn()
					}
				})
			}
		}
	}
}
