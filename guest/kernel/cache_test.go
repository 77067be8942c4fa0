package kernel

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"
)

// cacheFiles lists what is in the cache, hashes and identities cut off.
func cacheFiles(t *testing.T, o Options) string {
	t.Helper()
	entries, err := os.ReadDir(o.CacheDir)
	if err != nil {
		t.Fatal(err)
	}
	var out []string
	for _, e := range entries {
		kind := "file"
		if e.Type()&os.ModeSymlink != 0 {
			kind = "link"
		}
		out = append(out, e.Name()[:2]+kind)
	}
	return strings.Join(out, " ")
}

func testBzImage(t testing.TB) []byte {
	return fixtureBzImage(goodHeader(pack(t, LZ4, fixtureVmlinux())))
}

// loads wants the image at path to load from the cache.
func loads(t *testing.T, path string, o Options) {
	t.Helper()
	img, err := Open(path, o)
	if err != nil {
		t.Fatal(err)
	}
	defer img.Close()
	if cached, err := img.Cached(); !cached || err != nil {
		t.Errorf("cached %v, %v", cached, err)
	}
	m := newMemory(t, 64<<20)
	if _, err := img.Load(m); err != nil {
		t.Fatal(err)
	}
	checkVmlinux(t, m)
}

func TestCacheFiles(t *testing.T) {
	o := cacheOptions(t)
	image := testBzImage(t)
	first := writeImage(t, "bzImage", image)
	loads(t, first, o)
	// The file is new: its times do not name its content yet.
	if got := cacheFiles(t, o); got != "p-file" {
		t.Errorf("after the first start: %s", got)
	}
	trustTimes(t)
	loads(t, first, o)
	if got := cacheFiles(t, o); got != "p-file s-link" {
		t.Errorf("once the file is older: %s", got)
	}
	loads(t, writeImage(t, "copy", image), o)
	if got := cacheFiles(t, o); got != "p-file s-link s-link" {
		t.Errorf("after a start from a copy: %s", got)
	}
	fi, err := os.Stat(o.CacheDir)
	if err != nil || fi.Mode().Perm() != 0o700 {
		t.Errorf("directory %v, %v", fi.Mode(), err)
	}
}

// TestCacheChangedFile changes an image in place: its times name it no more.
func TestCacheChangedFile(t *testing.T) {
	trustTimes(t)
	o := cacheOptions(t)
	old := fixtureVmlinux()
	changed := bytes.ReplaceAll(old, pattern(0x100), make([]byte, 0x100))
	for name, build := range map[string]func([]byte) []byte{
		"ELF":     func(elf []byte) []byte { return elf },
		"bzImage": func(elf []byte) []byte { return fixtureBzImage(goodHeader(pack(t, LZ4, elf))) },
	} {
		path := writeImage(t, "image", build(old))
		for range 2 {
			m := newMemory(t, 64<<20)
			if _, err := openImage(t, path, o).Load(m); err != nil {
				t.Fatal(err)
			}
			checkVmlinux(t, m)
		}
		if err := os.WriteFile(path, build(changed), 0o600); err != nil {
			t.Fatal(err)
		}
		m := newMemory(t, 64<<20)
		if _, err := openImage(t, path, o).Load(m); err != nil {
			t.Fatal(err)
		}
		if v, err := m.ReadU64(0x1300000); v != 0 || err != nil {
			t.Errorf("%s: the old kernel was loaded: %#x, %v", name, v, err)
		}
	}
}

// TestCacheDamage damages the cached kernel in ways that show, and wants it made
// anew.
func TestCacheDamage(t *testing.T) {
	trustTimes(t)
	o := cacheOptions(t)
	path := writeImage(t, "bzImage", testBzImage(t))
	loads(t, path, o)
	files, err := filepath.Glob(o.CacheDir + "/p-*")
	if err != nil || len(files) != 1 {
		t.Fatal(files, err)
	}
	whole, err := os.ReadFile(files[0])
	if err != nil {
		t.Fatal(err)
	}
	badMagic, badSum, badSize := bytes.Clone(whole), bytes.Clone(whole), append(bytes.Clone(whole), make([]byte, trailerSize)...)
	badMagic[len(whole)-trailerSize] ^= 1
	badSum[len(whole)-1] ^= 1
	copy(badSize[len(whole):], whole[len(whole)-trailerSize:])
	badELF := bytes.Clone(whole)
	clear(badELF[:4])
	for name, content := range map[string][]byte{
		"empty": {}, "cut": whole[:len(whole)-1], "half": whole[:len(whole)/2], "long": append(bytes.Clone(whole), 0),
		"magic": badMagic, "checksum": badSum, "size": badSize, "ELF": badELF,
	} {
		if err := os.Remove(files[0]); err != nil && !os.IsNotExist(err) {
			t.Fatal(err)
		}
		if err := os.WriteFile(files[0], content, 0o400); err != nil {
			t.Fatal(err)
		}
		t.Run(name, func(t *testing.T) {
			loads(t, path, o)
			loads(t, path, o)
		})
	}
	if err := os.Remove(files[0]); err != nil {
		t.Fatal(err)
	}
	loads(t, path, o)
}

// TestCacheRace starts many at once from nothing.
func TestCacheRace(t *testing.T) {
	trustTimes(t)
	o := cacheOptions(t)
	path := writeImage(t, "bzImage", testBzImage(t))
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			img, err := Open(path, o)
			if err != nil {
				t.Error(err)
				return
			}
			defer img.Close()
			m := newMemory(t, 64<<20)
			if _, err := img.Load(m); err != nil {
				t.Error(err)
				return
			}
			checkVmlinux(t, m)
		})
	}
	wg.Wait()
	if got := cacheFiles(t, o); got != "p-file s-link" {
		t.Errorf("files %s", got)
	}
}

// TestCacheNotOurs: what others can write to is not trusted.
func TestCacheNotOurs(t *testing.T) {
	path := writeImage(t, "bzImage", testBzImage(t))
	dir := t.TempDir()
	if err := os.Chmod(dir, 0o777); err != nil {
		t.Fatal(err)
	}
	file := writeImage(t, "file", nil)
	for name, o := range map[string]Options{
		"world-writable": {CacheDir: dir}, "a file": {CacheDir: file}, "below a file": {CacheDir: file + "/x"},
	} {
		img, err := Open(path, o)
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if cached, err := img.Cached(); cached || err == nil {
			t.Errorf("%s: cached %v, %v", name, cached, err)
		}
		m := newMemory(t, 64<<20)
		if _, err := img.Load(m); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		checkVmlinux(t, m)
		img.Close()
	}
}

func TestCacheDefaultDir(t *testing.T) {
	t.Setenv("XDG_CACHE_HOME", t.TempDir())
	c, err := makeCache("")
	if err != nil || c.dir != os.Getenv("XDG_CACHE_HOME")+"/gureum/kernels" {
		t.Errorf("%+v, %v", c, err)
	}
	t.Setenv("XDG_CACHE_HOME", "")
	t.Setenv("HOME", "")
	if _, err := makeCache(""); err == nil {
		t.Error("no home, no error")
	}
}

func TestPrune(t *testing.T) {
	c, err := makeCache(cacheOptions(t).CacheDir)
	if err != nil {
		t.Fatal(err)
	}
	write := func(name string, age time.Duration) {
		t.Helper()
		if err := os.WriteFile(c.path(name), nil, 0o600); err != nil {
			t.Fatal(err)
		}
		then := time.Now().Add(-age)
		if err := os.Chtimes(c.path(name), then, then); err != nil {
			t.Fatal(err)
		}
	}
	for i := range cacheMaxFiles + 8 {
		write(fmt.Sprintf("p-%02d", i), time.Duration(i)*time.Hour)
	}
	write("tmp-old", 2*staleTemp)
	write("tmp-new", 0)
	write("of the user", 1000*time.Hour)
	for _, target := range []string{"p-00", "p-39", "gone"} {
		if err := os.Symlink(target, c.path("s-"+target)); err != nil {
			t.Fatal(err)
		}
	}
	c.prune()
	entries, err := os.ReadDir(c.dir)
	if err != nil {
		t.Fatal(err)
	}
	names := map[string]bool{}
	for _, e := range entries {
		names[e.Name()] = true
	}
	// Room for one more; the oldest went first, links to them with them.
	for name, want := range map[string]bool{
		"p-00": true, "p-30": true, "p-31": false, "p-39": false, "tmp-old": false, "tmp-new": true,
		"of the user": true, "s-p-00": true, "s-p-39": false, "s-gone": false,
	} {
		if names[name] != want {
			t.Errorf("%s: kept %v", name, !want)
		}
	}
}

func TestTrailer(t *testing.T) {
	b := make([]byte, trailerSize)
	want := trailer{size: 1 << 33, name: "p-abc", label: "6.1", format: FormatBzImage}
	want.encode(b)
	if got, ok := decodeTrailer(b); !ok || got != want {
		t.Errorf("%+v, %v", got, ok)
	}
	for i := range b {
		bad := bytes.Clone(b)
		bad[i] ^= 1
		if _, ok := decodeTrailer(bad); ok {
			t.Errorf("change of byte %d not noticed", i)
		}
	}
	long := trailer{name: strings.Repeat("n", 500), label: strings.Repeat("l", 500)}
	long.encode(b)
	if got, ok := decodeTrailer(b); !ok || len(got.name) != trailerName-1 || len(got.label) != trailerLabel-1 {
		t.Errorf("%d, %d, %v", len(got.name), len(got.label), ok)
	}
}
