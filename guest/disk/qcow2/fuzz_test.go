package qcow2

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"testing"

	"github.com/gureum/gureum/guest/disk/internal/host"
)

// fuzzImage is an image with all kinds of clusters in few bytes: data, zero, compressed,
// with a base or not.
func fuzzImage(t testing.TB, which uint8) *memory {
	l := Layout{Size: 40_000, ClusterSize: 512, RefcountBits: 8 << (which & 3)}
	if which&4 != 0 {
		l.BackingName = "base"
	}
	if which&8 != 0 {
		l.Version, l.RefcountBits = 2, 0
	} else if which&16 != 0 {
		l.Zstd = true
	}
	m := create(t, l)
	d := openOn(t, m, plain(pattern(20_000, 1)))
	for _, off := range []int64{0, 5000, 36_000} {
		if _, err := d.WriteAt(pattern(3000, 2), off); err != nil {
			t.Fatal(err)
		}
	}
	if err := d.WriteZeroes(1024, 1024, which&32 != 0); err != nil {
		t.Fatal(err)
	}
	if err := d.Close(); err != nil {
		t.Fatal(err)
	}
	return m
}

// allowedErrors are those that a broken image may give. Anything else is a fault of ours.
var allowedErrors = []error{
	host.ErrCorrupt, host.ErrUnsupported, host.ErrFormat, host.ErrBacking, host.ErrRange,
	io.ErrShortWrite, // the memory under the fuzzer is full
}

func allowed(t *testing.T, err error) bool {
	t.Helper()
	if err == nil {
		return true
	}
	for _, a := range allowedErrors {
		if errors.Is(err, a) {
			return false
		}
	}
	t.Fatalf("unexpected error: %v", err)
	return false
}

// FuzzQcow2Open changes words of an image's tables: each 10 bytes of patches are a place
// and a value.
func FuzzQcow2Open(f *testing.F) {
	patch := func(at uint16, v uint64) []byte {
		return binary.BigEndian.AppendUint64(binary.BigEndian.AppendUint16(nil, at), v)
	}
	f.Add(uint8(0), []byte{})
	f.Add(uint8(12), patch(32, 1<<62))
	f.Add(uint8(1), patch(512, 0))
	f.Add(uint8(2), append(patch(1536, 1<<63|512), patch(72, 1)...))
	f.Add(uint8(4), patch(2048, entryCompressed|5000))
	f.Add(uint8(20), patch(2048, entryCompressed|1<<61|3000))
	f.Fuzz(func(t *testing.T, which uint8, patches []byte) {
		m := fuzzImage(t, which)
		for ; len(patches) >= 10; patches = patches[10:] {
			at := int(binary.BigEndian.Uint16(patches)) % (len(m.data) - 8)
			copy(m.data[at:], patches[2:10])
		}
		work(t, m)
	})
}

// FuzzQcow2Header takes the file as it comes.
func FuzzQcow2Header(f *testing.F) {
	for _, which := range []uint8{0, 8, 4, 16} {
		f.Add(fuzzImage(f, which).data)
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		if len(data) < 1<<20 {
			work(t, &memory{data: bytes.Clone(data)})
		}
	})
}

// work opens what may be any image and does some of everything with it.
func work(t *testing.T, m *memory) {
	for _, readOnly := range []bool{true, false} {
		if report, err := Check(m); allowed(t, err) && len(report.Messages) > maxMessages {
			t.Fatalf("%d messages", len(report.Messages))
		}
		d, err := Open(m, Config{ReadOnly: readOnly, CacheSize: 16 << 10, OpenBacking: func(string, string) (Backing, error) {
			return plain(pattern(20_000, 1)), nil
		}})
		if !allowed(t, err) {
			continue
		}
		size := d.Size()
		p := make([]byte, min(size, 1<<20))
		_, err = d.ReadAt(p, 0)
		allowed(t, err)
		_, err = d.ReadAt(p[:min(len(p), 4096)], size-int64(min(len(p), 4096)))
		allowed(t, err)
		if readOnly {
			_ = d.Close()
			continue
		}
		for i := 0; i < len(p)-3000; i += 1 + len(p)/7 {
			_, err = d.WriteAt(p[i:i+3000], int64(i))
			allowed(t, err)
			allowed(t, d.Flush())
			allowed(t, d.Discard(int64(i), 2048))
			allowed(t, d.WriteZeroes(int64(i)+100, 1500, i%2 == 0))
			allowed(t, d.Flush())
		}
		if size < 1<<20 {
			allowed(t, d.Resize(size+100_000))
		}
		allowed(t, d.Close())
		if len(m.data) > 0 && !bytes.HasPrefix(m.data, []byte(Magic)) {
			t.Fatal("the header was overwritten")
		}
	}
}

// FuzzQcow2Ops does what its bytes say to an image and to plain bytes: 6 bytes a request.
func FuzzQcow2Ops(f *testing.F) {
	f.Add(uint8(0), []byte("\x00\x00\x00\x10\x00\x01\x01\x10\x00\x20\x00\x02\x05\x00\x00\x00\x00\x00"))
	f.Add(uint8(12), []byte("\x00\x00\x00\x10\x00\x01\x03\x02\x00\x04\x00\x02\x04\x00\x00\x00\x00\x00\x00\x02\x10\x00\x40\x09"))
	f.Fuzz(func(t *testing.T, which uint8, ops []byte) {
		const size = 40_000
		m := fuzzImage(t, which)
		base := plain(pattern(20_000, 1))
		d := openOn(t, m, base)
		defer func() { _ = d.Close() }()
		want := make([]byte, size)
		read := func(p []byte, off int64) {
			if _, err := d.ReadAt(p, off); err != nil {
				t.Fatal(err)
			}
		}
		read(want, 0)
		for i := 0; len(ops) >= 6 && i < 200; ops, i = ops[6:], i+1 {
			off := int64(binary.BigEndian.Uint16(ops[1:])) % size
			n := min(int64(binary.BigEndian.Uint16(ops[3:])), size-off)
			var err error
			switch ops[0] % 7 {
			case 0, 1:
				copy(want[off:off+n], pattern(int(n), ops[5]))
				_, err = d.WriteAt(want[off:off+n], off)
			case 2, 3:
				clear(want[off : off+n])
				err = d.WriteZeroes(off, n, ops[0]%7 == 2)
			case 4:
				// A discarded byte reads as before or as what lies under it.
				before := bytes.Clone(want[off : off+n])
				err = d.Discard(off, n)
				read(want[off:off+n], off)
				for i, b := range want[off : off+n] {
					if at := off + int64(i); b != before[i] && b != 0 && (at >= base.Size() || b != base[at]) {
						t.Fatalf("discarded byte %#x reads as %#x, was %#x", at, b, before[i])
					}
				}
			case 5:
				err = d.Flush()
			case 6:
				if err = d.Close(); err == nil {
					d = openOn(t, m, base)
				}
			}
			if err != nil {
				t.Fatal(err)
			}
		}
		got := make([]byte, size)
		read(got, 0)
		if !bytes.Equal(got, want) {
			t.Fatal("the image reads otherwise than plain bytes")
		}
		if err := d.Close(); err != nil {
			t.Fatal(err)
		}
		sound(t, m, 0)
		d = openOn(t, m, base)
	})
}
