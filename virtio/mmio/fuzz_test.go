package mmio

import (
	"encoding/binary"
	"testing"

	"github.com/gureum/gureum/virtio"
	"github.com/gureum/gureum/virtio/rng"
)

// FuzzRegisters has a driver access registers in any order and width. The page that
// the guest reads must agree with the device's state at the end, and the identity
// must not have changed.
func FuzzRegisters(f *testing.F) {
	op := func(offset, size uint16, v uint32) []byte {
		b := binary.LittleEndian.AppendUint16(nil, offset|size<<13)
		return binary.LittleEndian.AppendUint32(b, v)
	}
	var start []byte
	for _, o := range [][2]uint32{
		{regStatus, 1},
		{regStatus, 3},
		{regDriverFeaturesSel, 1},
		{regDriverFeatures, 1},
		{regStatus, 11},
		{regQueueSel, 0},
		{regQueueSize, 8},
		{regQueueDescLow, 0x10_0000},
		{regQueueDriverLow, 0x10_1000},
		{regQueueDeviceLow, 0x10_2000},
		{regQueueReady, 1},
		{regStatus, 15},
		{regQueueNotify, 0},
		{regQueueSize, 4},
		{regQueueReset, 1},
		{regInterruptACK, 3},
		{regStatus, 0},
	} {
		start = append(start, op(uint16(o[0]), 2, o[1])...)
	}
	f.Add(start)
	f.Add(start[:len(start)-6])
	f.Add(append(op(0, 0, 1), op(regConfig, 3, 1<<31)...))
	f.Fuzz(func(t *testing.T, script []byte) {
		d := newDriver(t, rng.New(rng.Config{Source: func([]byte) error { return nil }}))
		for ; len(script) >= 6; script = script[6:] {
			head := binary.LittleEndian.Uint16(script)
			size := 1 << (head >> 13 & 3)
			offset := min(uint64(head&0x1FFF), Size-uint64(size))
			data := make([]byte, size)
			copy(data, script[2:6])
			if head>>15 != 0 {
				d.Read(offset, data)
				continue
			}
			d.Write(offset, data)
		}
		if d.read(regMagic) != magic || d.read(regVersion) != version || d.read(regDeviceID) != virtio.TypeRNG {
			t.Fatal("the identity changed")
		}
		if d.read(regInterruptStatus)&interruptQueue == 0 || d.read(regInterruptStatus)&^(interruptQueue|interruptConfig) != 0 {
			t.Fatalf("interrupt status %#x", d.read(regInterruptStatus))
		}
		if status := uint32(d.Core().Status()); d.read(regStatus) != status {
			t.Fatalf("status %#x is shown as %#x", status, d.read(regStatus))
		}
		d.write(regStatus, 0)
		if d.read(regStatus) != 0 {
			t.Fatal("a reset does not reset")
		}
	})
}
