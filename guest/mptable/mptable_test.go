package mptable

import (
	"encoding/binary"
	"errors"
	"fmt"
	"testing"
)

func machine(cpus int) Config {
	return Config{
		EBDA: 0x9FC00, EBDAEnd: 0xA0000, CPUs: cpus,
		LocalAPIC: 0xFEE0_0000, IOAPIC: 0xFEC0_0000,
		Signature: 0x663, Features: 0x201,
	}
}

// ram is the first megabyte of a guest.
type ram []byte

func (m ram) WriteAt(p []byte, gpa uint64) error {
	if gpa+uint64(len(p)) > uint64(len(m)) {
		return errors.New("not in RAM")
	}
	copy(m[gpa:], p)
	return nil
}

// parsed is what the strict reader has found.
type parsed struct {
	cpus, irqs, local int
	ioapic            byte
}

// scan looks for the floating pointer where section 4 says, and where Linux does.
func scan(m ram) (uint64, error) {
	for _, r := range [][2]uint64{{0, 0x400}, {639 << 10, 640 << 10}, {0xF0000, 0x100000}} {
		for gpa := r[0]; gpa < r[1]; gpa += 16 {
			b := m[gpa:][:16]
			if string(b[:4]) != "_MP_" {
				continue
			}
			if b[8] != 1 || b[9] != 4 || sum(b) != 0 {
				return 0, fmt.Errorf("bad floating pointer % x", b)
			}
			if b[11]|b[12]|b[13]|b[14]|b[15] != 0 {
				return 0, fmt.Errorf("feature bytes % x: want a table and virtual wire mode", b[11:])
			}
			return uint64(binary.LittleEndian.Uint32(b[4:])), nil
		}
	}
	return 0, errors.New("no floating pointer")
}

func sum(b []byte) (s byte) {
	for _, v := range b {
		s += v
	}
	return s
}

// read follows section 4.2 and 4.3 to the letter.
func read(m ram) (p parsed, err error) {
	at, err := scan(m)
	if err != nil {
		return p, err
	}
	if at%16 != 0 || at >= 640<<10 {
		return p, fmt.Errorf("table at %#x", at)
	}
	b := m[at:]
	b = b[:binary.LittleEndian.Uint16(b[4:])]
	switch {
	case string(b[:4]) != "PCMP" || b[6] != 4 || sum(b) != 0:
		return p, fmt.Errorf("bad header % x", b[:44])
	case binary.LittleEndian.Uint32(b[28:]) != 0 || binary.LittleEndian.Uint16(b[32:]) != 0:
		return p, errors.New("an OEM table")
	case binary.LittleEndian.Uint32(b[36:]) != 0xFEE0_0000:
		return p, errors.New("wrong address of the local APIC")
	case binary.LittleEndian.Uint32(b[40:]) != 0:
		return p, errors.New("an extended table, or reserved bytes set")
	}
	count := int(binary.LittleEndian.Uint16(b[34:]))
	ids := map[byte]bool{}
	last, boot := byte(0), 0
	for b = b[44:]; len(b) > 0; count-- {
		if b[0] < last || b[0] > 4 {
			return p, fmt.Errorf("entry of type %d after one of type %d", b[0], last)
		}
		last = b[0]
		switch b[0] {
		case 0:
			if ids[b[1]] || b[1] == 0xFF || b[3]&1 == 0 {
				return p, fmt.Errorf("bad processor % x", b[:20])
			}
			ids[b[1]] = true
			boot += int(b[3] >> 1 & 1)
			p.cpus++
			b = b[20:]
			continue
		case 1:
			if b[1] != 0 || string(b[2:8]) != "ISA   " {
				return p, fmt.Errorf("bad bus % x", b[:8])
			}
		case 2:
			if ids[b[1]] || b[1] == 0xFF || b[3] != 1 || binary.LittleEndian.Uint32(b[4:]) != 0xFEC0_0000 {
				return p, fmt.Errorf("bad IOAPIC % x", b[:8])
			}
			p.ioapic = b[1]
		case 3:
			if b[1] != 0 || b[4] != 0 || b[6] != p.ioapic || b[5] != b[7] || b[7] > 23 {
				return p, fmt.Errorf("bad interrupt % x", b[:8])
			}
			p.irqs++
		case 4:
			if want := [...]byte{3, 1}[p.local]; b[1] != want || b[6] != 0xFF || int(b[7]) != p.local {
				return p, fmt.Errorf("bad local interrupt % x", b[:8])
			}
			p.local++
		}
		b = b[8:]
	}
	if count != 0 || boot != 1 {
		return p, fmt.Errorf("%d entries too few, %d boot processors", count, boot)
	}
	return p, nil
}

func TestTables(t *testing.T) {
	for cpus := 1; cpus <= MaxCPUs; cpus++ {
		tables, err := Build(machine(cpus))
		if err != nil {
			t.Fatal(err)
		}
		m := make(ram, 1<<20)
		if err := tables.Write(m); err != nil {
			t.Fatal(err)
		}
		p, err := read(m)
		if err != nil {
			t.Fatalf("%d CPUs: %v", cpus, err)
		}
		if p.cpus != cpus || p.irqs != 23 || p.local != 2 || int(p.ioapic) != cpus {
			t.Errorf("%d CPUs: read %+v", cpus, p)
		}
		if tables.Pointer != 0x9FC00 || tables.Start > 0x9FC00 || tables.Start < 0x9E000 || tables.End > 0xA0000 {
			t.Errorf("%d CPUs: pointer at %#x, tables %#x to %#x", cpus, tables.Pointer, tables.Start, tables.End)
		}
		if behind := tables.Start == 0x9FC00; behind != (cpus <= 37) {
			t.Errorf("%d CPUs: tables start at %#x", cpus, tables.Start)
		}
	}
}

func TestAPICIDs(t *testing.T) {
	c := machine(3)
	c.APICIDs = []uint32{0, 2, 200}
	tables, err := Build(c)
	if err != nil {
		t.Fatal(err)
	}
	m := make(ram, 1<<20)
	if err := tables.Write(m); err != nil {
		t.Fatal(err)
	}
	if p, err := read(m); err != nil || p.ioapic != 201 || p.cpus != 3 {
		t.Errorf("read %+v, %v", p, err)
	}
}

func TestErrors(t *testing.T) {
	tests := []struct {
		name   string
		change func(*Config)
		want   error
	}{
		{"no CPU", func(c *Config) { c.CPUs = 0 }, ErrConfig},
		{"255 CPUs", func(c *Config) { c.CPUs = 255 }, ErrTooManyCPUs},
		{"huge", func(c *Config) { c.CPUs = 1 << 62 }, ErrTooManyCPUs},
		{"id 254", func(c *Config) { c.APICIDs = []uint32{0, 254} }, ErrTooManyCPUs},
		{"x2APIC id", func(c *Config) { c.APICIDs = []uint32{0, 1 << 31} }, ErrTooManyCPUs},
		{"id twice", func(c *Config) { c.APICIDs = []uint32{3, 3} }, ErrConfig},
		{"id missing", func(c *Config) { c.APICIDs = []uint32{3} }, ErrConfig},
		{"odd address", func(c *Config) { c.EBDA++ }, ErrConfig},
		{"no address", func(c *Config) { c.EBDA = 0 }, ErrConfig},
		{"no room for the pointer", func(c *Config) { c.EBDAEnd = c.EBDA + 8 }, ErrConfig},
		{"too high", func(c *Config) { c.EBDAEnd = 1<<20 + 1 }, ErrConfig},
		{"no room below", func(c *Config) { c.EBDA, c.EBDAEnd = 16, 48 }, ErrConfig},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			c := machine(2)
			tt.change(&c)
			if _, err := Build(c); !errors.Is(err, tt.want) {
				t.Errorf("error %v, want %v", err, tt.want)
			}
		})
	}
	tables, err := Build(machine(1))
	if err != nil {
		t.Fatal(err)
	}
	if err := tables.Write(make(ram, 16)); err == nil {
		t.Error("no error outside of RAM")
	}
}
