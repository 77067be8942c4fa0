package pci

import (
	"encoding/binary"

	"github.com/gureum/gureum/virtio"
)

// Fields of the common configuration are accessed as wide as they are, those of 64
// bits in two halves (section 4.1.3.1). Other accesses read zero and write nothing.

func (t *Transport) readCommon(offset uint64, data []byte) {
	t.mu.Lock()
	defer t.mu.Unlock()
	clear(data)
	switch len(data) {
	case 1:
		data[0] = t.read8(offset)
	case 2:
		binary.LittleEndian.PutUint16(data, t.read16(offset))
	case 4:
		binary.LittleEndian.PutUint32(data, t.read32(offset))
	}
}

func (t *Transport) writeCommon(offset uint64, data []byte) {
	t.mu.Lock()
	defer t.mu.Unlock()
	switch len(data) {
	case 1:
		if offset == regDeviceStatus {
			t.core.SetStatus(data[0])
			if data[0] == 0 {
				t.clear()
			}
		}
	case 2:
		t.write16(offset, binary.LittleEndian.Uint16(data))
	case 4:
		t.write32(offset, binary.LittleEndian.Uint32(data))
	}
}

func (t *Transport) read8(offset uint64) uint8 {
	switch offset {
	case regDeviceStatus:
		return t.core.Status()
	case regConfigGeneration:
		return uint8(t.core.Generation())
	}
	return 0
}

func (t *Transport) read16(offset uint64) uint16 {
	switch offset {
	case regConfigVector:
		return uint16(t.configVector.Load())
	case regNumQueues:
		return uint16(t.core.NumQueues())
	case regQueueSelect:
		return t.queueSel
	}
	n := int(t.queueSel)
	if n >= t.core.NumQueues() {
		// A size of 0 says that there is no such queue (section 4.1.4.3).
		return 0
	}
	q := t.core.Queue(n)
	switch offset {
	case regQueueSize:
		return q.Size
	case regQueueVector:
		return uint16(t.queueVectors[n].Load())
	case regQueueEnable:
		if q.Enabled {
			return 1
		}
	case regQueueNotifyOff, regQueueNotifyData:
		return t.queueSel
	}
	// A reset of a ring is over by the time its bit is read.
	return 0
}

func (t *Transport) read32(offset uint64) uint32 {
	switch offset {
	case regDeviceFeatureSelect:
		return t.deviceSel
	case regDeviceFeature:
		return t.core.DeviceFeatures(t.deviceSel)
	case regDriverFeatureSelect:
		return t.driverSel
	case regDriverFeature:
		return t.core.DriverFeatures(t.driverSel)
	}
	part, high, ok := queuePart(offset)
	if !ok {
		return 0
	}
	addr := t.core.Queue(int(t.queueSel)).Addr[part]
	if high {
		addr >>= 32
	}
	return uint32(addr)
}

func (t *Transport) write16(offset uint64, v uint16) {
	switch offset {
	case regConfigVector:
		t.setVector(&t.configVector, v)
		return
	case regQueueSelect:
		t.queueSel = v
		return
	}
	n := int(t.queueSel)
	if n >= t.core.NumQueues() {
		return
	}
	switch offset {
	case regQueueSize:
		t.core.SetQueueSize(n, v)
	case regQueueVector:
		t.setVector(&t.queueVectors[n], v)
	case regQueueEnable:
		// Writing 0 is forbidden (section 4.1.4.3.2).
		if v == 1 {
			t.core.SetQueueEnabled(n, true)
		}
	case regQueueReset:
		if v == 1 {
			t.core.ResetQueue(n)
		}
	}
}

func (t *Transport) write32(offset uint64, v uint32) {
	switch offset {
	case regDeviceFeatureSelect:
		t.deviceSel = v
	case regDriverFeatureSelect:
		t.driverSel = v
	case regDriverFeature:
		t.core.SetDriverFeatures(t.driverSel, v)
	default:
		if part, high, ok := queuePart(offset); ok {
			t.core.SetQueueAddr(int(t.queueSel), part, high, v)
		}
	}
}

// queuePart is the half of a queue's address that an offset stands for.
func queuePart(offset uint64) (part virtio.Part, high, ok bool) {
	if offset%4 != 0 {
		return 0, false, false
	}
	high = offset&4 != 0
	switch offset &^ 4 {
	case regQueueDesc:
		return virtio.PartDesc, high, true
	case regQueueDriver:
		return virtio.PartDriver, high, true
	case regQueueDevice:
		return virtio.PartDevice, high, true
	}
	return 0, false, false
}
