package kernel

import (
	"bytes"
	"encoding/binary"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// plainText is what the files in testdata unpack to: 32 KiB that look to a
// compressor like code, with relative calls that xz's x86 filter changes.
func plainText() []byte {
	b := pattern(32 << 10)
	for i := 0; i+16 <= len(b); i += 24 {
		b[i] = 0xe8
		binary.LittleEndian.PutUint32(b[i+1:], uint32(0x4000-i))
	}
	return b
}

// TestWritePlainText writes plainText to the file that GUREUM_PLAINTEXT names, to
// make the files in testdata anew (testdata/make.sh).
func TestWritePlainText(t *testing.T) {
	if name := os.Getenv("GUREUM_PLAINTEXT"); name != "" {
		if err := os.WriteFile(name, plainText(), 0o600); err != nil {
			t.Fatal(err)
		}
	}
}

// streams are packed forms of plainText as the tools that Linux's build calls
// write them, by name.
func streams(t testing.TB) map[string][]byte {
	t.Helper()
	out := map[string][]byte{}
	files, err := filepath.Glob("testdata/plain.*")
	if err != nil || len(files) < 7 {
		t.Fatalf("%d files, %v", len(files), err)
	}
	for _, f := range files {
		b, err := os.ReadFile(f)
		if err != nil {
			t.Fatal(err)
		}
		out[strings.TrimPrefix(f, "testdata/plain.")] = b
	}
	return out
}

func TestUnpack(t *testing.T) {
	want := plainText()
	seen := map[Compression]bool{}
	for name, packed := range streams(t) {
		c := detect(packed)
		seen[c] = true
		got := make([]byte, len(want))
		if err := unpack(c, packed, got); err != nil || !bytes.Equal(got, want) {
			t.Errorf("%s: %v", name, err)
		}
	}
	for c := Gzip; c <= Zstd; c++ {
		if !seen[c] {
			t.Errorf("no file for %s", c)
		}
	}
}

// TestUnpackWrongSize states one byte less and one more than there is.
func TestUnpackWrongSize(t *testing.T) {
	size := len(plainText())
	for name, packed := range streams(t) {
		for _, n := range []int{0, 1, size - 1, size + 1, size + 1<<20} {
			dst := make([]byte, n+16)
			if err := unpack(detect(packed), packed, dst[:n:n]); err == nil {
				t.Errorf("%s: no error for %d bytes, it has %d", name, n, size)
			}
			if len(bytes.Trim(dst[n:], "\x00")) != 0 {
				t.Errorf("%s: written beyond %d bytes", name, n)
			}
		}
	}
}

// TestUnpackDamaged cuts and changes each stream in many places. What matters is
// that every decoder comes back, and soon; those with checksums also notice.
func TestUnpackDamaged(t *testing.T) {
	size := len(plainText())
	start := time.Now()
	for name, packed := range streams(t) {
		c := detect(packed)
		step := max(1, len(packed)/16)
		for i := 0; i < len(packed)-1; i += step {
			dst := make([]byte, size)
			if err := unpack(c, packed[:i], dst); err == nil {
				t.Errorf("%s: no error for the first %d of %d bytes", name, i, len(packed))
			}
			bad := bytes.Clone(packed)
			bad[i] ^= 0x55
			err := unpack(c, bad, dst)
			sums := c != LZ4 && c != LZMA // these have none
			if header := max(64, len(packed)/8); err == nil && sums && i > header && !bytes.Equal(dst, plainText()) {
				t.Errorf("%s: change at %d not noticed", name, i)
			}
		}
	}
	if d := time.Since(start); d > 10*hangAfter {
		t.Errorf("took %s", d)
	}
}

// TestUnpackBomb gives streams that unpack to far more than they state.
func TestUnpackBomb(t *testing.T) {
	zeros := make([]byte, 1<<20)
	for _, c := range []Compression{Gzip, LZMA, LZ4, Zstd} {
		packed, _, err := payloadStream(c, pack(t, c, zeros))
		if err != nil {
			t.Fatal(err)
		}
		if err := unpack(c, packed, make([]byte, 4096)); err == nil {
			t.Errorf("%s: no error", c)
		}
	}
}

func TestUnpackUnsupported(t *testing.T) {
	err := unpack(UnknownCompression, []byte("anything"), make([]byte, 4))
	if !errors.Is(err, errUnsupported) {
		t.Error(err)
	}
}

func TestPayloadStream(t *testing.T) {
	for _, tt := range []struct {
		c       Compression
		payload string
		stream  string
		size    uint64
		ok      bool
	}{
		{XZ, "abc\x01\x02\x00\x00", "abc", 0x201, true},
		{Gzip, "abc\x01\x02\x00\x00", "abc\x01\x02\x00\x00", 0x201, true},
		{Uncompressed, "abcdefgh", "abcdefgh", 8, true},
		{Zstd, "\x01\x02\x00\x00", "", 0, false},
		{Zstd, "", "", 0, false},
	} {
		stream, size, err := payloadStream(tt.c, []byte(tt.payload))
		if string(stream) != tt.stream || size != tt.size || (err == nil) != tt.ok {
			t.Errorf("%s %q: %q, %d, %v", tt.c, tt.payload, stream, size, err)
		}
	}
}

func FuzzUnpack(f *testing.F) {
	plain := tinyVmlinux()
	for _, c := range []Compression{Gzip, LZMA, LZ4, Zstd, LZO} {
		stream, _, err := payloadStream(c, pack(f, c, plain))
		if err != nil {
			f.Fatal(err)
		}
		f.Add(uint8(c), stream, uint32(len(plain)))
	}
	for _, b := range streams(f) {
		if len(b) < 4096 {
			f.Add(uint8(detect(b)), b, uint32(32<<10))
		}
	}
	f.Fuzz(func(t *testing.T, c uint8, packed []byte, size uint32) {
		const guard = 64
		size %= 1 << 20
		dst := make([]byte, size+guard)
		start := time.Now()
		err := unpack(Compression(c%uint8(UnknownCompression+1)), packed, dst[:size:size])
		if d := time.Since(start); d > hangAfter {
			t.Errorf("took %s (%v)", d, err)
		}
		if len(bytes.Trim(dst[size:], "\x00")) != 0 {
			t.Error("written beyond the end")
		}
	})
}

func BenchmarkUnpack(b *testing.B) {
	for name, packed := range streams(b) {
		b.Run(name, func(b *testing.B) {
			dst := make([]byte, len(plainText()))
			b.SetBytes(int64(len(dst)))
			for b.Loop() {
				if err := unpack(detect(packed), packed, dst); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
