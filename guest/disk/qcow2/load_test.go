package qcow2

import (
	"bytes"
	"errors"
	"math/rand/v2"
	"path/filepath"
	"sync"
	"testing"

	"github.com/gureum/gureum/guest/disk/internal/host"
)

// TestWorkSideBySide has several writers whose bytes lie in the same clusters, others who
// discard and write clusters of their own, and one who flushes and resizes, all at once.
func TestWorkSideBySide(t *testing.T) {
	const (
		workers = 4
		stripe  = 1000
		shared  = 200_000 // bytes that all write to, in stripes
		own     = 60_000  // bytes of each alone
		size    = shared + workers*own
	)
	for _, l := range []Layout{{ClusterSize: 512, RefcountBits: 64}, {ClusterSize: 4096, BackingName: "base"}, {ClusterSize: 65536, BackingName: "base"}} {
		t.Run(l.name(), func(t *testing.T) {
			l.Size = size
			m := create(t, l)
			base := plain(pattern(size, 1))
			// A small cache, so that tables go in and out.
			d, err := Open(m, Config{CacheSize: 8192, OpenBacking: func(string, string) (Backing, error) { return base, nil }})
			if err != nil {
				t.Fatal(err)
			}
			var wg sync.WaitGroup
			for g := range workers {
				wg.Go(func() { stripes(t, d, base, g, workers, stripe, shared) })
				wg.Go(func() { alone(t, d, int64(shared+g*own), own, uint64(g)) })
			}
			stop, flushed := make(chan struct{}), make(chan struct{})
			go func() {
				defer close(flushed)
				for {
					select {
					case <-stop:
						return
					default:
						if err := errors.Join(d.Flush(), d.Resize(min(d.Size()+20_000, 4*size))); err != nil {
							t.Error(err)
						}
					}
				}
			}()
			wg.Wait()
			close(stop)
			<-flushed
			if err := d.Close(); err != nil {
				t.Fatal(err)
			}
			sound(t, m, 0)
		})
	}
}

// stripes writes and reads back every workers'th stripe of the shared bytes.
func stripes(t *testing.T, d *Image, base plain, g, workers, stripe, shared int) {
	if d.backing == nil {
		base = make([]byte, shared)
	}
	got := make([]byte, stripe)
	for round := range 2 {
		for off := g * stripe; off < shared; off += workers * stripe {
			want := []byte(base[off : off+stripe])
			if round > 0 {
				want = pattern(stripe, byte(g+1))
			}
			if _, err := d.ReadAt(got, int64(off)); err != nil || !bytes.Equal(got, want) {
				t.Errorf("worker %d, round %d: offset %d reads otherwise, %v", g, round, off, err)
				return
			}
			if _, err := d.WriteAt(pattern(stripe, byte(g+1+round)), int64(off)); err != nil {
				t.Error(err)
				return
			}
		}
	}
}

// alone does everything to bytes that nobody else touches, but whose clusters come from
// and go to the same file.
func alone(t *testing.T, d *Image, start, n int64, seed uint64) {
	rnd := rand.New(rand.NewPCG(seed, 1))
	want := make([]byte, n)
	if _, err := d.ReadAt(want, start); err != nil {
		t.Error(err)
		return
	}
	for i := range 150 {
		off := rnd.Int64N(n)
		part := min(n-off, 1+rnd.Int64N(20_000))
		p := want[off : off+part]
		var err error
		switch i % 4 {
		case 0:
			clear(p)
			err = d.WriteZeroes(start+off, part, i%8 == 0)
		case 1:
			if err = d.Discard(start+off, part); err == nil {
				_, err = d.ReadAt(p, start+off)
			}
		default:
			copy(p, pattern(len(p), byte(i)))
			_, err = d.WriteAt(p, start+off)
		}
		got := make([]byte, n)
		if err == nil {
			_, err = d.ReadAt(got, start)
		}
		if err != nil || !bytes.Equal(got, want) {
			t.Errorf("worker %d, step %d: the bytes read otherwise, %v", seed, i, err)
			return
		}
	}
}

func onFile(t testing.TB, l Layout) *Image {
	t.Helper()
	f, err := host.Open(filepath.Join(t.TempDir(), "a.qcow2"), host.Options{Create: true})
	if err != nil {
		t.Fatal(err)
	}
	if err := Create(f, l); err != nil {
		t.Fatal(err)
	}
	d, err := Open(f, Config{})
	if err != nil {
		t.Fatal(err)
	}
	return d
}

func TestNoAllocationPerRequest(t *testing.T) {
	d := onFile(t, Layout{Size: 64 << 20})
	defer func() { _ = d.Close() }()
	p := make([]byte, 64<<10)
	for off := int64(0); off < 8<<20; off += int64(len(p)) {
		if _, err := d.WriteAt(p, off); err != nil {
			t.Fatal(err)
		}
	}
	if err := d.settle(); err != nil {
		t.Fatal(err)
	}
	i := int64(0)
	n := testing.AllocsPerRun(1000, func() {
		i++
		off := i * 20480 % (8<<20 - 65536)
		if _, err := d.WriteAt(p[:4096], off); err != nil {
			t.Fatal(err)
		}
		if _, err := d.ReadAt(p, off); err != nil {
			t.Fatal(err)
		}
		if _, err := d.ReadAt(p, off+32<<20); err != nil { // nothing there
			t.Fatal(err)
		}
	})
	if n != 0 {
		t.Errorf("%v allocations a write and two reads", n)
	}
	if n := testing.AllocsPerRun(10, func() {
		if err := d.Flush(); err != nil {
			t.Fatal(err)
		}
	}); n != 0 {
		t.Errorf("%v allocations a flush", n)
	}
}

// TestTablesTakeLittleMemory reads all over a large disk and looks what the cache holds.
func TestTablesTakeLittleMemory(t *testing.T) {
	m := create(t, Layout{Size: 1 << 40, ClusterSize: 65536})
	d, err := Open(m, Config{CacheSize: 64 << 10})
	if err != nil {
		t.Fatal(err)
	}
	if n := len(d.l2.slots); n != 0 {
		t.Errorf("%d slices before the first request", n)
	}
	p := make([]byte, 512)
	for off := int64(0); off < 1<<40; off += 1 << 33 { // a table each
		if _, err := d.WriteAt(p, off); err != nil {
			t.Fatal(err)
		}
	}
	for off := int64(0); off < 1<<40; off += 1 << 33 {
		if _, err := d.ReadAt(p, off); err != nil {
			t.Fatal(err)
		}
	}
	if n := len(d.l2.slots) * d.l2.size; n > 64<<10 {
		t.Errorf("the cache holds %d bytes", n)
	}
	if err := d.Close(); err != nil {
		t.Fatal(err)
	}
	sound(t, m, 0)
}

func benchmark(b *testing.B, f func(d *Image, p []byte, i int64) error) {
	d := onFile(b, Layout{Size: 1 << 30})
	defer func() { _ = d.Close() }()
	p := make([]byte, 1<<20)
	for off := int64(0); off < 256<<20; off += int64(len(p)) {
		if _, err := d.WriteAt(p, off); err != nil {
			b.Fatal(err)
		}
	}
	if err := d.Flush(); err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	i := int64(0)
	for b.Loop() {
		i++
		if err := f(d, p[:4096], i); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkRead4K(b *testing.B) {
	benchmark(b, func(d *Image, p []byte, i int64) error {
		_, err := d.ReadAt(p, i*7919%65536*4096)
		return err
	})
}

func BenchmarkWrite4K(b *testing.B) {
	benchmark(b, func(d *Image, p []byte, i int64) error {
		_, err := d.WriteAt(p, i*7919%65536*4096)
		return err
	})
}
