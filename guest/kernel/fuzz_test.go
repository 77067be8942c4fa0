package kernel

import (
	"bytes"
	"testing"
	"time"

	"github.com/gureum/gureum/guest/memory"
)

// fuzzOpen opens and loads an image, which must end soon and without a panic, and
// must not write below 1 MiB.
func fuzzOpen(t *testing.T, m *memory.Memory, image []byte) {
	start := time.Now()
	img, err := OpenBytes("fuzz", image, Options{NoCache: true})
	if err == nil {
		if l, err := img.Load(m); err == nil {
			if !m.Contains(l.Entry, 0) || l.PVHEntry != 0 && !m.Contains(l.PVHEntry, 0) || l.HighestGPA <= memory.KernelStart {
				t.Errorf("loaded %+v", l)
			}
		}
		if err := img.Close(); err != nil {
			t.Error(err)
		}
	}
	if d := time.Since(start); d > hangAfter {
		t.Errorf("took %s", d)
	}
	low, err := m.Slice(0, memory.LowEnd)
	if err != nil {
		t.Fatal(err)
	}
	if lastNonZero(low[memory.LowEnd-memory.PageBytes:]) != 0 {
		t.Error("written below 1 MiB")
	}
}

func FuzzELF(f *testing.F) {
	f.Add(tinyVmlinux())
	f.Add(fixtureELF(0x1000000, fixtureSegment{segmentLoad, 0x100, 0, 0x1000000, pattern(16), 0x100}))
	f.Add(fixtureELF(0x100, fixtureSegment{segmentLoad, 0x1000, 0, 0xff000, pattern(16), 0x10000}))
	m := newMemory(f, memory.MinSize)
	f.Fuzz(func(t *testing.T, image []byte) {
		b := bytes.Clone(image)
		if e, err := parseELF(readerAt(b), uint64(len(b))); err == nil {
			trimELF(b)
			again, err := parseELF(readerAt(b), uint64(len(b)))
			if err != nil || again.entry != e.entry || again.pvhEntry != e.pvhEntry || len(again.segments) != len(e.segments) {
				t.Fatalf("trimmed: %+v, %v", again, err)
			}
		}
		if len(image) >= 4 {
			image = append([]byte("\x7fELF"), image[4:]...)
		}
		fuzzOpen(t, m, image)
	})
}

func FuzzBzImage(f *testing.F) {
	plain := tinyVmlinux()
	for _, c := range []Compression{Gzip, LZ4, Zstd, LZO, LZMA, Uncompressed} {
		f.Add(fixtureBzImage(goodHeader(pack(f, c, plain))))
	}
	f.Add(fixtureBzImage(goodHeader([]byte("unknown"))))
	m := newMemory(f, memory.MinSize)
	f.Fuzz(func(t *testing.T, image []byte) { fuzzOpen(t, m, image) })
}

// FuzzSetupHeader changes the header of a good image and nothing else.
func FuzzSetupHeader(f *testing.F) {
	good := fixtureBzImage(goodHeader(pack(f, LZ4, tinyVmlinux())))
	unknown := fixtureBzImage(goodHeader([]byte("unknown")))
	f.Add(good[headerStart:headerMaxEnd], false)
	f.Add(unknown[headerStart:headerMaxEnd], true)
	m := newMemory(f, memory.MinSize)
	f.Fuzz(func(t *testing.T, header []byte, pack bool) {
		image := bytes.Clone(good)
		if pack {
			image = bytes.Clone(unknown)
		}
		copy(image[headerStart:headerMaxEnd], header)
		fuzzOpen(t, m, image)
	})
}

func FuzzSearch(f *testing.F) {
	f.Add([]byte("Linux version 6.1.0\nIKCFG_ST\x1f\x8b\x08"))
	f.Fuzz(func(t *testing.T, b []byte) {
		found := search(readerAt(b), uint64(len(b)))
		if len(found.version) > bannerMax || len(found.config) > maxConfig {
			t.Error("too long")
		}
		facts(b)
	})
}

func FuzzSniff(f *testing.F) {
	f.Add([]byte("#!/bin/sh"))
	f.Add([]byte{})
	f.Fuzz(func(t *testing.T, b []byte) {
		if sniff(b, uint64(len(b))) == "" {
			t.Error("nothing to say")
		}
	})
}
