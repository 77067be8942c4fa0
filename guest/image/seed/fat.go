package seed

import (
	"encoding/binary"
	"fmt"
	"unicode/utf16"
)

// The FAT12 file system that is made (Microsoft's FAT specification 1.03): two copies of
// the table, a root directory of fixed size, and files one behind the other.
const (
	sectorSize      = 512
	clusterSectors  = 4
	clusterSize     = sectorSize * clusterSectors
	reservedSectors = 1
	fatCopies       = 2
	rootEntries     = 64
	entrySize       = 32
	rootSectors     = rootEntries * entrySize / sectorSize
	maxClusters     = 4084 // more would be FAT16
	minClusters     = 64
	lastCluster     = 0xFFF
	mediaFixed      = 0xF8

	attrReadOnly = 0x01
	attrVolume   = 0x08
	attrLongName = 0x0F
	longChars    = 13 // characters of a name in one entry
	lastLong     = 0x40
)

// Label is the volume's label, by which cloud-init finds it.
const Label = "CIDATA"

type file struct {
	name    string
	content []byte
}

// fat builds the file system.
func fat(files []file) ([]byte, error) {
	clusters := 0
	for _, f := range files {
		clusters += (len(f.content) + clusterSize - 1) / clusterSize
	}
	total := max(clusters, minClusters)
	if total > maxClusters {
		return nil, fmt.Errorf("%w: more than %d bytes", ErrConfig, maxClusters*clusterSize)
	}
	fatSectors := ((total+2)*3/2 + sectorSize) / sectorSize
	rootStart := reservedSectors + fatCopies*fatSectors
	dataStart := rootStart + rootSectors
	sectors := dataStart + total*clusterSectors
	p := make([]byte, sectors*sectorSize)
	bootSector(p, sectors, fatSectors)

	table := p[reservedSectors*sectorSize:][:fatSectors*sectorSize]
	setEntry(table, 0, 0xF00|mediaFixed)
	setEntry(table, 1, lastCluster)
	root := p[rootStart*sectorSize:][:rootSectors*sectorSize]
	copy(root, fmt.Sprintf("%-11s", Label))
	root[11] = attrVolume
	root = root[entrySize:]
	next := 2
	for i, f := range files {
		first, count := next, (len(f.content)+clusterSize-1)/clusterSize
		copy(p[dataStart*sectorSize+(first-2)*clusterSize:], f.content)
		for n := range count {
			value := uint16(first + n + 1)
			if n == count-1 {
				value = lastCluster
			}
			setEntry(table, first+n, value)
		}
		next += count
		if count == 0 {
			first = 0
		}
		root = putName(root, i, f, first)
	}
	copy(p[(reservedSectors+fatSectors)*sectorSize:], table)
	return p, nil
}

func bootSector(p []byte, sectors, fatSectors int) {
	le := binary.LittleEndian
	copy(p, "\xEB\x3C\x90gureum  ")
	le.PutUint16(p[11:], sectorSize)
	p[13] = clusterSectors
	le.PutUint16(p[14:], reservedSectors)
	p[16] = fatCopies
	le.PutUint16(p[17:], rootEntries)
	le.PutUint16(p[19:], uint16(sectors)) // maxClusters keeps it below 64 Ki
	p[21] = mediaFixed
	le.PutUint16(p[22:], uint16(fatSectors))
	le.PutUint16(p[24:], 32) // sectors a track, and heads: of no meaning
	le.PutUint16(p[26:], 64)
	p[36] = 0x80 // drive
	p[38] = 0x29 // what follows is there
	copy(p[39:], "SEED")
	copy(p[43:], fmt.Sprintf("%-11s", Label))
	copy(p[54:], "FAT12   ")
	p[510], p[511] = 0x55, 0xAA
}

// setEntry writes one of the table's 12-bit entries.
func setEntry(table []byte, n int, v uint16) {
	at := n * 3 / 2
	if n%2 == 0 {
		table[at] = byte(v)
		table[at+1] = table[at+1]&0xF0 | byte(v>>8)
		return
	}
	table[at] = table[at]&0x0F | byte(v<<4)
	table[at+1] = byte(v >> 4)
}

// putName writes a file's directory entries: the long name, its last piece first, and a
// short one that is made up. It returns the room behind them.
func putName(root []byte, number int, f file, first int) []byte {
	short := fmt.Sprintf("SEED~%d     ", number+1)[:8] + "   "
	var sum byte
	for i := range len(short) {
		sum = sum>>1 | sum<<7
		sum += short[i]
	}
	name := append(utf16.Encode([]rune(f.name)), 0)
	pieces := (len(name) - 1 + longChars - 1) / longChars
	for piece := pieces; piece > 0; piece-- {
		e := root[:entrySize]
		root = root[entrySize:]
		e[0] = byte(piece)
		if piece == pieces {
			e[0] |= lastLong
		}
		e[11], e[13] = attrLongName, sum
		for i := range longChars {
			c := uint16(0xFFFF)
			if at := (piece-1)*longChars + i; at < len(name) {
				c = name[at]
			}
			binary.LittleEndian.PutUint16(e[longPlace(i):], c)
		}
	}
	e := root[:entrySize]
	copy(e, short)
	e[11] = attrReadOnly
	binary.LittleEndian.PutUint16(e[24:], 1<<5|1) // written on 1 January 1980
	binary.LittleEndian.PutUint16(e[26:], uint16(first))
	binary.LittleEndian.PutUint32(e[28:], uint32(len(f.content)))
	return root[entrySize:]
}

// longPlace is where an entry has the i-th character of its piece of the name.
func longPlace(i int) int {
	switch {
	case i < 5:
		return 1 + 2*i
	case i < 11:
		return 14 + 2*(i-5)
	}
	return 28 + 2*(i-11)
}
