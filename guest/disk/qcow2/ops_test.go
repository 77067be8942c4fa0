package qcow2

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"testing"

	"github.com/gureum/gureum/guest/disk/internal/host"
)

// plain is a Backing of bytes.
type plain []byte

func (p plain) ReadAt(b []byte, off int64) (int, error) { return copy(b, p[off:]), nil }
func (p plain) Size() int64                             { return int64(len(p)) }
func (p plain) Close() error                            { return nil }

func pattern(n int, seed byte) []byte {
	p := make([]byte, n)
	for i := range p {
		p[i] = byte(i*7+i>>8) ^ seed
	}
	return p
}

func create(t testing.TB, l Layout) *memory {
	t.Helper()
	m := &memory{}
	if err := Create(m, l); err != nil {
		t.Fatal(err)
	}
	return m
}

func openOn(t testing.TB, m *memory, backing Backing) *Image {
	t.Helper()
	d, err := Open(m, Config{OpenBacking: func(string, string) (Backing, error) { return backing, nil }})
	if err != nil {
		t.Fatal(err)
	}
	return d
}

func sound(t testing.TB, m *memory, leaks int64) {
	t.Helper()
	r, err := Check(m)
	if err != nil {
		t.Fatal(err)
	}
	if r.Errors != 0 || r.Leaks > leaks {
		t.Fatalf("check: %+v", r)
	}
}

// oracle is a disk as plain bytes beside the image under test.
type oracle struct {
	d    *Image
	want []byte
	weak []bool // bytes that a discard left open; nil where discards read as zeroes
}

func (o *oracle) verify(t testing.TB) {
	t.Helper()
	got := make([]byte, len(o.want))
	if _, err := o.d.ReadAt(got, 0); err != nil {
		t.Fatal(err)
	}
	for i := range got {
		if got[i] != o.want[i] && !o.weak[i] {
			t.Fatalf("byte %#x is %#x, want %#x", i, got[i], o.want[i])
		}
	}
}

// step does one random thing to both.
func (o *oracle) step(t testing.TB, rnd *rand.Rand, reopen func()) {
	t.Helper()
	size := int64(len(o.want))
	off := rnd.Int64N(size)
	n := min(size-off, 1+rnd.Int64N(1<<rnd.UintN(18)))
	fill := func(v byte, weak bool) {
		for i := off; i < off+n; i++ {
			o.want[i], o.weak[i] = v, weak
		}
	}
	var err error
	switch k := rnd.UintN(20); {
	case k < 11:
		p := pattern(int(n), byte(rnd.Uint32()))
		_, err = o.d.WriteAt(p, off)
		copy(o.want[off:], p)
		for i := off; i < off+n; i++ {
			o.weak[i] = false
		}
	case k < 13:
		err = o.d.Discard(off, n)
		for i := off; i < off+n; i++ {
			o.weak[i] = true
		}
	case k < 16:
		err = o.d.WriteZeroes(off, n, k == 13)
		fill(0, false)
	case k < 18:
		got := make([]byte, n)
		_, err = o.d.ReadAt(got, off)
		for i := range got {
			if at := off + int64(i); got[i] != o.want[at] && !o.weak[at] {
				t.Fatalf("byte %#x is %#x, want %#x", at, got[i], o.want[at])
			}
		}
	case k == 18:
		err = o.d.Flush()
	default:
		reopen()
	}
	if err != nil {
		t.Fatal(err)
	}
}

var layouts = []Layout{
	{ClusterSize: 512},
	{ClusterSize: 512, RefcountBits: 1},
	{ClusterSize: 512, RefcountBits: 64},
	{ClusterSize: 1024, Version: 2},
	{ClusterSize: 4096, RefcountBits: 2},
	{ClusterSize: 8192, RefcountBits: 4},
	{ClusterSize: 65536, RefcountBits: 8},
	{ClusterSize: 65536, RefcountBits: 32},
	{ClusterSize: 65536},
	{ClusterSize: 2 << 20, Zstd: true},
}

func (l Layout) name() string {
	return fmt.Sprintf("cluster=%d,bits=%d,v%d,base=%v", l.ClusterSize, l.RefcountBits, l.Version, l.BackingName != "")
}

// steps is how many requests an image of that layout gets: fewer where each moves much.
func steps(l Layout, n int) int {
	if l.ClusterSize > 1<<20 {
		return n / 8
	}
	return n
}

func TestRandomWorkMatchesPlainBytes(t *testing.T) {
	for _, l := range layouts {
		for _, base := range []int{0, 300_001} {
			l.Size = 1<<20 + 12_345
			if base > 0 {
				l.BackingName, l.BackingFormat = "base", "raw"
			}
			t.Run(l.name(), func(t *testing.T) {
				m := create(t, l)
				backing := plain(pattern(base, 3))
				o := &oracle{d: openOn(t, m, backing), want: make([]byte, l.Size), weak: make([]bool, l.Size)}
				copy(o.want, backing)
				rnd := rand.New(rand.NewPCG(1, uint64(l.ClusterSize)))
				for range steps(l, 200) {
					o.step(t, rnd, func() {
						if err := o.d.Close(); err != nil {
							t.Fatal(err)
						}
						sound(t, m, 0)
						o.d = openOn(t, m, backing)
					})
				}
				o.verify(t)
				if err := o.d.Close(); err != nil {
					t.Fatal(err)
				}
				sound(t, m, 0)
				o.d = openOn(t, m, backing)
				o.verify(t)
			})
		}
	}
}

// TestABlockDeviceMayHoldAnything puts images on a device full of old bytes.
func TestABlockDeviceMayHoldAnything(t *testing.T) {
	for _, l := range layouts {
		l.Size = 1<<20 + 12_345
		t.Run(l.name(), func(t *testing.T) {
			m := &memory{data: bytes.Repeat([]byte{0xa5}, 12<<20), device: true}
			if err := Create(m, l); err != nil {
				t.Fatal(err)
			}
			o := &oracle{d: openOn(t, m, nil), want: make([]byte, l.Size), weak: make([]bool, l.Size)}
			rnd := rand.New(rand.NewPCG(2, uint64(l.ClusterSize)))
			for range steps(l, 200) {
				o.step(t, rnd, func() {
					if err := o.d.Close(); err != nil {
						t.Fatal(err)
					}
					sound(t, m, 0)
					o.d = openOn(t, m, nil)
				})
			}
			o.verify(t)
			if err := o.d.Close(); err != nil || len(m.data) != 12<<20 {
				t.Fatal(err, len(m.data))
			}
			sound(t, m, 0)
		})
	}
}

func TestTableOfCountsGrows(t *testing.T) {
	// 512-byte clusters with 64-bit counts: a block covers 32 KiB, a table cluster 2 MiB.
	l := Layout{Size: 12 << 20, ClusterSize: 512, RefcountBits: 64}
	m := create(t, l)
	d := openOn(t, m, nil)
	want := pattern(int(l.Size), 9)
	for off := 0; off < len(want); off += 100_000 {
		p := want[off:min(off+100_000, len(want))]
		if _, err := d.WriteAt(p, int64(off)); err != nil {
			t.Fatal(err)
		}
	}
	if err := d.Close(); err != nil {
		t.Fatal(err)
	}
	sound(t, m, 0)
	d = openOn(t, m, nil)
	got := make([]byte, l.Size)
	if _, err := d.ReadAt(got, 0); err != nil || !bytes.Equal(got, want) {
		t.Fatal("read back differs", err)
	}
	if d.refs.clusters < 4 {
		t.Errorf("the table has %d clusters: it did not grow", d.refs.clusters)
	}
}

func TestResize(t *testing.T) {
	for _, l := range layouts {
		l.Size, l.BackingName = 100_000, "base"
		t.Run(l.name(), func(t *testing.T) {
			m := create(t, l)
			base := plain(pattern(3<<20, 5))
			d := openOn(t, m, base)
			want := append(bytes.Clone(base[:l.Size]), make([]byte, 5<<20-l.Size)...)
			if _, err := d.WriteAt([]byte{1}, l.Size-1); err != nil {
				t.Fatal(err)
			}
			want[l.Size-1] = 1
			if err := d.Resize(l.Size - 1); !errors.Is(err, host.ErrShrink) {
				t.Errorf("shrink: %v", err)
			}
			for _, n := range []int64{l.Size + 1, 1 << 20, 5 << 20} {
				if err := d.Resize(n); err != nil {
					t.Fatal(err)
				}
				got := make([]byte, n)
				if _, err := d.ReadAt(got, 0); err != nil || !bytes.Equal(got, want[:n]) {
					t.Fatalf("size %d: read back differs, %v", n, err)
				}
			}
			if _, err := d.WriteAt([]byte{2}, 5<<20-1); err != nil {
				t.Fatal(err)
			}
			want[5<<20-1] = 2
			if err := d.Close(); err != nil {
				t.Fatal(err)
			}
			sound(t, m, 0)
			d = openOn(t, m, base)
			got := make([]byte, 5<<20)
			if _, err := d.ReadAt(got, 0); err != nil || !bytes.Equal(got, want) {
				t.Fatal("read back differs", err)
			}
		})
	}
}
