package blk

import (
	"encoding/binary"

	"github.com/gureum/gureum/virtio/queue"
)

// operation is what a request asks for.
type operation uint8

const (
	opRead operation = iota
	opWrite
	opFlush
	opID
	opDiscard
	opWriteZeroes
	opRefused // answered with the status alone
)

func (o operation) String() string {
	return [...]string{"read", "write", "flush", "get id", "discard", "write zeroes", "refused"}[o]
}

// Request types (section 5.2.6).
const (
	typeIn          = 0
	typeOut         = 1
	typeFlush       = 4
	typeGetID       = 8
	typeDiscard     = 11
	typeWriteZeroes = 13
)

// Status bytes (section 5.2.6).
const (
	statusOK          = 0
	statusIOErr       = 1
	statusUnsupported = 2
)

// headerSize is that of type, reserved and sector in front of the data.
const headerSize = 16

// command is a request that was checked: its bytes were copied out of guest
// memory once, and it lies within the disk.
type command struct {
	op     operation
	status uint8 // of opRefused
	offset int64 // in bytes
	size   int64 // of the data in bytes; a read's is where it goes
	ranges []span
}

// span is a range of a discard or write zeroes request, in bytes.
type span struct {
	offset, size int64
	unmap        bool
}

// limits is what a command is checked against.
type limits struct {
	capacity uint64 // in bytes
	readOnly bool
	discard  bool // the driver accepted VIRTIO_BLK_F_DISCARD
	zeroes   bool // the driver accepted VIRTIO_BLK_F_WRITE_ZEROES
}

// parse reads a request and checks it. It uses the memory of c.ranges again. The
// chain has at least one writable byte, the last of which is the status's.
func (c *command) parse(chain *queue.Chain, lim limits) {
	c.ranges = c.ranges[:0]
	c.offset, c.size = 0, 0
	var header [headerSize]byte
	if chain.Read(header[:]) != headerSize {
		c.refuse(statusIOErr)
		return
	}
	sector := binary.LittleEndian.Uint64(header[8:])
	out := chain.ReadLen - headerSize
	in := chain.WriteLen - 1
	switch binary.LittleEndian.Uint32(header[0:]) {
	case typeIn:
		c.transfer(opRead, sector, in, out, lim)
	case typeOut:
		if lim.readOnly {
			c.refuse(statusIOErr)
			return
		}
		c.transfer(opWrite, sector, out, in, lim)
	case typeFlush:
		c.op = opFlush
	case typeGetID:
		c.op, c.size = opID, int64(in)
	case typeDiscard:
		c.spans(opDiscard, chain, out, lim, lim.discard)
	case typeWriteZeroes:
		c.spans(opWriteZeroes, chain, out, lim, lim.zeroes)
	default:
		c.refuse(statusUnsupported)
	}
}

func (c *command) refuse(status uint8) { c.op, c.status = opRefused, status }

// transfer takes size bytes of data at sector; other is what the request has of
// the other direction, which is nothing.
func (c *command) transfer(op operation, sector, size, other uint64, lim limits) {
	if size%SectorSize != 0 || other != 0 || !within(sector, size, lim.capacity) {
		c.refuse(statusIOErr)
		return
	}
	c.op, c.offset, c.size = op, int64(sector*SectorSize), int64(size)
}

// within tells whether size bytes from sector on lie in the capacity. It cannot
// overflow.
func within(sector, size, capacity uint64) bool {
	return sector <= capacity/SectorSize && size <= capacity-sector*SectorSize
}

// Layout of struct virtio_blk_discard_write_zeroes (section 5.2.6).
const (
	spanSize  = 16
	spanUnmap = 1
)

// spans takes the ranges of a discard or write zeroes request.
func (c *command) spans(op operation, chain *queue.Chain, size uint64, lim limits, accepted bool) {
	c.op = op
	switch {
	case !accepted || lim.readOnly:
		c.refuse(statusUnsupported)
		return
	case size == 0 || size%spanSize != 0 || size/spanSize > maxRangeSegments:
		c.refuse(statusIOErr)
		return
	}
	most := uint32(maxDiscardSectors)
	if op == opWriteZeroes {
		most = maxZeroesSectors
	}
	for at := uint64(headerSize); at < headerSize+size; at += spanSize {
		var raw [spanSize]byte
		chain.ReadAt(raw[:], at)
		sector := binary.LittleEndian.Uint64(raw[0:])
		count := binary.LittleEndian.Uint32(raw[8:])
		flags := binary.LittleEndian.Uint32(raw[12:])
		// No flag is known for discard: section 5.2.6.2 forbids unmap there.
		if flags&^spanUnmap != 0 || flags != 0 && op == opDiscard {
			c.refuse(statusUnsupported)
			return
		}
		if count > most || !within(sector, uint64(count)*SectorSize, lim.capacity) {
			c.refuse(statusIOErr)
			return
		}
		c.ranges = append(c.ranges, span{
			offset: int64(sector * SectorSize), size: int64(count) * SectorSize, unmap: flags&spanUnmap != 0,
		})
	}
}

// request is a slot for one request, from the queue and back.
type request struct {
	command
	chain queue.Chain
	index int      // of the slot in its lane
	lane  *lane    // which it goes back to
	next  *request // in a list
	done  int64    // bytes of data that were read or written
	// unsynced tells that some of a write went through the disk's own WriteAt, which
	// leaves it in the write cache.
	unsynced bool
	err      error // of the disk
}

// data are the parts of guest memory that a read fills or a write takes, and how
// many bytes of them to skip.
func (r *request) data() (parts [][]byte, skip int64) {
	if r.op == opRead {
		return r.chain.Writable, 0
	}
	return r.chain.Readable, headerSize
}
