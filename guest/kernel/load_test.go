package kernel

import (
	"bytes"
	"strings"
	"testing"

	"github.com/gureum/gureum/guest/memory"
)

func newMemory(t testing.TB, size uint64) *memory.Memory {
	t.Helper()
	m, err := memory.New(memory.Config{Size: size})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := m.Close(); err != nil {
			t.Error(err)
		}
	})
	return m
}

func openImage(t testing.TB, path string, o Options) *Image {
	t.Helper()
	img, err := Open(path, o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := img.Close(); err != nil {
			t.Error(err)
		}
	})
	return img
}

// checkVmlinux wants the kernel of fixtureVmlinux in m.
func checkVmlinux(t *testing.T, m *memory.Memory) {
	t.Helper()
	for _, want := range []struct {
		gpa  uint64
		data []byte
		size int
	}{{0x1000000, pattern(0x3000), 0x4000}, {0x1200000, pattern(0x1234), 0x8000}, {0x1300000, pattern(0x100), 0x1000}} {
		got, err := m.Slice(want.gpa, uint64(want.size))
		if err != nil {
			t.Fatal(err)
		}
		if n := len(want.data); !bytes.Equal(got[:n], want.data) {
			t.Errorf("segment at %#x differs", want.gpa)
		} else if rest := got[n:]; len(bytes.Trim(rest, "\x00")) != 0 {
			t.Errorf("segment at %#x: bytes behind its end are not zero", want.gpa)
		}
	}
}

func TestLoadELF(t *testing.T) {
	trustTimes(t)
	path := writeImage(t, "vmlinux", fixtureVmlinux())
	o := cacheOptions(t)
	for _, tt := range []struct {
		name string
		o    Options
	}{
		{"first start", o},
		{"second start", o},
		{"no cache", Options{NoCache: true}},
		{"unusable cache", Options{CacheDir: "/proc/nothing"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			img := openImage(t, path, tt.o)
			if img.Format() != FormatELF || img.Protocols() != PVH|Linux64 || img.Compression() != Uncompressed {
				t.Errorf("%s, %s, %s", img.Format(), img.Protocols(), img.Compression())
			}
			if cached, err := img.Cached(); cached || err != nil {
				t.Errorf("cached %v, %v: an ELF file needs none", cached, err)
			}
			m := newMemory(t, 64<<20)
			l, err := img.Load(m)
			if err != nil {
				t.Fatal(err)
			}
			if l.Entry != 0x1000000 || l.PVHEntry != 0x1000040 || l.HighestGPA != 0x1300100 || l.SetupHeader != nil {
				t.Errorf("loaded %+v", l)
			}
			checkVmlinux(t, m)
		})
	}
}

// TestLoadTwice loads one image into two machines, which must not see each other.
func TestLoadTwice(t *testing.T) {
	trustTimes(t)
	img := openImage(t, writeImage(t, "vmlinux", fixtureVmlinux()), cacheOptions(t))
	a, b := newMemory(t, 64<<20), newMemory(t, 64<<20)
	if _, err := img.Load(a); err != nil {
		t.Fatal(err)
	}
	if err := a.WriteAt(make([]byte, 0x3000), 0x1000000); err != nil {
		t.Fatal(err)
	}
	if _, err := img.Load(b); err != nil {
		t.Fatal(err)
	}
	checkVmlinux(t, b)
}

func TestLoadErrors(t *testing.T) {
	load := func(segments ...fixtureSegment) []byte { return fixtureELF(segments[0].pa, segments...) }
	code := []byte{0xf4}
	for _, tt := range []struct {
		name  string
		image []byte
		want  string
	}{
		{"below 1 MiB", load(fixtureSegment{segmentLoad, 0x1000, 0, 0x1000, code, 0}), "below 1 MiB"},
		{"in the hole", load(fixtureSegment{segmentLoad, 0x1000, 0, memory.HoleStart, code, 0}), "MMIO hole"},
		{"into the hole", load(fixtureSegment{segmentLoad, 0x1000, 0, memory.HoleStart - 0x1000, code, 0x2000}), "MMIO hole"},
		{"behind RAM", load(fixtureSegment{segmentLoad, 0x1000, 0, 0x4000000, code, 0}), "needs at least 65 MiB of guest memory, the machine has 64"},
		{"large .bss", load(fixtureSegment{segmentLoad, 0x1000, 0, 0x1000000, code, 200 << 20}), "needs at least 216 MiB"},
		{"above the hole", load(fixtureSegment{segmentLoad, 0x1000, 0, memory.HoleEnd, code, 0}), "needs at least 3073 MiB"},
		{"huge .bss", load(fixtureSegment{segmentLoad, 0x1000, 0, 0x1000000, code, 1 << 62}), "MMIO hole"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			img, err := OpenBytes("image", tt.image, Options{NoCache: true})
			if err != nil {
				t.Fatal(err)
			}
			if _, err = img.Load(newMemory(t, 64<<20)); err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("error %v, want %q", err, tt.want)
			}
		})
	}
}
