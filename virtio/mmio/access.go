package mmio

import (
	"encoding/binary"

	"github.com/gureum/gureum/virtio"
)

// Read implements devices.Device. A register that is read with another width than
// its own reads as zero.
func (t *Transport) Read(offset uint64, data []byte) {
	if offset >= regConfig {
		t.core.ReadConfig(offset-regConfig, data)
		return
	}
	clear(data)
	if len(data) == 4 && offset%4 == 0 {
		binary.LittleEndian.PutUint32(data, t.image[offset/4].Load())
	}
}

// Write implements devices.Device. A write of another width than the register's
// own, or to a register that cannot be written, is lost.
func (t *Transport) Write(offset uint64, data []byte) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if offset >= regConfig {
		t.core.WriteConfig(offset-regConfig, data)
		t.refresh()
		return
	}
	if len(data) != 4 || offset%4 != 0 {
		return
	}
	v := binary.LittleEndian.Uint32(data)
	switch offset {
	case regQueueNotify:
		t.notify(v)
		return
	case regInterruptACK:
		t.image[regInterruptStatus/4].And(^(v & interruptConfig))
		return
	case regDeviceFeaturesSel:
		t.deviceSel = v
	case regDriverFeaturesSel:
		t.driverSel = v
	case regDriverFeatures:
		t.core.SetDriverFeatures(t.driverSel, v)
	case regQueueSel:
		t.queueSel = v
	case regStatus:
		t.setStatus(v)
	default:
		t.writeQueue(offset, v)
	}
	t.refresh()
}

// notify is a doorbell that no ioeventfd answers: its number is out of range, or
// KVM passed the write on.
func (t *Transport) notify(n uint32) {
	if uint64(n) < uint64(len(t.kicks)) {
		_ = t.kicks[n].Signal()
	}
}

// setStatus changes the status; zero resets the device and the transport's own
// registers.
func (t *Transport) setStatus(v uint32) {
	t.core.SetStatus(uint8(v))
	if v == 0 {
		t.deviceSel, t.driverSel, t.queueSel = 0, 0, 0
		t.image[regInterruptStatus/4].Store(interruptQueue)
	}
}

// writeQueue writes a register of the selected queue.
func (t *Transport) writeQueue(offset uint64, v uint32) {
	if uint64(t.queueSel) >= uint64(t.core.NumQueues()) {
		return
	}
	n := int(t.queueSel)
	switch offset {
	case regQueueSize:
		// A size beyond 16 bits is wrong, and so is 0.
		if v > 0xFFFF {
			v = 0
		}
		t.core.SetQueueSize(n, uint16(v))
	case regQueueReady:
		t.core.SetQueueEnabled(n, v&1 != 0)
	case regQueueDescLow, regQueueDescHigh:
		t.core.SetQueueAddr(n, virtio.PartDesc, offset == regQueueDescHigh, v)
	case regQueueDriverLow, regQueueDriverHigh:
		t.core.SetQueueAddr(n, virtio.PartDriver, offset == regQueueDriverHigh, v)
	case regQueueDeviceLow, regQueueDeviceHigh:
		t.core.SetQueueAddr(n, virtio.PartDevice, offset == regQueueDeviceHigh, v)
	case regQueueReset:
		if v&1 != 0 {
			t.core.ResetQueue(n)
		}
	}
}

// refresh brings the image up to date after a write.
func (t *Transport) refresh() {
	t.image[regDeviceFeatures/4].Store(t.core.DeviceFeatures(t.deviceSel))
	var sizeMax, ready uint32
	if uint64(t.queueSel) < uint64(t.core.NumQueues()) {
		q := t.core.Queue(int(t.queueSel))
		sizeMax = uint32(q.MaxSize)
		if q.Enabled {
			ready = 1
		}
	}
	t.image[regQueueSizeMax/4].Store(sizeMax)
	t.image[regQueueReady/4].Store(ready)
	t.refreshShared()
}

// refreshShared brings those words of the image up to date that a device changes
// too, by an interrupt: whoever comes last has seen the newest value.
func (t *Transport) refreshShared() {
	for {
		status, generation := uint32(t.core.Status()), t.core.Generation()
		t.image[regStatus/4].Store(status)
		t.image[regConfigGeneration/4].Store(generation)
		if uint32(t.core.Status()) == status && t.core.Generation() == generation {
			return
		}
	}
}
