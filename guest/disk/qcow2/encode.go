package qcow2

import (
	"encoding/binary"
)

// encode gives the header cluster's first bytes for a new image.
func (h *header) encode() []byte {
	be := binary.BigEndian
	p := make([]byte, h.length, h.length+maxBackingName+64)
	copy(p, Magic)
	be.PutUint32(p[4:], h.version)
	be.PutUint32(p[20:], uint32(h.clusterBits))
	h.putResize(p[offSize:])
	h.putRefTable(p[offRefTable:])
	if h.version >= 3 {
		be.PutUint64(p[offIncompatible:], h.incompatible)
		be.PutUint64(p[80:], h.compatible)
		be.PutUint32(p[96:], uint32(h.refOrder))
		be.PutUint32(p[100:], uint32(h.length))
		p[headerLenV3] = h.compression
	}
	if h.backingFormat != "" {
		p = be.AppendUint32(p, extBackingFormat)
		p = be.AppendUint32(p, uint32(len(h.backingFormat)))
		p = append(p, h.backingFormat...)
		p = append(p, make([]byte, -len(p)&7)...)
	}
	p = append(p, make([]byte, 8)...) // extEnd
	if h.backingName != "" {
		be.PutUint64(p[8:], uint64(len(p)))
		be.PutUint32(p[16:], uint32(len(h.backingName)))
		p = append(p, h.backingName...)
	}
	return p
}

// putResize writes size, encryption method and L1 table as they lie at offSize.
func (h *header) putResize(p []byte) {
	binary.BigEndian.PutUint64(p, uint64(h.size))
	binary.BigEndian.PutUint32(p[8:], 0)
	binary.BigEndian.PutUint32(p[12:], uint32(h.l1Size))
	binary.BigEndian.PutUint64(p[16:], uint64(h.l1Offset))
}

// putRefTable writes the reference count table's place as it lies at offRefTable.
func (h *header) putRefTable(p []byte) {
	binary.BigEndian.PutUint64(p, uint64(h.refTableOffset))
	binary.BigEndian.PutUint32(p[8:], uint32(h.refTableLen))
}
