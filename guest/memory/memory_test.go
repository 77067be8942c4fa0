package memory

import (
	"bytes"
	"errors"
	"fmt"
	"math"
	"strings"
	"testing"
)

func newMemory(t testing.TB, cfg Config) *Memory {
	t.Helper()
	m, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := m.Close(); err != nil {
			t.Error(err)
		}
	})
	return m
}

func TestValidate(t *testing.T) {
	for _, tt := range []struct {
		cfg  Config
		want string // part of the error; "" is none
	}{
		{Config{Size: 32 << 20}, ""},
		{Config{Size: 1 << 40}, ""},
		{Config{Size: MaxSize}, ""},
		{Config{Size: 34 << 20, HugePages: Page2M}, ""},
		{Config{Size: 3 << 30, HugePages: Page1G}, ""},
		{Config{}, "at least 32 MiB"},
		{Config{Size: 1 << 20}, "at least 32 MiB"},
		{Config{Size: 100 << 40}, "at most 16 TiB"},
		{Config{Size: math.MaxUint64}, "at most 16 TiB"},
		{Config{Size: 32<<20 + 1}, "not a multiple"},
		{Config{Size: 33 << 20, HugePages: Page2M}, "not a multiple"},
		{Config{Size: 34 << 20, HugePages: Page1G}, "not a multiple"},
		{Config{Size: 64 << 20, HugePages: 4096}, "want 2 MiB or 1 GiB"},
	} {
		err := tt.cfg.Validate()
		if tt.want == "" && err != nil || tt.want != "" && (err == nil || !strings.Contains(err.Error(), tt.want)) {
			t.Errorf("%+v: %v, want %q", tt.cfg, err, tt.want)
		}
	}
}

func TestRegions(t *testing.T) {
	for _, tt := range []struct {
		size uint64
		want string
	}{
		{32 << 20, "[0x0+0x2000000]"},
		{HoleStart, "[0x0+0xc0000000]"},
		{HoleStart + PageBytes, "[0x0+0xc0000000][0x100000000+0x1000]"},
		{6 << 30, "[0x0+0xc0000000][0x100000000+0xc0000000]"},
		{1 << 40, "[0x0+0xc0000000][0x100000000+0xff40000000]"},
	} {
		m := newMemory(t, Config{Size: tt.size})
		var got strings.Builder
		var sum uint64
		for _, r := range m.Regions() {
			fmt.Fprintf(&got, "[%#x+%#x]", r.GPA, r.Size)
			if (uint64(r.Host)-r.GPA)%uint64(Page2M) != 0 {
				t.Errorf("size %#x: host %#x is not congruent to %#x", tt.size, r.Host, r.GPA)
			}
			sum += r.Size
		}
		if got.String() != tt.want || sum != tt.size || m.Size() != tt.size {
			t.Errorf("size %#x: regions %s, want %s", tt.size, got.String(), tt.want)
		}
	}
}

// TestAccessBounds tries each way in at the edges of RAM, the hole, and the
// address space.
func TestAccessBounds(t *testing.T) {
	m := newMemory(t, Config{Size: HoleStart + 64<<20})
	const end = HoleEnd + 64<<20
	for _, tt := range []struct {
		gpa, n uint64
		ok     bool
	}{
		{0, 8, true},
		{0, 0, true},
		{HoleStart - 8, 8, true},
		{HoleStart - 7, 8, false},
		{HoleStart - 4, 8, false},
		{HoleStart, 0, true},
		{HoleStart, 1, false},
		{HoleStart + 1, 0, false},
		{HoleEnd - 1, 2, false},
		{HoleEnd - 1, 1, false},
		{HoleEnd, 8, true},
		{end - 8, 8, true},
		{end - 7, 8, false},
		{end, 0, true},
		{end + 1, 0, false},
		{math.MaxUint64, 1, false},
		{math.MaxUint64 - 3, 8, false},
		{0, math.MaxUint64, false},
		{8, math.MaxUint64 - 7, false},
		{HoleEnd, math.MaxUint64 - HoleEnd + 1, false},
	} {
		if got := m.Contains(tt.gpa, tt.n); got != tt.ok {
			t.Errorf("Contains(%#x, %#x) = %v", tt.gpa, tt.n, got)
		}
		s, err := m.Slice(tt.gpa, tt.n)
		if (err == nil) != tt.ok || uint64(len(s)) != tt.n && tt.ok {
			t.Errorf("Slice(%#x, %#x) = %d bytes, %v", tt.gpa, tt.n, len(s), err)
		}
		var ae *AccessError
		if !tt.ok && (!errors.As(err, &ae) || ae.GPA != tt.gpa || ae.Len != tt.n) {
			t.Errorf("Slice(%#x, %#x): error %v", tt.gpa, tt.n, err)
		}
		if v, err := m.Iovecs(nil, tt.gpa, tt.n); (err == nil) != tt.ok {
			t.Errorf("Iovecs(%#x, %#x) = %d, %v", tt.gpa, tt.n, len(v), err)
		}
		if tt.n > 8 {
			continue
		}
		p := make([]byte, tt.n)
		if err := m.ReadAt(p, tt.gpa); (err == nil) != tt.ok {
			t.Errorf("ReadAt(%#x, %#x): %v", tt.gpa, tt.n, err)
		}
		if err := m.WriteAt(p, tt.gpa); (err == nil) != tt.ok {
			t.Errorf("WriteAt(%#x, %#x): %v", tt.gpa, tt.n, err)
		}
	}
}

func TestSliceHasNoSpareCapacity(t *testing.T) {
	m := newMemory(t, Config{Size: MinSize})
	s, err := m.Slice(0x1000, 16)
	if err != nil || cap(s) != 16 {
		t.Errorf("capacity %d, %v", cap(s), err)
	}
}

func TestValues(t *testing.T) {
	m := newMemory(t, Config{Size: MinSize})
	for _, gpa := range []uint64{0x1000, 0x1001, 0x1002, 0x1003, 0x1004, 0x1007, MinSize - 8} {
		if err := m.WriteU64(gpa, 0x8877665544332211); err != nil {
			t.Fatal(err)
		}
		var b [8]byte
		if err := m.ReadAt(b[:], gpa); err != nil || b != [8]byte{0x11, 0x22, 0x33, 0x44, 0x55, 0x66, 0x77, 0x88} {
			t.Errorf("%#x: bytes % x, %v", gpa, b, err)
		}
		if v, err := m.ReadU64(gpa); v != 0x8877665544332211 || err != nil {
			t.Errorf("%#x: ReadU64 = %#x, %v", gpa, v, err)
		}
		if err := m.WriteU32(gpa, 0xa4a3a2a1); err != nil {
			t.Fatal(err)
		}
		if v, err := m.ReadU32(gpa); v != 0xa4a3a2a1 || err != nil {
			t.Errorf("%#x: ReadU32 = %#x, %v", gpa, v, err)
		}
		if err := m.WriteU16(gpa, 0xb2b1); err != nil {
			t.Fatal(err)
		}
		if v, err := m.ReadU16(gpa); v != 0xb2b1 || err != nil {
			t.Errorf("%#x: ReadU16 = %#x, %v", gpa, v, err)
		}
		if v, _ := m.ReadU64(gpa); v != 0x88776655a4a3b2b1 {
			t.Errorf("%#x: neighbours changed: %#x", gpa, v)
		}
	}
	for name, err := range map[string]error{
		"WriteU16": m.WriteU16(MinSize-1, 0),
		"WriteU32": m.WriteU32(MinSize-3, 0),
		"WriteU64": m.WriteU64(MinSize, 0),
		"ReadU16":  second(m.ReadU16(MinSize - 1)),
		"ReadU32":  second(m.ReadU32(MinSize - 3)),
		"ReadU64":  second(m.ReadU64(math.MaxUint64)),
	} {
		var ae *AccessError
		if !errors.As(err, &ae) {
			t.Errorf("%s behind the end: %v", name, err)
		}
	}
}

func second[T any](_ T, err error) error { return err }

// TestIovecsContiguous uses a layout that the machine does not have (yet): two
// regions that touch.
func TestIovecsContiguous(t *testing.T) {
	m := &Memory{}
	a, b := bytes.Repeat([]byte{1}, 16), bytes.Repeat([]byte{2}, 16)
	m.ram.Store(&[]block{{gpa: 0x100, mem: a}, {gpa: 0x110, mem: b}, {gpa: 0x200, mem: a}})
	keep := [][]byte{{9}}
	for _, tt := range []struct {
		gpa, n uint64
		want   string
	}{
		{0x100, 16, "[16]"},
		{0x108, 16, "[8 8]"},
		{0x100, 32, "[16 16]"},
		{0x110, 16, "[16]"},
		{0x100, 33, ""},
		{0xff, 2, ""},
		{0x118, 0xf0, ""},
	} {
		v, err := m.Iovecs(keep, tt.gpa, tt.n)
		if tt.want == "" {
			if err == nil || len(v) != 1 {
				t.Errorf("Iovecs(%#x, %d) = %d slices, %v", tt.gpa, tt.n, len(v), err)
			}
			continue
		}
		var lens []int
		for _, s := range v[1:] {
			lens = append(lens, len(s))
		}
		if got := fmt.Sprint(lens); got != tt.want || err != nil {
			t.Errorf("Iovecs(%#x, %d) = %s, %v; want %s", tt.gpa, tt.n, got, err, tt.want)
		}
	}
	if m.Contains(0x108, 16) {
		t.Error("Contains crosses regions")
	}
}

func TestAccessDoesNotAllocate(t *testing.T) {
	m := newMemory(t, Config{Size: HoleStart + MinSize})
	p := make([]byte, 64)
	vec := make([][]byte, 0, 4)
	n := testing.AllocsPerRun(100, func() {
		_ = m.WriteAt(p, 0x1000)
		_ = m.ReadAt(p, HoleEnd)
		_, _ = m.Slice(0x1000, 64)
		vec, _ = m.Iovecs(vec[:0], 0x1000, 64)
		_ = m.WriteU16(0x2000, 1)
		_ = m.WriteU32(0x2000, 1)
		_ = m.WriteU64(0x2000, 1)
		_, _ = m.ReadU16(0x2000)
		_, _ = m.ReadU32(0x2000)
		_, _ = m.ReadU64(0x2000)
		_ = m.Contains(0, 1)
	})
	if n != 0 {
		t.Errorf("%v allocations", n)
	}
}

func TestClose(t *testing.T) {
	m := newMemory(t, Config{Size: MinSize})
	for range 2 {
		if err := m.Close(); err != nil {
			t.Fatal(err)
		}
	}
	_, serr := m.Slice(0, 1)
	_, verr := m.Iovecs(nil, 0, 1)
	_, rerr := m.ReadU32(0)
	for name, err := range map[string]error{
		"ReadAt": m.ReadAt(make([]byte, 1), 0), "WriteAt": m.WriteAt(make([]byte, 1), 0),
		"Slice": serr, "Iovecs": verr, "ReadU32": rerr, "WriteU64": m.WriteU64(0, 0),
		"Discard": m.Discard(0, PageBytes),
	} {
		if !errors.Is(err, ErrClosed) {
			t.Errorf("%s after Close: %v", name, err)
		}
	}
	if m.Regions() != nil || m.Contains(0, 1) {
		t.Error("a closed memory has RAM")
	}
}

func BenchmarkReadU32(b *testing.B) {
	m := newMemory(b, Config{Size: 6 << 30})
	for b.Loop() {
		_, _ = m.ReadU32(HoleEnd + 64)
	}
}

func BenchmarkWriteU16(b *testing.B) {
	m := newMemory(b, Config{Size: 6 << 30})
	for b.Loop() {
		_ = m.WriteU16(HoleEnd+64, 1)
	}
}
