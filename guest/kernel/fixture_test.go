package kernel

import (
	"bytes"
	"compress/gzip"
	"encoding/binary"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/klauspost/compress/zstd"
	"github.com/pierrec/lz4/v4"
	"github.com/ulikunitz/xz/lzma"
)

// fixtureSegment is one program header of a test ELF and the bytes behind it.
type fixtureSegment struct {
	kind              uint32
	offset, vaddr, pa uint64
	data              []byte
	mem               uint64 // 0 is len(data)
}

// fixtureELF writes an x86-64 ELF file as a linker would.
func fixtureELF(entry uint64, segments ...fixtureSegment) []byte {
	le := binary.LittleEndian
	out := make([]byte, elfHeaderSize+len(segments)*elfSegmentSize)
	copy(out, "\x7fELF\x02\x01\x01")
	le.PutUint16(out[16:], elfTypeExec)
	le.PutUint16(out[18:], machineAMD64)
	le.PutUint32(out[20:], 1)
	le.PutUint64(out[24:], entry)
	le.PutUint64(out[32:], elfHeaderSize)
	le.PutUint16(out[52:], elfHeaderSize)
	le.PutUint16(out[54:], elfSegmentSize)
	le.PutUint16(out[56:], uint16(len(segments)))
	for i, s := range segments {
		h := out[elfHeaderSize+i*elfSegmentSize:]
		le.PutUint32(h, s.kind)
		le.PutUint64(h[8:], s.offset)
		le.PutUint64(h[16:], s.vaddr)
		le.PutUint64(h[24:], s.pa)
		le.PutUint64(h[32:], uint64(len(s.data)))
		le.PutUint64(h[40:], max(s.mem, uint64(len(s.data))))
		if end := s.offset + uint64(len(s.data)); end > uint64(len(out)) {
			out = append(out, make([]byte, end-uint64(len(out)))...)
		}
		copy(out[s.offset:], s.data)
	}
	return out
}

// fixtureNote is a PVH note among others.
func fixtureNote(entry uint64) []byte {
	note := func(typ uint32, name string, desc []byte) []byte {
		b := binary.LittleEndian.AppendUint32(nil, uint32(len(name)))
		b = binary.LittleEndian.AppendUint32(b, uint32(len(desc)))
		b = binary.LittleEndian.AppendUint32(b, typ)
		b = append(b, name...)
		b = append(b, make([]byte, -len(b)&3)...)
		b = append(b, desc...)
		return append(b, make([]byte, -len(b)&3)...)
	}
	out := note(6, "Xen\x00", []byte("linux\x00"))
	out = append(out, note(18, "GNU\x00", []byte{1, 2, 3, 4})...)
	out = append(out, note(18, "Xen\x00", binary.LittleEndian.AppendUint64(nil, entry))...)
	return append(out, note(3, "Linux\x00", []byte{9})...)
}

// pattern is n bytes, no page like the other, that compress like code does.
func pattern(n int) []byte {
	b := make([]byte, n)
	for i := range b {
		b[i] = byte(i) ^ byte(i>>6)&3 ^ byte(i>>12)
	}
	return b
}

// fixtureVmlinux is laid out like a Linux kernel: text that is congruent to its
// address, data that ends within a page, a per-CPU segment, .bss.
func fixtureVmlinux() []byte {
	const text, data = 0x1000000, 0x1200000
	return fixtureELF(text,
		fixtureSegment{segmentLoad, 0x1000, 0xffffffff81000000, text, pattern(0x3000), 0},
		fixtureSegment{segmentLoad, 0x4000, 0xffffffff81200000, data, pattern(0x1234), 0x8000},
		fixtureSegment{segmentLoad, 0x6000, 0, 0x1300000, pattern(0x100), 0},
		fixtureSegment{segmentNote, 0x7000, 0, 0, fixtureNote(text + 0x40), 0},
	)
}

// hangAfter is more than any small image may take, even on an emulated machine
// that is busy with other things; a decoder that does not end takes longer.
const hangAfter = time.Minute

// tinyVmlinux is a kernel of few bytes, for fuzzers to change.
func tinyVmlinux() []byte {
	return fixtureELF(0x1000000,
		fixtureSegment{segmentLoad, 0x100, 0xffffffff81000000, 0x1000000, pattern(0x80), 0x1000},
		fixtureSegment{segmentNote, 0x180, 0, 0, fixtureNote(0x1000010), 0},
	)
}

// fixtureHeader are the fields of a test bzImage that tests change.
type fixtureHeader struct {
	protocol   uint16
	initSize   uint32
	pref       uint64
	xload      uint16
	alignment  uint32
	version    string
	compressed []byte // with the size behind it
}

// fixtureBzImage writes a bzImage around a payload.
func fixtureBzImage(h fixtureHeader) []byte {
	const sectors = 2
	const payload = 0x300 // in the code
	code := make([]byte, payload+len(h.compressed))
	copy(code[payload:], h.compressed)
	code = append(code, make([]byte, 16+-len(code)&15)...)
	out := make([]byte, (sectors+1)*sectorSize, (sectors+1)*sectorSize+len(code))
	le := binary.LittleEndian
	out[offSetupSects] = sectors
	le.PutUint32(out[offSyssize:], uint32(len(code)/16))
	le.PutUint16(out[offBootFlag:], bootFlag)
	out[offJump], out[offJump+1] = 0xeb, 0x6a
	copy(out[offMagic:], headerMagic)
	le.PutUint16(out[offVersion:], h.protocol)
	out[offLoadFlags] = loadedHigh
	le.PutUint32(out[offInitrdMax:], 0x7fffffff)
	le.PutUint32(out[offAlignment:], h.alignment)
	out[offRelocatable] = 1
	le.PutUint16(out[offXLoadFlags:], h.xload)
	le.PutUint32(out[offCmdlineSize:], 2047)
	le.PutUint32(out[offPayload:], payload)
	le.PutUint32(out[offPayloadLen:], uint32(len(h.compressed)))
	le.PutUint64(out[offPrefAddress:], h.pref)
	le.PutUint32(out[offInitSize:], h.initSize)
	if h.version != "" {
		const at = 0x400
		copy(out[at:], h.version)
		le.PutUint16(out[offKernelVersion:], at-offJump)
	}
	return append(out, code...)
}

// goodHeader is a header as today's kernels have it.
func goodHeader(compressed []byte) fixtureHeader {
	return fixtureHeader{
		protocol: 0x20f, initSize: 0x400000, pref: 0x1000000, xload: 0x7f, alignment: 0x200000,
		version: "6.1.0-test (builder@host) #1 SMP", compressed: compressed,
	}
}

func appendSize(packed, plain []byte) []byte {
	return binary.LittleEndian.AppendUint32(packed, uint32(len(plain)))
}

// pack compresses plain as the kernel's build does. The formats that Go cannot
// write come as files in testdata.
func pack(t testing.TB, c Compression, plain []byte) []byte {
	t.Helper()
	var buf bytes.Buffer
	check := func(err error) {
		if err != nil {
			t.Fatal(err)
		}
	}
	switch c {
	case Gzip:
		w := gzip.NewWriter(&buf)
		_, err := w.Write(plain)
		check(err)
		check(w.Close())
		return buf.Bytes()
	case LZMA:
		w, err := lzma.WriterConfig{EOSMarker: true}.NewWriter(&buf)
		check(err)
		_, err = w.Write(plain)
		check(err)
		check(w.Close())
	case LZ4:
		buf.Write(packLZ4(t, plain))
	case Zstd:
		w, err := zstd.NewWriter(&buf, zstd.WithEncoderConcurrency(1))
		check(err)
		_, err = w.Write(plain)
		check(err)
		check(w.Close())
	case LZO:
		buf.Write(packLZO(plain))
	case Uncompressed:
		return plain
	default:
		t.Fatalf("no packer for %s", c)
	}
	return appendSize(buf.Bytes(), plain)
}

func packLZ4(t testing.TB, plain []byte) []byte {
	out := binary.LittleEndian.AppendUint32(nil, lz4LegacyMagic)
	for len(plain) > 0 {
		n := min(len(plain), lz4LegacyBlock)
		block := make([]byte, lz4.CompressBlockBound(n))
		size, err := lz4.CompressBlock(plain[:n], block, nil)
		if err != nil || size == 0 {
			t.Fatalf("lz4: %d bytes, %v", size, err)
		}
		out = binary.LittleEndian.AppendUint32(out, uint32(size))
		out = append(out, block[:size]...)
		plain = plain[n:]
	}
	return out
}

// packLZO writes an lzop file whose only block is a run of literals.
func packLZO(plain []byte) []byte {
	be := binary.BigEndian
	out := []byte(lzopMagic)
	out = be.AppendUint16(out, 0x1030)
	out = be.AppendUint16(out, 0x20a0)
	out = be.AppendUint16(out, 0x0940)
	out = append(out, 3, 9)                // method, level
	out = be.AppendUint32(out, 0)          // flags
	out = append(out, make([]byte, 12)...) // mode, time
	out = append(out, 0)                   // name
	out = be.AppendUint32(out, 0)          // sum
	for len(plain) > 0 {
		n := min(len(plain), 238)
		// 17+n: copy n literals; 0x11 0 0: end of stream. Longer than the plain
		// bytes, which lzop would store, so stored they are.
		out = be.AppendUint32(out, uint32(n))
		out = be.AppendUint32(out, uint32(n))
		out = append(out, plain[:n]...)
		plain = plain[n:]
	}
	return be.AppendUint32(out, 0)
}

// cacheOptions are options with a cache of the test's own.
func cacheOptions(t testing.TB) Options {
	t.Helper()
	return Options{CacheDir: filepath.Join(t.TempDir(), "cache")}
}

// writeImage writes an image to a file that its times identify.
func writeImage(t testing.TB, name string, b []byte) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(path, b, 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// trustTimes makes files cacheable by identity at once.
func trustTimes(t testing.TB) {
	t.Helper()
	old := racyWindow
	racyWindow = -time.Hour
	t.Cleanup(func() { racyWindow = old })
}
