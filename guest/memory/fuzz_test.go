package memory

import (
	"bytes"
	"encoding/binary"
	"testing"
)

// model is guest RAM done in the simplest way that can be right: a map of bytes
// and a rule for which addresses exist.
type model struct {
	bytes map[uint64]byte
	high  uint64 // RAM above the hole
}

func (m *model) ram(gpa, n uint64) bool {
	in := func(start, size uint64) bool { // in steps that cannot overflow
		return gpa >= start && gpa-start <= size && n <= size-(gpa-start)
	}
	return in(0, HoleStart) || in(HoleEnd, m.high)
}

func (m *model) read(gpa, n uint64) []byte {
	p := make([]byte, n)
	for i := range p {
		p[i] = m.bytes[gpa+uint64(i)]
	}
	return p
}

func (m *model) write(gpa uint64, p []byte) {
	for i, b := range p {
		m.bytes[gpa+uint64(i)] = b
	}
}

// places are addresses where things happen; a fuzzer would be long in finding them.
var places = [...]uint64{
	0, 0x1000, 0x10_0000, HoleStart - 16, HoleStart, HoleStart + 1, HoleEnd - 8, HoleEnd,
	HoleEnd + MinSize - 16, HoleEnd + MinSize, 1 << 40, 1 << 63, ^uint64(0) - 7, ^uint64(0),
}

// FuzzAccess runs a program of accesses on a Memory and on the model. Each op is
// 12 bytes: kind, place, 16-bit offset, length or 64-bit value.
func FuzzAccess(f *testing.F) {
	f.Add([]byte("\x00\x01\x00\x00\x08\x00\x00\x00\x00\x00\x00\x00\x01\x01\x00\x00\x08\x00\x00\x00\x00\x00\x00\x00"))
	f.Add([]byte("\x02\x03\x0f\x00\x01\x02\x03\x04\x05\x06\x07\x08\x03\x03\x0f\x00\x00\x00\x00\x00\x00\x00\x00\x00"))
	f.Add([]byte("\x04\x0c\x07\x00\xff\xff\xff\xff\xff\xff\xff\xff\x05\x0d\x00\x00\xff\xff\xff\xff\xff\xff\xff\xff"))
	f.Add([]byte("\x08\x08\x08\x00\xf8\xff\xff\xff\xff\xff\xff\xff\x09\x09\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00"))
	m := newMemory(f, Config{Size: HoleStart + MinSize})
	f.Fuzz(func(t *testing.T, prog []byte) {
		md := &model{bytes: map[uint64]byte{}, high: MinSize}
		defer func() {
			for gpa := range md.bytes { // fresh RAM is made once and zeroed after each
				if err := m.WriteAt([]byte{0}, gpa); err != nil {
					t.Error(err)
				}
			}
		}()
		for ; len(prog) >= 12; prog = prog[12:] {
			gpa := places[int(prog[1])%len(places)] + uint64(binary.LittleEndian.Uint16(prog[2:]))
			step(t, m, md, prog[0], gpa, prog[4:12])
		}
	})
}

func step(t *testing.T, m *Memory, md *model, kind byte, gpa uint64, arg []byte) {
	value := binary.LittleEndian.Uint64(arg)
	switch kind % 5 {
	case 0:
		p := bytes.Repeat(arg[:1], int(arg[1]))
		if ok := m.WriteAt(p, gpa) == nil; ok != md.ram(gpa, uint64(len(p))) {
			t.Fatalf("WriteAt(%#x, %d): %v", gpa, len(p), ok)
		} else if ok {
			md.write(gpa, p)
		}
	case 1:
		p := make([]byte, int(arg[1]))
		ok := m.ReadAt(p, gpa) == nil
		if ok != md.ram(gpa, uint64(len(p))) || ok && !bytes.Equal(p, md.read(gpa, uint64(len(p)))) {
			t.Fatalf("ReadAt(%#x, %d): %v % x", gpa, len(p), ok, p)
		}
	case 2:
		stepValue(t, m, md, gpa, value, int(kind/5)%3)
	case 3:
		s, err := m.Slice(gpa, value)
		if (err == nil) != md.ram(gpa, value) || m.Contains(gpa, value) != (err == nil) {
			t.Fatalf("Slice(%#x, %#x): %v", gpa, value, err)
		}
		if err == nil && uint64(len(s)) != value {
			t.Fatalf("Slice(%#x, %#x): %d bytes", gpa, value, len(s))
		}
	case 4:
		vec, err := m.Iovecs(nil, gpa, value)
		if (err == nil) != md.ram(gpa, value) {
			t.Fatalf("Iovecs(%#x, %#x): %v", gpa, value, err)
		}
		var sum uint64
		for _, v := range vec {
			sum += uint64(len(v))
		}
		if err == nil && sum != value {
			t.Fatalf("Iovecs(%#x, %#x): %d bytes", gpa, value, sum)
		}
	}
}

func stepValue(t *testing.T, m *Memory, md *model, gpa, value uint64, size int) {
	n := uint64(2) << size
	var werr, rerr error
	var got uint64
	switch n {
	case 2:
		var v uint16
		werr = m.WriteU16(gpa, uint16(value))
		v, rerr = m.ReadU16(gpa)
		got = uint64(v)
	case 4:
		var v uint32
		werr = m.WriteU32(gpa, uint32(value))
		v, rerr = m.ReadU32(gpa)
		got = uint64(v)
	default:
		werr = m.WriteU64(gpa, value)
		got, rerr = m.ReadU64(gpa)
	}
	ok := md.ram(gpa, n)
	if (werr == nil) != ok || (rerr == nil) != ok {
		t.Fatalf("%d-byte value at %#x: write %v, read %v", n, gpa, werr, rerr)
	}
	if !ok {
		return
	}
	md.write(gpa, binary.LittleEndian.AppendUint64(nil, value)[:n])
	if want := md.read(gpa, n); !bytes.Equal(binary.LittleEndian.AppendUint64(nil, got)[:n], want) {
		t.Fatalf("%d-byte value at %#x: %#x, want % x", n, gpa, got, want)
	}
}
