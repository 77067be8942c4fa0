package vsock

import (
	"encoding/binary"

	"github.com/gureum/gureum/virtio/queue"
)

// headerSize is the size of struct virtio_vsock_hdr (section 5.10.6).
const headerSize = 44

// HostCID is the host's address (section 5.10.4).
const HostCID = 2

// typeStream is VIRTIO_VSOCK_TYPE_STREAM, the only type of socket that is offered.
const typeStream = 1

// operation is what a packet is for (section 5.10.6).
type operation uint16

const (
	opRequest       operation = 1
	opResponse      operation = 2
	opReset         operation = 3
	opShutdown      operation = 4
	opData          operation = 5 // VIRTIO_VSOCK_OP_RW
	opCreditUpdate  operation = 6
	opCreditRequest operation = 7
)

// Flags of opShutdown: what the sender will do no more (section 5.10.6.5).
const (
	shutReceive = 1
	shutSend    = 2
	shutBoth    = shutReceive | shutSend
)

// header is the start of each packet.
type header struct {
	srcCID, dstCID   uint64
	srcPort, dstPort uint32
	len              uint32 // of the data behind it
	typ              uint16
	op               operation
	flags            uint32
	alloc            uint32 // size of the sender's receive buffer
	forwarded        uint32 // bytes that have left this buffer, modulo 2^32
}

// parse copies a packet's header out of guest memory. It gives false if the chain is
// shorter than the packet says, so that nothing can be believed of it.
func parse(c *queue.Chain) (header, bool) {
	var b [headerSize]byte
	if c.Read(b[:]) < headerSize {
		return header{}, false
	}
	le := binary.LittleEndian
	h := header{
		srcCID: le.Uint64(b[0:]), dstCID: le.Uint64(b[8:]), srcPort: le.Uint32(b[16:]), dstPort: le.Uint32(b[20:]),
		len: le.Uint32(b[24:]), typ: le.Uint16(b[28:]), op: operation(le.Uint16(b[30:])), flags: le.Uint32(b[32:]),
		alloc: le.Uint32(b[36:]), forwarded: le.Uint32(b[40:]),
	}
	return h, uint64(h.len) <= c.ReadLen-headerSize
}

func (h *header) put(b []byte) {
	le := binary.LittleEndian
	le.PutUint64(b[0:], h.srcCID)
	le.PutUint64(b[8:], h.dstCID)
	le.PutUint32(b[16:], h.srcPort)
	le.PutUint32(b[20:], h.dstPort)
	le.PutUint32(b[24:], h.len)
	le.PutUint16(b[28:], h.typ)
	le.PutUint16(b[30:], uint16(h.op))
	le.PutUint32(b[32:], h.flags)
	le.PutUint32(b[36:], h.alloc)
	le.PutUint32(b[40:], h.forwarded)
}
