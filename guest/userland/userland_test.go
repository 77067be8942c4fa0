package userland

import (
	"bytes"
	"io"
	"os"
	"path/filepath"
	"testing"
	"time"
)

func contents(t *testing.T, f *os.File, err error) []byte {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	b, err := io.ReadAll(io.NewSectionReader(f, 0, 1<<40))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func TestOpen(t *testing.T) {
	want := Archive()
	if len(want) != archiveSize || archiveSize%4096 != 0 || overlaySize%4096 != 0 || overlaySize >= archiveSize {
		t.Fatalf("%d bytes, archive %d, overlay %d", len(want), archiveSize, overlaySize)
	}
	dir := filepath.Join(t.TempDir(), "new")
	check := func(what, dir string) {
		t.Helper()
		f, err := Open(dir)
		if !bytes.Equal(contents(t, f, err), want) {
			t.Errorf("%s: archive differs", what)
		}
		f, err = OpenOverlay(dir)
		if !bytes.Equal(contents(t, f, err), want[:overlaySize]) {
			t.Errorf("%s: overlay differs", what)
		}
	}
	check("first", dir)
	check("second", dir)

	cached := filepath.Join(dir, archiveFile)
	before, err := os.Stat(cached)
	if err != nil {
		t.Fatal(err)
	}
	check("third", dir)
	if after, err := os.Stat(cached); err != nil || !os.SameFile(before, after) {
		t.Error("a good file in the cache was not used")
	}

	if err := os.Truncate(cached, 10); err != nil {
		t.Fatal(err)
	}
	check("damaged", dir)

	if err := os.Chmod(dir, 0o777); err != nil {
		t.Fatal(err)
	}
	if err := os.Remove(cached); err != nil {
		t.Fatal(err)
	}
	check("others can write", dir)
	if _, err := os.Stat(cached); err == nil {
		t.Error("a cache that others can write to was used")
	}
	check("no directory", "/proc/no/such")
}

func TestPrune(t *testing.T) {
	dir := t.TempDir()
	old := time.Now().Add(-2 * unused)
	for name, keep := range map[string]bool{
		"userland-0.cpio": false, "overlay-0.cpio": false, "tmp-1": false, "other": true, archiveFile: true,
	} {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, nil, 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Chtimes(path, old, old); err != nil {
			t.Fatal(err)
		}
		defer func() {
			if _, err := os.Stat(path); (err == nil) != keep {
				t.Errorf("%s: %v", name, err)
			}
		}()
	}
	fresh := filepath.Join(dir, "userland-1.cpio")
	if err := os.WriteFile(fresh, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	prune(dir)
	if _, err := os.Stat(fresh); err != nil {
		t.Error("a file in use by another version is gone")
	}
}
