package kernel

import (
	"bytes"
	"strings"
	"testing"
)

func TestOpenEmbedded(t *testing.T) {
	vmlinux := fixtureVmlinux()
	o := cacheOptions(t)
	for _, c := range []Compression{LZ4, Zstd, Gzip} {
		blob := pack(t, c, vmlinux)
		bare, _, err := payloadStream(c, blob)
		if err != nil {
			t.Fatal(err)
		}
		for name, e := range map[string]Embedded{
			"size behind": {Name: "default", Blob: blob, ID: "behind-" + c.String(), Version: "6.12-gureum"},
			"size given":  {Name: "default", Blob: bare, ID: "given-" + c.String(), Size: uint64(len(vmlinux)), Version: "6.12-gureum"},
		} {
			for _, o := range []Options{o, o, {NoCache: true}, {CacheDir: "/proc/nothing"}} {
				img, err := OpenEmbedded(e, o)
				if err != nil {
					t.Fatalf("%s, %s: %v", c, name, err)
				}
				if img.Version() != "6.12-gureum" || img.Compression() != c || img.Format() != FormatELF || img.SetupHeader() != nil {
					t.Errorf("%q, %s, %s", img.Version(), img.Compression(), img.Format())
				}
				m := newMemory(t, 64<<20)
				if l, err := img.Load(m); err != nil || l.PVHEntry != 0x1000040 {
					t.Errorf("%+v, %v", l, err)
				}
				checkVmlinux(t, m)
				if err := img.Close(); err != nil {
					t.Error(err)
				}
			}
		}
	}
}

// TestEmbeddedNotReadAgain gives a broken blob on the second start, which must not
// look at it.
func TestEmbeddedNotReadAgain(t *testing.T) {
	o := cacheOptions(t)
	e := Embedded{Name: "default", Blob: pack(t, Zstd, fixtureVmlinux()), ID: "one"}
	for range 2 {
		img, err := OpenEmbedded(e, o)
		if err != nil {
			t.Fatal(err)
		}
		if cached, err := img.Cached(); !cached || err != nil {
			t.Errorf("cached %v, %v", cached, err)
		}
		img.Close()
		e.Blob = bytes.Repeat([]byte{1}, 100)
	}
	e.ID = "two"
	if _, err := OpenEmbedded(e, o); err == nil {
		t.Error("a broken blob with a new ID: no error")
	}
}

func TestEmbeddedErrors(t *testing.T) {
	good := pack(t, Zstd, fixtureVmlinux())
	for name, e := range map[string]Embedded{
		"no ID":       {Blob: good},
		"path as ID":  {Blob: good, ID: "../x"},
		"long ID":     {Blob: good, ID: strings.Repeat("a", 81)},
		"no blob":     {ID: "x"},
		"wrong size":  {Blob: good[:len(good)-4], ID: "x", Size: 100},
		"size behind": {Blob: good[:len(good)-4], ID: "x"},
		"huge size":   {Blob: good[:len(good)-4], ID: "x", Size: 1 << 60},
		"not an ELF":  {Blob: pack(t, Zstd, []byte("hello")), ID: "x"},
	} {
		if _, err := OpenEmbedded(e, cacheOptions(t)); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
}

// TestStatic drops the pages of a string constant, which the program's file still
// has.
func TestStatic(t *testing.T) {
	blob := []byte(strings.Repeat("x", 10000))
	pages := wholePages(blob)
	if len(pages)%4096 != 0 || len(pages) < 4096 || len(wholePages(blob[:1])) != 0 || wholePages(nil) != nil {
		t.Errorf("%d bytes", len(pages))
	}
}
