// Package partition reads the partition table of a disk image (GPT), so that package
// image finds the file system that a kernel can be taken from.
//
// Everything in a table is checked, as the image may come from a stranger. It writes nothing.
// Source: UEFI Specification 2.10, section 5.3.
package partition

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
)

// ErrNone is the error of a disk without a GPT.
var ErrNone = errors.New("no GPT partition table")

// Partition is an entry of the table. Offset and Size are in bytes.
type Partition struct {
	Number int      // from 1, as Linux counts
	Type   [16]byte // GUID, as it is stored
	GUID   [16]byte // GUID, as it is stored
	Offset int64
	Size   int64
}

// ID writes the partition's GUID as the kernel's root=PARTUUID= has it.
func (p *Partition) ID() string {
	g := &p.GUID
	le, be := binary.LittleEndian, binary.BigEndian
	return fmt.Sprintf("%08x-%04x-%04x-%04x-%012x", le.Uint32(g[0:]), le.Uint16(g[4:]), le.Uint16(g[6:]), be.Uint16(g[8:]), g[10:16])
}

const (
	headerSize = 92
	entrySize  = 128
	maxEntries = 1024
	signature  = "EFI PART"
)

// sectorSizes are those that a table may have been made for.
var sectorSizes = [...]int64{512, 4096}

// Read reads the table at the beginning of a disk of size bytes.
func Read(r io.ReaderAt, size int64) ([]Partition, error) {
	for _, sector := range sectorSizes {
		var h [headerSize]byte
		if _, err := r.ReadAt(h[:], sector); err != nil {
			if errors.Is(err, io.EOF) {
				break
			}
			return nil, fmt.Errorf("read partition table: %w", err)
		}
		if string(h[:8]) == signature {
			return readEntries(r, h, sector, size)
		}
	}
	return nil, ErrNone
}

func readEntries(r io.ReaderAt, h [headerSize]byte, sector, size int64) ([]Partition, error) {
	le := binary.LittleEndian
	sum := le.Uint32(h[16:])
	clear(h[16:20])
	if le.Uint32(h[12:]) != headerSize || crc32.ChecksumIEEE(h[:]) != sum {
		return nil, fmt.Errorf("%w: its header is damaged", ErrNone)
	}
	at, count, each := le.Uint64(h[72:]), le.Uint32(h[80:]), le.Uint32(h[84:])
	if at > uint64(size/sector) || count > maxEntries || each != entrySize {
		return nil, fmt.Errorf("%w: %d entries of %d bytes at sector %d", ErrNone, count, each, at)
	}
	entries := make([]byte, count*each)
	if _, err := r.ReadAt(entries, int64(at)*sector); err != nil {
		return nil, fmt.Errorf("read partition table: %w", err)
	}
	if crc32.ChecksumIEEE(entries) != le.Uint32(h[88:]) {
		return nil, fmt.Errorf("%w: its entries are damaged", ErrNone)
	}
	var list []Partition
	for i := range int(count) {
		e := entries[i*entrySize:][:entrySize]
		p := Partition{Number: i + 1, Type: [16]byte(e), GUID: [16]byte(e[16:])}
		first, last := le.Uint64(e[32:]), le.Uint64(e[40:])
		if p.Type == [16]byte{} {
			continue
		}
		if first > last || last >= uint64(size/sector) {
			return nil, fmt.Errorf("%w: partition %d from sector %d to %d is not on the disk", ErrNone, i+1, first, last)
		}
		p.Offset, p.Size = int64(first)*sector, int64(last-first+1)*sector
		list = append(list, p)
	}
	return list, nil
}
