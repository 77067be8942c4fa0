package qcow2

import (
	"encoding/binary"
	"fmt"
	"math/bits"
)

// Defaults of a new image.
const (
	DefaultClusterSize  = 64 << 10
	defaultRefcountBits = 16
)

// Layout says what a new image is to be. The zero value of each field takes the default.
type Layout struct {
	Size          int64 // of the disk, in bytes
	ClusterSize   int64 // a power of two from 512 to 2 MiB
	RefcountBits  int   // a power of two from 1 to 64
	Version       int   // 2 or 3, the default
	Zstd          bool  // what compresses clusters, if anything ever does
	BackingName   string
	BackingFormat string
}

// header gives the header of an empty image: header, table of counts, blocks of counts and
// L1 table, in that order from the file's beginning.
func (l Layout) header() (h *header, blocks int64, err error) {
	if l.ClusterSize == 0 {
		l.ClusterSize = DefaultClusterSize
	}
	if l.RefcountBits == 0 {
		l.RefcountBits = defaultRefcountBits
	}
	if l.Version == 0 {
		l.Version = 3
	}
	if err := l.check(); err != nil {
		return nil, 0, err
	}
	h = &header{
		version: uint32(l.Version), clusterBits: uint(bits.TrailingZeros64(uint64(l.ClusterSize))),
		refOrder: uint(bits.TrailingZeros(uint(l.RefcountBits))), size: l.Size, length: headerLenV2,
		backingName: l.BackingName, backingFormat: l.BackingFormat,
	}
	if l.Version == 3 {
		h.length = headerLenV3 + 8 // with the compression type
	}
	if l.Zstd {
		h.compression = compressionZstd
		h.incompatible |= incompatCompression
	}
	if int64(len(h.encode())) > l.ClusterSize {
		return nil, 0, fmt.Errorf("the name of the backing file does not fit into a header cluster of %d bytes", l.ClusterSize)
	}
	entries := max(l1Needed(l.Size, h.clusterBits), 1)
	if entries*8 > maxL1Bytes {
		return nil, 0, fmt.Errorf("a disk of %d bytes needs larger clusters than %d bytes", l.Size, l.ClusterSize)
	}
	h.l1Size = int(entries)
	blocks = h.placeTables()
	return h, blocks, nil
}

func (l Layout) check() error {
	switch {
	case l.Size < 0 || l.Size > maxSize:
		return fmt.Errorf("disk size of %d bytes: at most %d", l.Size, int64(maxSize))
	case l.ClusterSize < 1<<minClusterBits || l.ClusterSize > 1<<maxClusterBits || l.ClusterSize&(l.ClusterSize-1) != 0:
		return fmt.Errorf("cluster size of %d bytes: it is a power of two from 512 to 2097152", l.ClusterSize)
	case l.RefcountBits < 1 || l.RefcountBits > 64 || l.RefcountBits&(l.RefcountBits-1) != 0:
		return fmt.Errorf("reference counts of %d bits: it is a power of two up to 64", l.RefcountBits)
	case l.Version != 2 && l.Version != 3:
		return fmt.Errorf("qcow2 version %d: it is 2 or 3", l.Version)
	case l.Version == 2 && (l.RefcountBits != 16 || l.Zstd):
		return fmt.Errorf("version 2 has 16-bit reference counts and zlib alone")
	case len(l.BackingName) > maxBackingName:
		return fmt.Errorf("backing file name of %d bytes: at most %d", len(l.BackingName), maxBackingName)
	}
	return nil
}

// placeTables settles where the tables of an empty image lie, and gives how many blocks
// of counts it takes to count all of them.
func (h *header) placeTables() (blocks int64) {
	cs := h.clusterSize()
	l1 := (int64(h.l1Size)*8 + cs - 1) >> h.clusterBits
	perBlock := cs << 3 >> h.refOrder
	table := int64(1)
	blocks = 1
	for {
		used := 1 + table + blocks + l1
		needBlocks := (used + perBlock - 1) / perBlock
		needTable := (needBlocks*8 + cs - 1) >> h.clusterBits
		if needBlocks <= blocks && needTable <= table {
			break
		}
		blocks, table = max(blocks, needBlocks), max(table, needTable)
	}
	h.refTableOffset, h.refTableLen = cs, int(table)
	h.l1Offset = (1 + table + blocks) << h.clusterBits
	return blocks
}

// Create lays an empty image out in store, which is empty itself. The header comes last,
// so that a crash leaves no half image that opens.
func Create(store Storage, l Layout) error {
	h, blocks, err := l.header()
	if err != nil {
		return err
	}
	end := h.l1Offset + (int64(h.l1Size)*8+h.clusterSize()-1)&^(h.clusterSize()-1)
	if store.Device() {
		err = store.Zero(0, end, false)
	} else {
		err = store.Truncate(end)
	}
	if err != nil {
		return err
	}
	if err := createCounts(store, h, blocks, end>>h.clusterBits); err != nil {
		return err
	}
	if err := store.Sync(); err != nil {
		return err
	}
	if _, err := store.WriteAt(h.encode(), 0); err != nil {
		return err
	}
	return store.Sync()
}

// createCounts writes the table of blocks, and a count of one for the first used clusters.
func createCounts(store Storage, h *header, blocks, used int64) error {
	first := h.refTableOffset + int64(h.refTableLen)<<h.clusterBits
	var table []byte
	for b := range blocks {
		table = binary.BigEndian.AppendUint64(table, uint64(first+b<<h.clusterBits))
	}
	if _, err := store.WriteAt(table, h.refTableOffset); err != nil {
		return err
	}
	block := make([]byte, h.clusterSize())
	perBlock := h.clusterSize() << 3 >> h.refOrder
	for b := range blocks {
		clear(block)
		for i := range min(perBlock, used-b*perBlock) {
			putCount(block, int(i), h.refOrder, 1)
		}
		if _, err := store.WriteAt(block, first+b<<h.clusterBits); err != nil {
			return err
		}
	}
	return nil
}
