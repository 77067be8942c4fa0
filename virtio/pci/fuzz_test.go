package pci

import (
	"encoding/binary"
	"testing"

	"github.com/gureum/gureum/virtio/rng"
)

// FuzzRegisters has a driver access the BAR and configuration space in any order
// and width. Doorbells must be where the BAR is, and a reset must work at the end.
func FuzzRegisters(f *testing.F) {
	op := func(config bool, offset uint16, size byte, v uint32) []byte {
		b := []byte{size}
		if config {
			b[0] |= 0x80
		}
		b = binary.LittleEndian.AppendUint16(b, offset)
		return binary.LittleEndian.AppendUint32(b, v)
	}
	var start []byte
	for _, o := range []struct {
		offset uint16
		size   byte
		v      uint32
	}{
		{regDeviceStatus, 0, 1},
		{regDeviceStatus, 0, 3},
		{regDriverFeatureSelect, 2, 1},
		{regDriverFeature, 2, 1},
		{regDeviceStatus, 0, 11},
		{regConfigVector, 1, 0},
		{regQueueSelect, 1, 0},
		{regQueueSize, 1, 8},
		{regQueueVector, 1, 1},
		{regQueueDesc, 2, 0x10_0000},
		{regQueueDriver, 2, 0x10_1000},
		{regQueueDevice, 2, 0x10_2000},
		{regQueueEnable, 1, 1},
		{tableAt, 2, 0xFEE0_0000},
		{tableAt + 12, 2, 0},
		{regDeviceStatus, 0, 15},
		{notifyAt, 1, 0},
		{regQueueReset, 1, 1},
		{tableAt + 12, 2, 1},
		{regDeviceStatus, 0, 0},
	} {
		start = append(start, op(false, o.offset, o.size, o.v)...)
	}
	f.Add(start)
	f.Add(start[:len(start)-7])
	// A move of the BAR, memory off, MSI-X on.
	f.Add(append(op(true, 0x10, 2, windowFirst+0x8000), append(op(true, 4, 1, 0), op(true, 0x42, 1, 0xC000)...)...))
	f.Fuzz(func(t *testing.T, script []byte) {
		d := newDriver(t, rng.New(rng.Config{Source: func([]byte) error { return nil }}))
		for ; len(script) >= 7; script = script[7:] {
			size := uint64(1) << (script[0] & 3)
			offset := uint64(binary.LittleEndian.Uint16(script[1:]))
			data := make([]byte, 8)
			copy(data, script[3:7])
			switch script[0] >> 6 {
			case 0:
				d.window.Write(d.base+min(offset, barSize-size), data[:size])
			case 1:
				d.window.Read(d.base+min(offset, barSize-size), data[:size])
			case 2:
				d.ecam.Write(1<<15|min(offset&0xFFF, 4096-size), data[:size])
			case 3:
				d.ecam.Read(1<<15|min(offset&0xFFF, 4096-size), data[:size])
			}
		}
		if d.config(0, 4) != 0x1044_1AF4 {
			t.Fatal("the identity changed")
		}
		d.setConfig(0x10, 4, windowFirst+0x2_0000)
		d.setConfig(4, 2, 2)
		d.base = 0x2_0000
		if len(d.vm.bells) != 1 || d.vm.bells[windowFirst+d.base+notifyAt] == nil {
			t.Fatalf("doorbells %v", d.vm.bells)
		}
		d.setStatus(0)
		if d.status() != 0 {
			t.Fatal("a reset does not reset")
		}
	})
}
