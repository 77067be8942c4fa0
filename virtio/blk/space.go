package blk

import "encoding/binary"

// Bit numbers of the feature bits (section 5.2.3).
const (
	featSegMax      = 2  // VIRTIO_BLK_F_SEG_MAX
	featReadOnly    = 5  // VIRTIO_BLK_F_RO
	featBlockSize   = 6  // VIRTIO_BLK_F_BLK_SIZE
	featFlush       = 9  // VIRTIO_BLK_F_FLUSH
	featTopology    = 10 // VIRTIO_BLK_F_TOPOLOGY
	featConfigWCE   = 11 // VIRTIO_BLK_F_CONFIG_WCE
	featMultiQueue  = 12 // VIRTIO_BLK_F_MQ
	featDiscard     = 13 // VIRTIO_BLK_F_DISCARD
	featWriteZeroes = 14 // VIRTIO_BLK_F_WRITE_ZEROES
)

// SectorSize is the unit of sectors and of the capacity in bytes, whatever the
// block size is (section 5.2.4).
const SectorSize = 512

// Limits that the device announces and holds (section 5.2.4).
const (
	// maxRangeSegments is the largest number of ranges in one discard or write
	// zeroes request.
	maxRangeSegments = 32
	// maxDiscardSectors and maxZeroesSectors bound one range. A disk that cannot
	// deallocate writes its zeroes, which must not take for ever.
	maxDiscardSectors = 1 << 22 // 2 GiB
	maxZeroesSectors  = 1 << 18 // 128 MiB
	// physicalBlock is the size that hosts like writes to be aligned to.
	physicalBlock = 4096
)

// Offsets in struct virtio_blk_config (section 5.2.4).
const (
	spaceCapacity        = 0
	spaceSegMax          = 12
	spaceBlockSize       = 20
	spacePhysicalExp     = 24
	spaceMinIO           = 26
	spaceWriteback       = 32
	spaceNumQueues       = 34
	spaceDiscardSectors  = 36
	spaceDiscardSegments = 40
	spaceDiscardAlign    = 44
	spaceZeroesSectors   = 48
	spaceZeroesSegments  = 52
	spaceZeroesUnmap     = 56
	spaceSize            = 60
)

// space builds the configuration space as it is now.
func (d *Device) space() (s [spaceSize]byte) {
	le := binary.LittleEndian
	le.PutUint64(s[spaceCapacity:], d.Capacity()/SectorSize)
	le.PutUint32(s[spaceSegMax:], d.segMax())
	le.PutUint32(s[spaceBlockSize:], d.blockSize)
	for size := d.blockSize; size < physicalBlock; size <<= 1 {
		s[spacePhysicalExp]++
	}
	le.PutUint16(s[spaceMinIO:], uint16(max(physicalBlock/d.blockSize, 1)))
	if d.writeback.Load() {
		s[spaceWriteback] = 1
	}
	le.PutUint16(s[spaceNumQueues:], uint16(d.queues))
	if !d.readOnly {
		le.PutUint32(s[spaceDiscardSectors:], maxDiscardSectors)
		le.PutUint32(s[spaceDiscardSegments:], maxRangeSegments)
		le.PutUint32(s[spaceDiscardAlign:], max(d.blockSize, physicalBlock)/SectorSize)
		le.PutUint32(s[spaceZeroesSectors:], maxZeroesSectors)
		le.PutUint32(s[spaceZeroesSegments:], maxRangeSegments)
		s[spaceZeroesUnmap] = 1
	}
	return s
}

// segMax is the largest number of data buffers in a request: what a queue holds
// beside the header and the status.
func (d *Device) segMax() uint32 { return uint32(d.queueSize) - 2 }

// ReadConfig implements virtio.Device.
func (d *Device) ReadConfig(offset uint64, data []byte) {
	clear(data)
	s := d.space()
	if offset < uint64(len(s)) {
		copy(data, s[offset:])
	}
}

// WriteConfig implements virtio.Device: only writeback can be written. When it
// goes off, what was written so far becomes stable first.
func (d *Device) WriteConfig(offset uint64, data []byte) {
	if offset > spaceWriteback || spaceWriteback-offset >= uint64(len(data)) || d.readOnly {
		return
	}
	on := data[spaceWriteback-offset]&1 != 0
	if was := d.writeback.Swap(on); !was || on {
		return
	}
	if err := d.disk.Flush(); err != nil {
		d.report(opFlush, 0, err)
	}
}
