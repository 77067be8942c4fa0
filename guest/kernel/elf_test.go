package kernel

import (
	"encoding/binary"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

func TestParseELFErrors(t *testing.T) {
	le := binary.LittleEndian
	load := fixtureSegment{segmentLoad, 0x1000, 0, 0x1000000, pattern(0x100), 0}
	for _, tt := range []struct {
		name  string
		image func() []byte
		want  string
	}{
		{"header cut", func() []byte { return fixtureVmlinux()[:63] }, "truncated file"},
		{"program headers cut", func() []byte { return fixtureVmlinux()[:100] }, "truncated file"},
		{"segment cut", func() []byte { return fixtureVmlinux()[:0x1800] }, "ELF segment 0: truncated"},
		{"notes cut", func() []byte { return fixtureVmlinux()[:0x7010] }, "ELF notes: truncated"},
		{"32-bit", func() []byte { b := fixtureVmlinux(); b[4] = 1; return b }, "32-bit"},
		{"other machine", func() []byte { b := fixtureVmlinux(); le.PutUint16(b[18:], 183); return b }, "another machine (number 183)"},
		{"big-endian", func() []byte { b := fixtureVmlinux(); b[5] = 2; return b }, "another machine"},
		{"object file", func() []byte { b := fixtureVmlinux(); le.PutUint16(b[16:], elfTypeRel); return b }, "kernel module"},
		{"core dump", func() []byte { b := fixtureVmlinux(); le.PutUint16(b[16:], elfTypeCore); return b }, "core dump"},
		{"type", func() []byte { b := fixtureVmlinux(); le.PutUint16(b[16:], 99); return b }, "type 99"},
		{"no program headers", func() []byte { b := fixtureVmlinux(); le.PutUint16(b[56:], 0); return b }, "without program headers"},
		{"many program headers", func() []byte { b := fixtureVmlinux(); le.PutUint16(b[56:], 0xffff); return b }, "at most 128"},
		{"header size", func() []byte { b := fixtureVmlinux(); le.PutUint16(b[54:], 32); return b }, "want at most"},
		{"header offset", func() []byte { b := fixtureVmlinux(); le.PutUint64(b[32:], 1<<63); return b }, "truncated"},
		{"nothing to load", func() []byte { return fixtureELF(0, fixtureSegment{segmentNote, 0x100, 0, 0, fixtureNote(1), 0}) }, "nothing to load"},
		{"program", func() []byte {
			return fixtureELF(0x1000000, load, fixtureSegment{segmentInterp, 0x2000, 0, 0, []byte("/lib/ld.so\x00"), 0})
		}, "a program for user space"},
		{"entry", func() []byte { return fixtureELF(0x2000000, load) }, "entry 0x2000000 lies in no segment"},
		{"PVH entry", func() []byte {
			return fixtureELF(0x1000000, load, fixtureSegment{segmentNote, 0x2000, 0, 0, fixtureNote(5), 0})
		}, "PVH entry 0x5"},
		{"overlap", func() []byte {
			return fixtureELF(0x1000000, load, fixtureSegment{segmentLoad, 0x2000, 0, 0x10000ff, []byte{1}, 0})
		}, "segments overlap"},
		{"same address", func() []byte { return fixtureELF(0x1000000, load, load) }, "segments overlap"},
		{"wraps", func() []byte {
			return fixtureELF(0x1000000, load, fixtureSegment{segmentLoad, 0x2000, 0, ^uint64(0) - 10, []byte{1}, 100})
		}, "end of the address space"},
		{"file larger than memory", func() []byte { b := fixtureVmlinux(); le.PutUint64(b[64+40:], 1); return b }, "for 1 in memory"},
		{"offset wraps", func() []byte { b := fixtureVmlinux(); le.PutUint64(b[64+8:], ^uint64(0)-5); return b }, "truncated"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			b := tt.image()
			if _, err := parseELF(readerAt(b), uint64(len(b))); err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("error %v, want %q", err, tt.want)
			}
		})
	}
}

func TestParseELFVirtualEntry(t *testing.T) {
	b := fixtureELF(0xffffffff81000010, fixtureSegment{segmentLoad, 0x1000, 0xffffffff81000000, 0x1000000, pattern(0x100), 0})
	e, err := parseELF(readerAt(b), uint64(len(b)))
	if err != nil || e.entry != 0x1000010 || e.pvhEntry != 0 {
		t.Errorf("%+v, %v", e, err)
	}
}

// TestParseELFBadNotes: notes are no reason to refuse a kernel.
func TestParseELFBadNotes(t *testing.T) {
	load := fixtureSegment{segmentLoad, 0x1000, 0, 0x1000000, pattern(0x100), 0}
	good := fixtureNote(0x1000000)
	for name, notes := range map[string][]byte{
		"cut":       good[:len(good)-60],
		"huge name": {0xff, 0xff, 0xff, 0xff, 4, 0, 0, 0, 18, 0, 0, 0, 'X', 'e', 'n', 0, 1, 2, 3, 4},
		"huge desc": {4, 0, 0, 0, 0xff, 0xff, 0xff, 0xff, 18, 0, 0, 0, 'X', 'e', 'n', 0, 1, 2, 3, 4},
		"odd desc":  {4, 0, 0, 0, 2, 0, 0, 0, 18, 0, 0, 0, 'X', 'e', 'n', 0, 1, 2, 0, 0},
		"empty":     {},
	} {
		b := fixtureELF(0x1000000, load, fixtureSegment{segmentNote, 0x2000, 0, 0, notes, 0})
		if e, err := parseELF(readerAt(b), uint64(len(b))); err != nil || e.pvhEntry != 0 {
			t.Errorf("%s: %+v, %v", name, e, err)
		}
	}
}

// TestParseELFNote32 has the PVH entry in four bytes.
func TestParseELFNote32(t *testing.T) {
	load := fixtureSegment{segmentLoad, 0x1000, 0, 0x1000000, pattern(0x100), 0}
	note := []byte{4, 0, 0, 0, 4, 0, 0, 0, 18, 0, 0, 0, 'X', 'e', 'n', 0, 0x20, 0, 0, 1}
	b := fixtureELF(0x1000000, load, fixtureSegment{segmentNote, 0x2000, 0, 0, note, 0})
	if e, err := parseELF(readerAt(b), uint64(len(b))); err != nil || e.pvhEntry != 0x1000020 {
		t.Errorf("%+v, %v", e, err)
	}
}

// TestPipe: a pipe without a writer must not block.
func TestPipe(t *testing.T) {
	path := filepath.Join(t.TempDir(), "pipe")
	if err := syscall.Mkfifo(path, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(path, Options{NoCache: true}); err == nil || !strings.Contains(err.Error(), "a pipe") {
		t.Error(err)
	}
}

// TestOwnProgram: the file of this test is an ELF file, but no kernel.
func TestOwnProgram(t *testing.T) {
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	img, err := Open(self, Options{NoCache: true})
	if err != nil {
		return // a program with an interpreter is refused at once
	}
	defer img.Close()
	if _, err := img.Load(newMemory(t, 32<<20)); err == nil && img.Protocols().Has(PVH) {
		t.Error("a Go test is a PVH kernel")
	}
}

func TestTrim(t *testing.T) {
	data := append(pattern(0x1100), make([]byte, 0x5000)...)
	b := fixtureELF(0x1000000,
		fixtureSegment{segmentLoad, 0x1000, 0, 0x1000000, data, 0x9000},
		fixtureSegment{segmentLoad, 0x8000, 0, 0x2000000, make([]byte, 0x3000), 0},
		fixtureSegment{segmentLoad, 0xc000, 0, 0x3000000, append(pattern(0x100), make([]byte, 0x80)...), 0},
	)
	trimELF(b)
	e, err := parseELF(readerAt(b), uint64(len(b)))
	if err != nil {
		t.Fatal(err)
	}
	for i, want := range []uint64{uint64(lastNonZero(data)), 0, 0x180} {
		if got := e.segments[i].fileSize; got != want {
			t.Errorf("segment %d: %#x bytes, want %#x", i, got, want)
		}
	}
	if e.segments[0].memSize != 0x9000 || lastNonZero(data) > 0x1100 {
		t.Errorf("memory size %#x, %#x", e.segments[0].memSize, lastNonZero(data))
	}
}
