package devices

import (
	"bytes"
	"encoding/binary"
	"testing"
)

// stampDevice answers with its number and counts what it was given.
type stampDevice struct {
	id      byte
	size    uint64
	written map[uint64]byte
	t       *testing.T
}

func (d *stampDevice) check(off uint64, n int) {
	if n == 0 || off >= d.size || uint64(n) > d.size-off {
		d.t.Fatalf("device %d of size %#x got offset %#x, %d bytes", d.id, d.size, off, n)
	}
}

func (d *stampDevice) Read(off uint64, data []byte) {
	d.check(off, len(data))
	for i := range data {
		data[i] = d.id ^ byte(off+uint64(i))
	}
}

func (d *stampDevice) Write(off uint64, data []byte) {
	d.check(off, len(data))
	for i, v := range data {
		d.written[off+uint64(i)] = v
	}
}

// naiveBus is the obvious bus: every byte looks at every range.
type naiveBus []struct {
	base, size uint64
	dev        *stampDevice
}

func (n naiveBus) at(addr uint64) (*stampDevice, uint64) {
	for _, r := range n {
		if addr >= r.base && addr-r.base < r.size {
			return r.dev, addr - r.base
		}
	}
	return nil, 0
}

// FuzzBus compares the bus with the naive one: on what may be registered, and on
// which bytes of an access each device sees.
func FuzzBus(f *testing.F) {
	f.Add([]byte{0x10, 0, 2, 0x12, 0, 4}, uint64(0x11), uint8(8))
	f.Add([]byte{0xFF, 0xFF, 1}, uint64(0xFFFE), uint8(4))
	f.Add([]byte{0xFF, 0xFF, 1}, ^uint64(0), uint8(8))
	f.Fuzz(func(t *testing.T, ranges []byte, addr uint64, n uint8) {
		b := NewBus(KindMMIO)
		var naive naiveBus
		high := addr &^ 0xFFFF // put the devices where the access goes
		for i := 0; i+3 <= len(ranges) && i < 3*40; i += 3 {
			base := high | uint64(binary.LittleEndian.Uint16(ranges[i:]))
			size := uint64(ranges[i+2])
			d := &stampDevice{id: byte(i + 1), size: size, written: map[uint64]byte{}, t: t}
			bad := size == 0 || base+size-1 < base
			for k := uint64(0); k < size && !bad; k++ {
				dev, _ := naive.at(base + k)
				bad = dev != nil
			}
			if err := b.Register(base, size, d); (err != nil) != bad {
				t.Fatalf("Register(%#x, %#x): %v, want failure %v", base, size, err, bad)
			}
			if !bad {
				naive = append(naive, struct {
					base, size uint64
					dev        *stampDevice
				}{base, size, d})
			}
		}
		b.Seal()
		compareBus(t, b, naive, addr, int(n%33))
	})
}

func compareBus(t *testing.T, b *Bus, naive naiveBus, addr uint64, n int) {
	got, want, data := make([]byte, n), make([]byte, n), make([]byte, n)
	b.Read(addr, got)
	missed := uint64(0)
	for i := range want {
		data[i] = byte(i*7 + 1)
		want[i] = allOnes
		at := addr + uint64(i)
		d, off := naive.at(at)
		if at < addr {
			d = nil
		}
		if d == nil {
			missed = 1
			continue
		}
		want[i] = d.id ^ byte(off)
	}
	if !bytes.Equal(got, want) {
		t.Fatalf("Read(%#x) = %x, want %x", addr, got, want)
	}
	if b.Unhandled() != missed {
		t.Fatalf("unhandled %d, want %d", b.Unhandled(), missed)
	}
	b.Write(addr, data)
	total := 0
	for _, r := range naive {
		total += len(r.dev.written)
	}
	for i := range data {
		at := addr + uint64(i)
		d, off := naive.at(at)
		if at < addr || d == nil {
			continue
		}
		total--
		if v, ok := d.written[off]; !ok || v != data[i] {
			t.Fatalf("Write(%#x): byte %d did not reach device %d", addr, i, d.id)
		}
	}
	if total != 0 {
		t.Fatalf("Write(%#x): %d bytes went astray", addr, total)
	}
}
