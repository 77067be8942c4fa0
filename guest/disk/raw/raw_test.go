package raw_test

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"testing"

	"github.com/gureum/gureum/guest/disk/internal/host"
	"github.com/gureum/gureum/guest/disk/raw"
	"golang.org/x/sys/unix"
)

const mib = 1 << 20

func open(t testing.TB, path string, o host.Options) *raw.Disk {
	t.Helper()
	file, err := host.Open(path, o)
	if err != nil {
		t.Fatal(err)
	}
	d, err := raw.New(file)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = d.Close() })
	return d
}

func image(t testing.TB, size int64) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "disk.raw")
	if err := os.WriteFile(path, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(path, size); err != nil {
		t.Fatal(err)
	}
	return path
}

func allocated(t *testing.T, path string) int64 {
	t.Helper()
	var st unix.Stat_t
	if err := unix.Stat(path, &st); err != nil {
		t.Fatal(err)
	}
	return st.Blocks * 512
}

func TestReadWhatWasWritten(t *testing.T) {
	for _, direct := range []bool{false, true} {
		path := image(t, mib)
		d := open(t, path, host.Options{Direct: direct})
		want := make([]byte, mib)
		// Offsets and lengths round every alignment, so that O_DIRECT has to bounce.
		for i, r := range [][2]int{{0, 512}, {511, 2}, {4095, 4098}, {100, 300_000}, {mib - 1, 1}, {mib - 5000, 5000}, {7, 0}} {
			p := bytes.Repeat([]byte{byte(i + 1)}, r[1])
			copy(want[r[0]:], p)
			if n, err := d.WriteAt(p, int64(r[0])); err != nil || n != len(p) {
				t.Fatalf("direct %v: write %v: %d, %v", direct, r, n, err)
			}
		}
		got := make([]byte, mib)
		if _, err := d.ReadAt(got, 0); err != nil || !bytes.Equal(got, want) {
			t.Fatalf("direct %v: read back differs, %v", direct, err)
		}
		odd := make([]byte, 9001)
		if _, err := d.ReadAt(odd, 4001); err != nil || !bytes.Equal(odd, want[4001:13002]) {
			t.Errorf("direct %v: an odd range differs, %v", direct, err)
		}
		if err := d.Flush(); err != nil {
			t.Error(err)
		}
		if direct && d.Alignment() < 512 {
			t.Errorf("alignment %d with O_DIRECT", d.Alignment())
		}
	}
}

func TestRangesAreHeld(t *testing.T) {
	d := open(t, image(t, mib), host.Options{})
	p := make([]byte, 512)
	for _, off := range []int64{-1, mib - 511, mib + 1, 1<<63 - 1} {
		if _, err := d.ReadAt(p, off); !errors.Is(err, host.ErrRange) {
			t.Errorf("read at %d: %v", off, err)
		}
		if _, err := d.WriteAt(p, off); !errors.Is(err, host.ErrRange) {
			t.Errorf("write at %d: %v", off, err)
		}
		if err := d.Discard(off, 512); !errors.Is(err, host.ErrRange) {
			t.Errorf("discard at %d: %v", off, err)
		}
		if err := d.WriteZeroes(off, 512, true); !errors.Is(err, host.ErrRange) {
			t.Errorf("write zeroes at %d: %v", off, err)
		}
	}
	if err := d.Discard(512, -1); !errors.Is(err, host.ErrRange) {
		t.Errorf("discard of -1 bytes: %v", err)
	}
}

func TestSpaceGoesBackToTheHost(t *testing.T) {
	path := image(t, 4*mib)
	d := open(t, path, host.Options{})
	full := bytes.Repeat([]byte{7}, 4*mib)
	if _, err := d.WriteAt(full, 0); err != nil {
		t.Fatal(err)
	}
	if err := d.Discard(0, mib); err != nil {
		t.Fatal(err)
	}
	if err := d.WriteZeroes(mib, mib, true); err != nil {
		t.Fatal(err)
	}
	if err := d.WriteZeroes(2*mib+100, 5000, false); err != nil {
		t.Fatal(err)
	}
	if err := d.Flush(); err != nil {
		t.Fatal(err)
	}
	if n := allocated(t, path); n > 2*mib+64<<10 {
		t.Errorf("%d bytes allocated after half was given back", n)
	}
	got := make([]byte, 4*mib)
	if _, err := d.ReadAt(got, 0); err != nil {
		t.Fatal(err)
	}
	clear(full[:2*mib])
	clear(full[2*mib+100 : 2*mib+5100])
	if !bytes.Equal(got, full) {
		t.Error("what was zeroed is not zero, or more than that is")
	}
}

func TestReadOnlyRefusesWrites(t *testing.T) {
	d := open(t, image(t, mib), host.Options{ReadOnly: true})
	if _, err := d.WriteAt([]byte{1}, 0); !errors.Is(err, host.ErrReadOnly) {
		t.Errorf("write: %v", err)
	}
	if err := d.Resize(2 * mib); !errors.Is(err, host.ErrReadOnly) {
		t.Errorf("resize: %v", err)
	}
	if err := d.Flush(); err != nil {
		t.Errorf("flush: %v", err)
	}
}

func TestResizeGrows(t *testing.T) {
	path := image(t, mib)
	d := open(t, path, host.Options{})
	if err := d.Resize(mib - 1); !errors.Is(err, host.ErrShrink) {
		t.Errorf("shrink: %v", err)
	}
	if err := d.Resize(3 * mib); err != nil {
		t.Fatal(err)
	}
	if _, err := d.WriteAt([]byte{9}, 3*mib-1); err != nil || d.Size() != 3*mib {
		t.Errorf("size %d, write at the new end: %v", d.Size(), err)
	}
	if st, err := os.Stat(path); err != nil || st.Size() != 3*mib {
		t.Errorf("file: %v, %v", st.Size(), err)
	}
}

func TestNoAllocationPerRequest(t *testing.T) {
	for _, direct := range []bool{false, true} {
		d := open(t, image(t, mib), host.Options{Direct: direct})
		p := make([]byte, 4096+1)
		n := testing.AllocsPerRun(200, func() {
			if _, err := d.WriteAt(p[1:], 8192); err != nil {
				t.Fatal(err)
			}
			if _, err := d.ReadAt(p[1:], 8192); err != nil {
				t.Fatal(err)
			}
		})
		if n != 0 {
			t.Errorf("direct %v: %v allocations a write and a read", direct, n)
		}
	}
}

func TestAFileCutShortIsAnError(t *testing.T) {
	path := image(t, mib)
	d := open(t, path, host.Options{})
	if err := os.Truncate(path, 4096); err != nil {
		t.Fatal(err)
	}
	if _, err := d.ReadAt(make([]byte, 512), 8192); err == nil {
		t.Error("no error for a read past the file's end")
	}
}
