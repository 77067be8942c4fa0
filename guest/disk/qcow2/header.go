package qcow2

import (
	"encoding/binary"
	"fmt"
	"math/bits"

	"github.com/gureum/gureum/guest/disk/internal/host"
)

// Sizes and limits. The format allows more than some; the bounds are those that QEMU keeps
// too, and keep a hostile header from asking for memory.
const (
	Magic = "QFI\xfb"

	headerLenV2   = 72
	headerLenV3   = 104
	maxHeaderLen  = 4096
	maxHeaderRead = 64 << 10 // extensions beyond are not looked for

	minClusterBits = 9
	maxClusterBits = 21
	maxRefOrder    = 6
	maxL1Bytes     = 32 << 20
	maxRefTable    = 8 << 20
	maxBackingName = 1023
	maxSnapshots   = 65536
	maxSize        = 1 << 56 // an L2 entry's offset has 56 bits
)

// Feature bits (specification, "Header").
const (
	incompatDirty       = 1 << 0
	incompatCorrupt     = 1 << 1
	incompatDataFile    = 1 << 2
	incompatCompression = 1 << 3
	incompatExtendedL2  = 1 << 4
	incompatKnown       = incompatDirty | incompatCorrupt | incompatCompression

	autoclearBitmaps = 1 << 0
)

// Header extension types.
const (
	extEnd           = 0
	extBackingFormat = 0xe2792aca
	extFeatureNames  = 0x6803f857
)

// Offsets of header fields that are written on their own.
const (
	offSize          = 24
	offRefTable      = 48
	offIncompatible  = 72
	offAutoclear     = 88
	compressionZlib  = 0
	compressionZstd  = 1
	featureNameBytes = 48
)

// header is the image's first bytes as typed values.
type header struct {
	version        uint32
	clusterBits    uint
	size           int64
	l1Size         int
	l1Offset       int64
	refTableOffset int64
	refTableLen    int // clusters
	snapshots      int
	snapshotOffset int64
	incompatible   uint64
	compatible     uint64
	autoclear      uint64
	refOrder       uint
	length         int
	compression    uint8

	backingName   string
	backingFormat string
}

func (h *header) clusterSize() int64 { return 1 << h.clusterBits }

// l1Needed gives how many L1 entries a disk of size bytes takes.
func l1Needed(size int64, clusterBits uint) int64 {
	shift := clusterBits + clusterBits - 3
	return (size + (1 << shift) - 1) >> shift
}

func corrupt(format string, args ...any) error {
	return fmt.Errorf("%w: %s", host.ErrCorrupt, fmt.Sprintf(format, args...))
}

func unsupported(format string, args ...any) error {
	return fmt.Errorf("%w: %s", host.ErrUnsupported, fmt.Sprintf(format, args...))
}

// parseHeader takes the first bytes of the file, at most maxHeaderRead, and the length of
// the whole file.
func parseHeader(p []byte, fileSize int64) (*header, error) {
	if len(p) < headerLenV2 || string(p[:4]) != Magic {
		return nil, fmt.Errorf("%w: no qcow2 header", host.ErrFormat)
	}
	be := binary.BigEndian
	h := &header{
		version:     be.Uint32(p[4:]),
		clusterBits: uint(be.Uint32(p[20:])),
		refOrder:    4,
		length:      headerLenV2,
	}
	if h.version != 2 && h.version != 3 {
		return nil, unsupported("qcow2 version %d", h.version)
	}
	if h.clusterBits < minClusterBits || h.clusterBits > maxClusterBits {
		return nil, unsupported("clusters of 2^%d bytes", h.clusterBits)
	}
	if h.version == 3 {
		if err := h.parseV3(p); err != nil {
			return nil, err
		}
	}
	if m := be.Uint32(p[32:]); m != 0 {
		return nil, unsupported("encryption (method %d): decrypt it with qemu-img convert", m)
	}
	if err := h.parseTables(p, fileSize); err != nil {
		return nil, err
	}
	if err := h.parseExtensions(p); err != nil {
		return nil, err
	}
	return h, h.parseBacking(p)
}

func (h *header) parseV3(p []byte) error {
	be := binary.BigEndian
	if len(p) < headerLenV3 {
		return corrupt("header of %d bytes", len(p))
	}
	h.incompatible = be.Uint64(p[offIncompatible:])
	h.compatible = be.Uint64(p[80:])
	h.autoclear = be.Uint64(p[offAutoclear:])
	h.refOrder = uint(be.Uint32(p[96:]))
	length := be.Uint32(p[100:])
	if length < headerLenV3 || length%8 != 0 || length > maxHeaderLen || int64(length) > h.clusterSize() || int(length) > len(p) {
		return corrupt("header length %d", length)
	}
	h.length = int(length)
	if h.refOrder > maxRefOrder {
		return corrupt("reference counts of 2^%d bits", h.refOrder)
	}
	if h.length > headerLenV3 {
		h.compression = p[headerLenV3]
	}
	return h.checkFeatures(p)
}

// checkFeatures refuses what is not known, by name.
func (h *header) checkFeatures(p []byte) error {
	switch {
	case h.incompatible&incompatDataFile != 0:
		return unsupported("external data file: convert the image with qemu-img convert")
	case h.incompatible&incompatExtendedL2 != 0:
		return unsupported("extended L2 entries: convert the image with qemu-img convert -o extended_l2=off")
	}
	if unknown := h.incompatible &^ uint64(incompatKnown); unknown != 0 {
		bit := bits.TrailingZeros64(unknown)
		return unsupported("incompatible feature bit %d%s", bit, h.featureName(p, 0, byte(bit)))
	}
	hasType := h.incompatible&incompatCompression != 0
	switch {
	case hasType != (h.compression != compressionZlib):
		return corrupt("compression type %d contradicts the feature bit", h.compression)
	case h.compression > compressionZstd:
		return unsupported("compression type %d", h.compression)
	}
	return nil
}

// parseTables takes where the tables lie, and that they lie in the file.
func (h *header) parseTables(p []byte, fileSize int64) error {
	be := binary.BigEndian
	size, l1Size := be.Uint64(p[offSize:]), be.Uint32(p[36:])
	if size > maxSize {
		return unsupported("disk of %d bytes", size)
	}
	h.size = int64(size)
	if l1Size > maxL1Bytes/8 {
		return unsupported("L1 table of %d entries", l1Size)
	}
	h.l1Size = int(l1Size)
	if need := l1Needed(h.size, h.clusterBits); need > int64(h.l1Size) {
		return corrupt("L1 table of %d entries for a disk that needs %d", h.l1Size, need)
	}
	var err error
	if h.l1Offset, err = h.table("L1 table", be.Uint64(p[40:]), int64(h.l1Size)*8, fileSize); err != nil {
		return err
	}
	clusters := be.Uint32(p[56:])
	if clusters == 0 || int64(clusters) > max(int64(maxRefTable)>>h.clusterBits, 1) {
		return corrupt("reference count table of %d clusters", clusters)
	}
	h.refTableLen = int(clusters)
	h.refTableOffset, err = h.table("reference count table", be.Uint64(p[offRefTable:]), int64(clusters)<<h.clusterBits, fileSize)
	if err != nil {
		return err
	}
	snapshots := be.Uint32(p[60:])
	if snapshots > maxSnapshots {
		return unsupported("%d snapshots", snapshots)
	}
	if h.snapshots = int(snapshots); snapshots > 0 {
		h.snapshotOffset, err = h.table("snapshot table", be.Uint64(p[64:]), 40, fileSize)
	}
	return err
}

// table checks a table's offset. A file may end within the table's last cluster.
func (h *header) table(name string, off uint64, n, fileSize int64) (int64, error) {
	if n == 0 {
		return int64(off & (1<<56 - 1)), nil
	}
	if off == 0 || off&uint64(h.clusterSize()-1) != 0 || off >= 1<<62 {
		return 0, corrupt("%s at offset %#x", name, off)
	}
	if slack := h.clusterSize(); int64(off) > fileSize || n > fileSize-int64(off)+slack {
		return 0, corrupt("%s at %#x of %d bytes: past the end of the file", name, off, n)
	}
	return int64(off), nil
}

// extension gives the data of the first header extension of a type, nil if there is none.
func (h *header) extension(p []byte, want uint32) ([]byte, error) {
	end := min(int64(len(p)), h.clusterSize())
	for off := int64(h.length); off+8 <= end; {
		kind := binary.BigEndian.Uint32(p[off:])
		n := int64(binary.BigEndian.Uint32(p[off+4:]))
		off += 8
		switch {
		case kind == extEnd:
			return nil, nil
		case n > end-off:
			return nil, corrupt("header extension %#x of %d bytes", kind, n)
		case kind == want:
			return p[off : off+n], nil
		}
		off += (n + 7) &^ 7
	}
	return nil, nil
}

func (h *header) parseExtensions(p []byte) error {
	format, err := h.extension(p, extBackingFormat)
	if err != nil {
		return err
	}
	if len(format) > 16 {
		return corrupt("backing format name of %d bytes", len(format))
	}
	h.backingFormat = string(format)
	return nil
}

// featureName looks an unknown feature up in the image's own list of names.
func (h *header) featureName(p []byte, kind, bit byte) string {
	names, err := h.extension(p, extFeatureNames)
	if err != nil {
		return ""
	}
	for ; len(names) >= featureNameBytes; names = names[featureNameBytes:] {
		if names[0] != kind || names[1] != bit {
			continue
		}
		name := names[2:featureNameBytes]
		for i, c := range name {
			if c == 0 {
				name = name[:i]
				break
			}
		}
		return fmt.Sprintf(" (%q)", name)
	}
	return ""
}

func (h *header) parseBacking(p []byte) error {
	off, n := binary.BigEndian.Uint64(p[8:]), binary.BigEndian.Uint32(p[16:])
	if off == 0 {
		return nil
	}
	if n == 0 {
		return nil
	}
	if n > maxBackingName || off > uint64(h.clusterSize()) || off+uint64(n) > uint64(min(int64(len(p)), h.clusterSize())) {
		return corrupt("backing file name of %d bytes at %#x", n, off)
	}
	h.backingName = string(p[off : off+uint64(n)])
	return nil
}
