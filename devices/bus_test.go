package devices

import (
	"bytes"
	"errors"
	"fmt"
	"math"
	"strings"
	"testing"
)

// ramDevice is a device with one byte of memory per address; it notes the pieces
// that it was given.
type ramDevice struct {
	name string
	mem  []byte
	log  []string
}

func (r *ramDevice) Name() string { return r.name }

func (r *ramDevice) Read(off uint64, data []byte) {
	r.log = append(r.log, fmt.Sprintf("r%d+%d", off, len(data)))
	copy(data, r.mem[off:])
}

func (r *ramDevice) Write(off uint64, data []byte) {
	r.log = append(r.log, fmt.Sprintf("w%d+%d", off, len(data)))
	copy(r.mem[off:], data)
}

func newRAM(name string, mem ...byte) *ramDevice { return &ramDevice{name: name, mem: mem} }

func TestBusRegisterErrors(t *testing.T) {
	tests := []struct {
		name       string
		kind       string
		base, size uint64
		want       error
		text       []string
	}{
		{"empty", KindPIO, 0x10, 0, ErrRange, []string{"pio bus", "new", "zero"}},
		{"wraps", KindMMIO, math.MaxUint64, 2, ErrRange, []string{"mmio bus", "wraps"}},
		{"beyond ports", KindPIO, 0xFFFF, 2, ErrRange, []string{"0xffff"}},
		{"same", KindPIO, 0x3F8, 8, ErrOverlap, []string{"new 0x3f8-0x3ff", "old 0x3f8-0x3ff"}},
		{"tail", KindPIO, 0x3F0, 9, ErrOverlap, []string{"new", "old"}},
		{"head", KindPIO, 0x3FF, 1, ErrOverlap, []string{"new", "old"}},
		{"around", KindPIO, 0x300, 0x200, ErrOverlap, []string{"new", "old"}},
		{"inside", KindPIO, 0x3FA, 1, ErrOverlap, []string{"new", "old"}},
		{"before", KindPIO, 0x3F0, 8, nil, nil},
		{"behind", KindPIO, 0x400, 8, nil, nil},
		{"top port", KindPIO, 0xFFFF, 1, nil, nil},
		{"top of memory", KindMMIO, math.MaxUint64, 1, nil, nil},
		{"almost everything", KindMMIO, 0x400, math.MaxUint64 - 0x3FF, nil, nil},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			b := NewBus(tt.kind)
			if err := b.Register(0x3F8, 8, newRAM("old")); err != nil {
				t.Fatal(err)
			}
			err := b.Register(tt.base, tt.size, newRAM("new"))
			if !errors.Is(err, tt.want) {
				t.Fatalf("Register: %v, want %v", err, tt.want)
			}
			for _, s := range tt.text {
				if !strings.Contains(err.Error(), s) {
					t.Errorf("error %q does not mention %q", err, s)
				}
			}
		})
	}
}

func TestBusSealed(t *testing.T) {
	b := NewBus(KindMMIO)
	b.Seal()
	if err := b.Register(0, 1, newRAM("late")); !errors.Is(err, ErrSealed) {
		t.Fatalf("Register after Seal: %v", err)
	}
}

func TestBusNamesTypeWithoutName(t *testing.T) {
	b := NewBus(KindPIO)
	type anon struct{ Device }
	err := b.Register(1, 0, anon{})
	if err == nil || !strings.Contains(err.Error(), "devices.anon") {
		t.Fatalf("error %v does not name the type", err)
	}
}

func TestBusRouting(t *testing.T) {
	b := NewBus(KindPIO)
	lo, mid, hi := newRAM("lo", 1, 2), newRAM("mid", 3, 4), newRAM("hi", 9)
	for base, d := range map[uint64]*ramDevice{0x10: lo, 0x12: mid, 0xFFFF: hi} {
		if err := b.Register(base, uint64(len(d.mem)), d); err != nil {
			t.Fatal(err)
		}
	}
	b.Seal()
	tests := []struct {
		addr   uint64
		want   []byte
		missed uint64
	}{
		{0x10, []byte{1}, 0},
		{0x10, []byte{1, 2}, 0},
		{0x11, []byte{2, 3}, 0},                     // straddles two devices
		{0x10, []byte{1, 2, 3, 4}, 0},               // both whole
		{0x13, []byte{4, 0xFF, 0xFF, 0xFF}, 1},      // runs off the end
		{0x0F, []byte{0xFF, 1, 2, 3}, 1},            // runs in
		{0x00, []byte{0xFF}, 1},                     // below all
		{0x20, []byte{0xFF, 0xFF}, 1},               // a gap
		{0xFFFF, []byte{9, 0xFF, 0xFF, 0xFF}, 1},    // past the last port
		{0xFFFD, []byte{0xFF, 0xFF, 9, 0xFF}, 1},    // around the last port
		{math.MaxUint64, []byte{0xFF, 0xFF}, 1},     // wraps around
		{math.MaxUint64 - 3, []byte{0xFF, 0xFF}, 1}, // far away
	}
	for _, tt := range tests {
		before := b.Unhandled()
		got := make([]byte, len(tt.want))
		b.Read(tt.addr, got)
		if !bytes.Equal(got, tt.want) {
			t.Errorf("Read(%#x) = %v, want %v", tt.addr, got, tt.want)
		}
		if n := b.Unhandled() - before; n != tt.missed {
			t.Errorf("Read(%#x) counted %d unhandled, want %d", tt.addr, n, tt.missed)
		}
	}
}

func TestBusWriteSplits(t *testing.T) {
	var miss []string
	b := NewBus(KindMMIO, func(addr uint64, size int, write bool) {
		miss = append(miss, fmt.Sprintf("%#x+%d %v", addr, size, write))
	})
	d1, d2 := newRAM("one", 0, 0), newRAM("two", 0, 0)
	if err := errors.Join(b.Register(0x100, 2, d1), b.Register(0x103, 2, d2)); err != nil {
		t.Fatal(err)
	}
	b.Seal()
	b.Write(0x101, []byte{1, 2, 3, 4, 5, 6, 7, 8})
	if !bytes.Equal(d1.mem, []byte{0, 1}) || !bytes.Equal(d2.mem, []byte{3, 4}) {
		t.Errorf("memory is %v and %v", d1.mem, d2.mem)
	}
	if want := "[0x101+8 true]"; fmt.Sprint(miss) != want {
		t.Errorf("unhandled %v, want %s", miss, want)
	}
	if fmt.Sprint(d1.log, d2.log) != "[w1+1] [w0+2]" {
		t.Errorf("pieces %v %v", d1.log, d2.log)
	}
}

// nopDevice does nothing, quickly.
type nopDevice struct{}

func (nopDevice) Read(uint64, []byte)  {}
func (nopDevice) Write(uint64, []byte) {}

// pcBus has about as many ranges as a machine.
func pcBus(t testing.TB) *Bus {
	b := NewBus(KindPIO)
	for _, p := range []uint64{0x60, 0x64, 0x70, 0x80, 0x92, 0x2F8, 0x3F8, 0x505, 0x600, 0xCF8, 0xCFC} {
		if err := b.Register(p, 1, nopDevice{}); err != nil {
			t.Fatal(err)
		}
	}
	b.Seal()
	return b
}

func TestBusNoAllocs(t *testing.T) {
	b := pcBus(t)
	data := make([]byte, 4)
	wantNoAllocs(t, "hit", func() { b.Read(0x3F8, data[:1]); b.Write(0x3F8, data[:1]) })
	wantNoAllocs(t, "split", func() { b.Read(0x3F7, data); b.Write(0x3F7, data) })
	wantNoAllocs(t, "miss", func() { b.Read(0x1000, data); b.Write(0x1000, data) })
}

func BenchmarkBusRead(b *testing.B) {
	bus := pcBus(b)
	data := make([]byte, 1)
	b.ReportAllocs()
	for b.Loop() {
		bus.Read(0x3F8, data)
	}
}

// BenchmarkBusReadTable is the alternative that was weighed: a byte for each port.
func BenchmarkBusReadTable(b *testing.B) {
	bus := pcBus(b)
	var table [maxPort + 1]uint8
	for i, m := range bus.maps {
		table[m.base] = uint8(i + 1)
	}
	data := make([]byte, 1)
	addr := uint64(0x3F8)
	b.ReportAllocs()
	for b.Loop() {
		if i := table[addr&maxPort]; i != 0 {
			m := &bus.maps[i-1]
			if m.covers(addr, len(data)) {
				m.dev.Read(addr-m.base, data)
			}
		}
	}
}
