package pci

import (
	"encoding/binary"
	"testing"
)

// FuzzConfigSpace has a guest write anything anywhere in configuration space, by
// ports and by memory, and in the window. What the header says must stay true, and
// BARs answer where their registers say, within the window and one at a place.
func FuzzConfigSpace(f *testing.F) {
	f.Add([]byte{})
	// Sizing of a BAR, and a move.
	f.Add([]byte{0, 1, 0x10, 4, 0xFF, 0xFF, 0xFF, 0xFF, 0, 1, 0x10, 4, 0, 0, 8, 0xC0, 1, 1, 4, 2, 2, 0, 0, 0})
	// One BAR onto another.
	f.Add([]byte{0, 1, 4, 2, 2, 0, 0, 0, 0, 2, 4, 2, 2, 0, 0, 0, 0, 2, 0x10, 4, 0, 0, 0, 0xC0, 0, 1, 4, 2, 0, 0, 0, 0})
	// MSI-X on, vectors unmasked, masked.
	f.Add([]byte{0, 1, 4, 2, 2, 0, 0, 0, 0, 1, 0x42, 2, 0, 0x80, 0, 0, 2, 0, 12, 4, 0, 0, 0, 0, 2, 0, 12, 4, 1, 0, 0, 0})
	f.Fuzz(func(t *testing.T, script []byte) {
		b := newMSIXBus(t, 4)
		second := newRecorder()
		b.add(second, 0x8000, 16)
		identity := [...]uint32{b.read(1, 0, 4), b.read(1, 8, 4), b.read(1, 0x2C, 4), b.read(1, 0x34, 4), b.read(1, 0x3C, 4) &^ 0xFF}
		for ; len(script) >= 8; script = script[8:] {
			device, reg, size := int(script[1]&3), int(script[2]), 1<<(script[3]&3)
			v := binary.LittleEndian.Uint32(script[4:])
			switch script[0] & 3 {
			case 0:
				b.write(device, reg&^3|reg&(4-1)&^(min(size, 4)-1), min(size, 4), v)
			case 1:
				b.writeECAM(device, reg&^(size-1), min(size, 4), v)
			case 2:
				data := binary.LittleEndian.AppendUint64(nil, uint64(v)<<32|uint64(v))[:size]
				at := uint64(script[1])<<8 | uint64(reg)
				b.memory.Write(at, data)
				b.memory.Read(at, data)
			case 3:
				_ = b.msix.Event(int(v & 3)).Signal()
			}
		}
		now := [...]uint32{b.read(1, 0, 4), b.read(1, 8, 4), b.read(1, 0x2C, 4), b.read(1, 0x34, 4), b.read(1, 0x3C, 4) &^ 0xFF}
		if now != identity {
			t.Fatalf("header changed from %x to %x", identity, now)
		}
		b.checkTable()
	})
}

// checkTable holds the invariants of the table of BARs.
func (b *testBus) checkTable() {
	b.t.Helper()
	entries := b.host.table.Load().entries
	for i, e := range entries {
		if e.base < testFirst || e.last > testLast || i > 0 && entries[i-1].last >= e.base {
			b.t.Fatalf("BAR %d at %#x-%#x: out of the window or on another", e.bar, e.base, e.last)
		}
	}
	answering := 0
	for n, f := range b.host.functions[:b.host.count] {
		for i, m := range f.mapped {
			if !m.on {
				continue
			}
			answering++
			if b.read(n, regCommand, 2)&commandMemory == 0 || uint64(b.read(n, regBAR0+4*i, 4)) != m.gpa {
				b.t.Fatalf("BAR %d of device %d answers at %#x: its registers do not say so", i, n, m.gpa)
			}
		}
	}
	if answering != len(entries) {
		b.t.Fatalf("%d BARs answer, %d are in the table", answering, len(entries))
	}
}
