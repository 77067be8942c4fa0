package qcow2

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"runtime"
	"strings"
	"testing"

	"github.com/gureum/gureum/guest/disk/internal/host"
	"golang.org/x/sys/unix"
)

func put32(off int, v uint32) func(p []byte) {
	return func(p []byte) { binary.BigEndian.PutUint32(p[off:], v) }
}

func put64(off int, v uint64) func(p []byte) {
	return func(p []byte) { binary.BigEndian.PutUint64(p[off:], v) }
}

func TestHostileHeaders(t *testing.T) {
	name := append([]byte{0, 5}, "teleportation\x00"...)
	for _, c := range []struct {
		name   string
		change []func(p []byte)
		want   error
		says   string
	}{
		{"magic", []func(p []byte){put32(0, 0)}, host.ErrFormat, "no qcow2"},
		{"version", []func(p []byte){put32(4, 1)}, host.ErrUnsupported, "version 1"},
		{"tiny clusters", []func(p []byte){put32(20, 8)}, host.ErrUnsupported, "2^8"},
		{"huge clusters", []func(p []byte){put32(20, 1<<31)}, host.ErrUnsupported, "2^"},
		{"size", []func(p []byte){put64(24, 1<<63)}, host.ErrUnsupported, "disk of"},
		{"size beyond L1", []func(p []byte){put64(24, 1<<40)}, host.ErrCorrupt, "L1 table of"},
		{"encryption", []func(p []byte){put32(32, 2)}, host.ErrUnsupported, "encryption"},
		{"L1 of 4 billion", []func(p []byte){put32(36, 1<<32-1)}, host.ErrUnsupported, "L1 table of"},
		{"L1 past the file", []func(p []byte){put32(36, 1<<21)}, host.ErrCorrupt, "past the end"},
		{"L1 nowhere", []func(p []byte){put64(40, 0)}, host.ErrCorrupt, "L1 table at"},
		{"L1 off its cluster", []func(p []byte){put64(40, 513)}, host.ErrCorrupt, "L1 table at"},
		{"L1 at the end of numbers", []func(p []byte){put64(40, 1<<64-512)}, host.ErrCorrupt, "L1 table at"},
		{"L1 over the header", []func(p []byte){put64(40, 512)}, host.ErrCorrupt, "two tables"},
		{"no counts", []func(p []byte){put32(56, 0)}, host.ErrCorrupt, "reference count table"},
		{"counts of 4 billion clusters", []func(p []byte){put32(56, 1<<32-1)}, host.ErrCorrupt, "reference count table"},
		{"snapshots", []func(p []byte){put32(60, 1<<32-1)}, host.ErrUnsupported, "snapshots"},
		{"feature", []func(p []byte){put64(72, 1<<5)}, host.ErrUnsupported, "bit 5"},
		{"named feature", []func(p []byte){put64(72, 1<<5), put32(112, extFeatureNames), put32(116, 48), func(p []byte) { copy(p[120:], name) }}, host.ErrUnsupported, "teleportation"},
		{"data file", []func(p []byte){put64(72, incompatDataFile)}, host.ErrUnsupported, "external data file"},
		{"extended L2", []func(p []byte){put64(72, incompatExtendedL2)}, host.ErrUnsupported, "extended L2"},
		{"corrupt", []func(p []byte){put64(72, incompatCorrupt)}, host.ErrCorrupt, "marked"},
		{"compression", []func(p []byte){put64(72, incompatCompression)}, host.ErrCorrupt, "compression type 0"},
		{"unknown compression", []func(p []byte){put64(72, incompatCompression), func(p []byte) { p[104] = 9 }}, host.ErrUnsupported, "compression type 9"},
		{"width of counts", []func(p []byte){put32(96, 7)}, host.ErrCorrupt, "2^7"},
		{"header length", []func(p []byte){put32(100, 1<<31)}, host.ErrCorrupt, "header length"},
		{"odd header length", []func(p []byte){put32(100, 107)}, host.ErrCorrupt, "header length"},
		{"extension", []func(p []byte){put32(112, 77), put32(116, 1<<32-1)}, host.ErrCorrupt, "extension"},
		{"backing name", []func(p []byte){put64(8, 1<<64-1), put32(16, 100)}, host.ErrCorrupt, "backing file name"},
		{"long backing name", []func(p []byte){put64(8, 112), put32(16, 1<<31)}, host.ErrCorrupt, "backing file name"},
		{"backing file", []func(p []byte){put64(8, 112), put32(16, 4)}, host.ErrBacking, ""},
	} {
		m := create(t, Layout{Size: 1 << 20, ClusterSize: 512})
		for _, change := range c.change {
			change(m.data)
		}
		before := memoryTaken()
		d, err := Open(m, Config{})
		if !errors.Is(err, c.want) || !strings.Contains(err.Error(), c.says) {
			t.Errorf("%s: %v", c.name, err)
		}
		if d != nil {
			t.Errorf("%s: there is an image with the error", c.name)
		}
		if taken := memoryTaken() - before; taken > 1<<20 {
			t.Errorf("%s: opening it took %d bytes", c.name, taken)
		}
	}
	for n := range 200 {
		m := create(t, Layout{Size: 1 << 20, ClusterSize: 512})
		m.data = m.data[:n]
		if _, err := Open(m, Config{}); err == nil {
			t.Errorf("a file of %d bytes opens", n)
		}
	}
}

func memoryTaken() uint64 {
	var s runtime.MemStats
	runtime.ReadMemStats(&s)
	return s.TotalAlloc
}

// layout of the image under the tests below: header, table of counts, block of counts, L1,
// L2, data, in clusters of 512 bytes.
const (
	atTable = 512
	atBlock = 1024
	atL1    = 1536
	atL2    = 2048
)

func smallImage(t *testing.T) *memory {
	m := create(t, Layout{Size: 32 << 10, ClusterSize: 512})
	d := openOn(t, m, nil)
	if _, err := d.WriteAt(pattern(4096, 1), 0); err != nil {
		t.Fatal(err)
	}
	if err := d.Close(); err != nil {
		t.Fatal(err)
	}
	if got := binary.BigEndian.Uint64(m.data[atL1:]); got != atL2|entryCopied {
		t.Fatalf("the L2 table is at %#x", got)
	}
	return m
}

func TestHostileTables(t *testing.T) {
	for _, c := range []struct {
		name   string
		change func(p []byte)
		opens  bool // for writing; faults of L2 entries come to light when they are used
	}{
		{"L2 over the header", put64(atL1, entryCopied), true},
		{"L2 over the L1", put64(atL1, entryCopied|atL1), false},
		{"L2 over the counts", put64(atL1, entryCopied|atBlock), false},
		{"L2 past the file", put64(atL1, entryCopied|1<<40), false},
		{"L2 at the highest offset", put64(atL1, entryCopied|entryOffset), false},
		{"block of counts over their table", put64(atTable, atTable), false},
		{"block of counts past the file", put64(atTable, 1<<63), false},
		{"data over the header's table", put64(atL2, entryCopied|atTable), true},
		{"data over the L1", put64(atL2, entryCopied|atL1), true},
		{"data over its own L2", put64(atL2, entryCopied|atL2), true},
		{"data past the file", put64(atL2, entryCopied|1<<40), true},
		{"kept place over the L1", put64(atL2, entryCopied|entryZero|atL1), true},
		{"compressed past the file", put64(atL2, entryCompressed|1<<40), true},
		{"compressed over tables", put64(atL2, entryCompressed|1<<61|atTable), true},
	} {
		m := smallImage(t)
		c.change(m.data)
		tables := bytes.Clone(m.data[:atL2])
		report, err := Check(m)
		if err != nil || (report.Errors == 0 && c.name != "L2 over the header") {
			t.Errorf("%s: our check says %+v, %v", c.name, report, err)
		}
		d, err := Open(m, Config{})
		if c.opens != (err == nil) {
			t.Errorf("%s: open: %v", c.name, err)
		}
		if err != nil {
			if !errors.Is(err, host.ErrCorrupt) {
				t.Errorf("%s: open: %v", c.name, err)
			}
			continue
		}
		// Whatever the guest does, the tables that its data lies over stay.
		for range 3 {
			_, _ = d.WriteAt(pattern(512, 0xaa), 0)
			_, _ = d.WriteAt(pattern(100, 0xbb), 30)
			_ = d.Flush()
			_ = d.Discard(0, 512)
			_ = d.WriteZeroes(0, 512, true)
			_ = d.WriteZeroes(0, 512, false)
			_ = d.Flush()
		}
		_ = d.Close()
		if !bytes.Equal(m.data[:atTable], tables[:atTable]) || !bytes.Equal(m.data[atTable:atTable+8], tables[atTable:atTable+8]) {
			t.Errorf("%s: a guest's writes changed the image's header or tables", c.name)
		}
		if e := binary.BigEndian.Uint64(m.data[atL1:]); e&entryOffset != atL2 && c.name != "L2 over the header" {
			t.Errorf("%s: the L1 entry became %#x", c.name, e)
		}
	}
}

// TestFaultsOfTheHost has writes fail here and there. The guest sees the error, and when
// the fault is gone all is as it should be.
func TestFaultsOfTheHost(t *testing.T) {
	for _, fault := range []error{unix.ENOSPC, unix.EIO} {
		for every := 2; every < 12; every++ {
			m := create(t, Layout{Size: 300_000, ClusterSize: 1024, RefcountBits: 64})
			d := openOn(t, m, nil)
			n := 0
			m.fail = func(o op) error {
				if n++; n%every == 0 && o.kind != opZero {
					return fault
				}
				return nil
			}
			want, unsure := make([]byte, 300_000), make([]bool, 300_000)
			failed := 0
			for i := range 150 {
				off := i * 7919 % 290_000
				p := pattern(1+i*613%9000, byte(i))
				_, err := d.WriteAt(p, int64(off))
				if err == nil {
					copy(want[off:], p)
					for b := off; b < off+len(p); b++ {
						unsure[b] = false
					}
				} else {
					if failed++; !errors.Is(err, fault) {
						t.Fatalf("%v in place of %v", err, fault)
					}
					for b := off; b < off+len(p); b++ {
						unsure[b] = true
					}
				}
				if i%10 == 0 {
					if err := d.Flush(); err != nil && !errors.Is(err, fault) {
						t.Fatalf("%v in place of %v", err, fault)
					}
				}
			}
			m.fail = nil
			if failed == 0 {
				t.Errorf("every %d: no write failed", every)
			}
			if d.broken == nil {
				if err := d.Close(); err != nil {
					t.Fatal(err)
				}
				sound(t, m, 0)
				d = openOn(t, m, nil)
			}
			got := make([]byte, len(want))
			if _, err := d.ReadAt(got, 0); err != nil {
				t.Fatal(err)
			}
			for i := range got {
				if got[i] != want[i] && !unsure[i] {
					t.Fatalf("every %d: byte %#x is %#x, want %#x", every, i, got[i], want[i])
				}
			}
		}
	}
}

func TestReadOnlyImagesAreLeftAlone(t *testing.T) {
	m := smallImage(t)
	put64(offAutoclear, 1)(m.data)
	put64(offIncompatible, incompatDirty|incompatCorrupt)(m.data)
	m.fail = func(op) error { return io.ErrClosedPipe }
	d, err := Open(m, Config{ReadOnly: true})
	if err != nil {
		t.Fatal(err)
	}
	p := make([]byte, 4096)
	if _, err := d.ReadAt(p, 0); err != nil || !bytes.Equal(p, pattern(4096, 1)) {
		t.Error("it reads otherwise", err)
	}
	_, err = d.WriteAt(p, 0)
	for _, err := range []error{err, d.Discard(0, 512), d.WriteZeroes(0, 512, true), d.Resize(1 << 20)} {
		if !errors.Is(err, host.ErrReadOnly) {
			t.Errorf("%v in place of %v", err, host.ErrReadOnly)
		}
	}
	if err := errors.Join(d.Flush(), d.Close()); err != nil {
		t.Error(err)
	}
}
