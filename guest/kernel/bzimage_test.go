package kernel

import (
	"bytes"
	"encoding/binary"
	"errors"
	"os"
	"strings"
	"testing"

	"github.com/gureum/gureum/guest/memory"
)

// TestLoadBzImage takes a bzImage of each compression through open, cache and
// load, twice: the second time the kernel comes from the cache.
func TestLoadBzImage(t *testing.T) {
	trustTimes(t)
	plain := fixtureVmlinux()
	for _, c := range []Compression{Gzip, LZMA, LZ4, Zstd, LZO, Uncompressed} {
		t.Run(c.String(), func(t *testing.T) {
			path := writeImage(t, "bzImage", fixtureBzImage(goodHeader(pack(t, c, plain))))
			o := cacheOptions(t)
			for _, o := range []Options{o, o, {NoCache: true}, {CacheDir: "/proc/nothing"}} {
				img := openImage(t, path, o)
				if img.Format() != FormatBzImage || img.Compression() != c || img.Protocols() != PVH|Linux64 || img.Unpacked() != nil {
					t.Errorf("%s, %s, %s, %v", img.Format(), img.Compression(), img.Protocols(), img.Unpacked())
				}
				if img.Version() != "6.1.0-test (builder@host) #1 SMP" {
					t.Errorf("version %q", img.Version())
				}
				cached, err := img.Cached()
				if want := !o.NoCache && !strings.HasPrefix(o.CacheDir, "/proc"); cached != want {
					t.Errorf("cached %v, %v", cached, err)
				}
				m := newMemory(t, 64<<20)
				l, err := img.Load(m)
				if err != nil {
					t.Fatal(err)
				}
				if l.Entry != 0x1000000 || l.PVHEntry != 0x1000040 || l.InitrdMax != 0x7fffffff {
					t.Errorf("loaded %+v", l)
				}
				if len(l.SetupHeader) != 0x202+0x6a-0x1f1 || string(l.SetupHeader[offMagic-headerStart:][:4]) != headerMagic {
					t.Errorf("setup header of %d bytes", len(l.SetupHeader))
				}
				checkVmlinux(t, m)
			}
		})
	}
}

// TestFallback starts images by their own code that we cannot unpack.
func TestFallback(t *testing.T) {
	image := fixtureBzImage(goodHeader([]byte("some compression of the future")))
	img, err := OpenBytes("bzImage", image, cacheOptions(t))
	if err != nil {
		t.Fatal(err)
	}
	if img.Unpacked() == nil || img.Protocols() != Linux64 || img.Compression() != UnknownCompression {
		t.Errorf("%v, %s, %s", img.Unpacked(), img.Protocols(), img.Compression())
	}
	m := newMemory(t, 64<<20)
	l, err := img.Load(m)
	if err != nil {
		t.Fatal(err)
	}
	if l.Entry != 0x1000200 || l.PVHEntry != 0 || l.HighestGPA != 0x1400000 || l.SetupHeader == nil {
		t.Errorf("loaded %+v", l)
	}
	code := image[3*sectorSize:]
	got, err := m.Slice(0x1000000, uint64(len(code)))
	if err != nil || !bytes.Equal(got, code) {
		t.Errorf("code differs, %v", err)
	}
	if _, err := img.Load(newMemory(t, memory.MinSize)); err != nil {
		t.Error(err)
	}
}

func TestFallbackErrors(t *testing.T) {
	for _, tt := range []struct {
		name   string
		change func(*fixtureHeader)
		want   string
	}{
		{"no 64-bit entry", func(h *fixtureHeader) { h.xload = 0 }, "no 64-bit entry"},
		{"old protocol", func(h *fixtureHeader) { h.protocol = 0x20b }, "no 64-bit entry"},
		{"loads low", func(h *fixtureHeader) { h.pref = 0x8000 }, "wants to load at 0x8000"},
		{"loads in between", func(h *fixtureHeader) { h.pref = 0x1000010 }, "wants to load at"},
		{"overflow", func(h *fixtureHeader) { h.pref = ^uint64(0xfff) }, "wants to load at"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			h := goodHeader([]byte("unknown"))
			tt.change(&h)
			_, err := OpenBytes("bzImage", fixtureBzImage(h), Options{NoCache: true})
			if err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("error %v, want %q", err, tt.want)
			}
		})
	}
	h := goodHeader([]byte("unknown"))
	h.initSize = 100 << 20
	img, err := OpenBytes("bzImage", fixtureBzImage(h), Options{NoCache: true})
	if err != nil {
		t.Fatal(err)
	}
	_, err = img.Load(newMemory(t, 64<<20))
	if err == nil || !strings.Contains(err.Error(), "needs at least 116 MiB") {
		t.Errorf("error %v", err)
	}
}

func TestBzImageErrors(t *testing.T) {
	plain := fixtureVmlinux()
	good := fixtureBzImage(goodHeader(pack(t, LZ4, plain)))
	le := binary.LittleEndian
	for _, tt := range []struct {
		name   string
		change func([]byte) []byte
		want   string
	}{
		{"truncated payload", func(b []byte) []byte { return b[:len(b)-200] }, "truncated bzImage: payload ends at"},
		{"truncated code", func(b []byte) []byte { le.PutUint32(b[offSyssize:], 1<<20); return b }, "truncated bzImage: code ends at"},
		{"truncated header", func(b []byte) []byte { return b[:0x280] }, "setup header"},
		{"payload elsewhere", func(b []byte) []byte { le.PutUint32(b[offPayload:], 0xfffffff0); return b }, "payload ends at"},
		{"payload too long", func(b []byte) []byte { le.PutUint32(b[offPayloadLen:], 0xffffffff); return b }, "payload ends at"},
		{"payload past the code", func(b []byte) []byte { le.PutUint32(b[offSyssize:], 1); return b }, "corrupt bzImage"},
		{"old protocol", func(b []byte) []byte { le.PutUint16(b[offVersion:], 0x207); return b }, "boot protocol 2.7"},
		{"zImage", func(b []byte) []byte { b[offLoadFlags] = 0; return b }, "zImage"},
		{"short header", func(b []byte) []byte { b[offJump+1] = 8; return b }, "setup header ends at"},
		{"alignment", func(b []byte) []byte { le.PutUint32(b[offAlignment:], 3); return b }, "kernel_alignment"},
		{"too large for its room", func(b []byte) []byte { le.PutUint32(b[offInitSize:], 0x1000); return b }, "room for 4096"},
		{"damaged payload", func(b []byte) []byte { clear(b[0x920:0x980]); return b }, "unpack lz4 payload"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			_, err := OpenBytes("bzImage", tt.change(bytes.Clone(good)), cacheOptions(t))
			if err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("error %v, want %q", err, tt.want)
			}
		})
	}
	for name, payload := range map[string][]byte{
		"not an ELF":  pack(t, Zstd, []byte("no kernel")),
		"states more": append(packLZ4(t, plain), 0, 0, 0x10, 0),
		"states less": append(packLZ4(t, plain), 1, 0, 0, 0),
		"states 2 GB": append(packLZ4(t, plain), 0, 0, 0, 0x80),
	} {
		h := goodHeader(payload)
		h.initSize = 0
		if _, err := OpenBytes("bzImage", fixtureBzImage(h), cacheOptions(t)); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
}

// TestErrorsLeaveNothing checks that a failed unpacking leaves no file behind.
func TestErrorsLeaveNothing(t *testing.T) {
	o := cacheOptions(t)
	payload := pack(t, Zstd, fixtureVmlinux())
	payload[len(payload)/2] ^= 0xff
	if _, err := OpenBytes("bzImage", fixtureBzImage(goodHeader(payload)), o); err == nil {
		t.Fatal("no error")
	}
	entries, err := os.ReadDir(o.CacheDir)
	if err != nil || len(entries) != 0 {
		t.Errorf("%d files, %v", len(entries), err)
	}
}

func TestVersionString(t *testing.T) {
	h := goodHeader(pack(t, LZ4, fixtureVmlinux()))
	for version, want := range map[string]string{
		"":                        "",
		"6.12 \x1b[31mred\x07":    "6.12 ?[31mred?",
		strings.Repeat("x", 1000): strings.Repeat("x", maxVersionBytes),
	} {
		h.version = version
		if len(version) > 500 {
			h.version = version[:500]
		}
		img, err := OpenBytes("bzImage", fixtureBzImage(h), Options{NoCache: true})
		if err != nil {
			t.Fatal(err)
		}
		if img.Version() != want {
			t.Errorf("version %q, want %q", img.Version(), want)
		}
		if err := img.Close(); err != nil {
			t.Error(err)
		}
	}
}

func TestErrNotKernel(t *testing.T) {
	dir := t.TempDir()
	arm := make([]byte, 4096)
	copy(arm[56:], "ARM\x64")
	for _, tt := range []struct {
		name, content, want string
	}{
		{"text", "#include <stdio.h>\nint main() {}\n", "a text file"},
		{"utf8", "안녕하세요\n", "a text file"},
		{"script", "#!/bin/sh\n", "a script"},
		{"empty", "", "the file is empty"},
		{"zeros", strings.Repeat("\x00", 10000), "zeros"},
		{"gzip", "\x1f\x8b\x08\x00\x00\x00\x00\x00", "a bare gzip file"},
		{"zstd", "\x28\xb5\x2f\xfd\x00\x00\x00\x00", "a bare zstd file"},
		{"cpio", "070701000000", "cpio archive"},
		{"efi", "MZ" + strings.Repeat("\x90", 1000), "an EFI program"},
		{"qcow2", "QFI\xfb\x00\x00\x00\x03", "qcow2"},
		{"arm64", string(arm), "arm64"},
		{"disk", strings.Repeat("\x90", 510) + "\x55\xaa", "disk image"},
		{"noise", "\x01\x02\x80\x81\xff\xfe\x00\x00\x99", "neither an ELF file nor a bzImage"},
	} {
		path := writeImage(t, tt.name, []byte(tt.content))
		_, err := Open(path, Options{NoCache: true})
		if !errors.Is(err, ErrNotKernel) || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: %v, want %q", tt.name, err, tt.want)
		}
	}
	if _, err := Open(dir, Options{}); !errors.Is(err, ErrNotKernel) || !strings.Contains(err.Error(), "a directory") {
		t.Errorf("directory: %v", err)
	}
	if _, err := Open(dir+"/none", Options{}); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("no file: %v", err)
	}
	if _, err := Open("/dev/null", Options{}); !errors.Is(err, ErrNotKernel) || !strings.Contains(err.Error(), "a device") {
		t.Errorf("device: %v", err)
	}
}
