package ext4

import (
	"encoding/binary"
	"hash/crc32"
)

// Sizes and numbers of the format (fs/ext4/ext4.h).
const (
	BlockSize      = 4096 // of what Writer makes, in bytes
	blocksPerGroup = BlockSize * 8
	inodeSize      = 256
	inodeBase      = 160 // bytes that an inode takes before its attributes
	descSize       = 64
	superOffset    = 1024
	superSize      = 1024
	superMagic     = 0xEF53

	inoRoot      = 2
	inoJournal   = 8
	inoLostFound = 11
	firstIno     = 11

	maxNameLen   = 255
	maxLinks     = 65000 // EXT4_LINK_MAX; directories beyond it count as 1 (dir_nlink)
	maxExtent    = 32768 // blocks of one extent
	inlineExtent = 4     // extents in an inode
	blockExtents = (BlockSize - extentHeader - 4) / extentEntry
	extentHeader = 12
	extentEntry  = 12
	extentMagic  = 0xF30A
	dirTail      = 12
	dirTailType  = 0xDE
)

// Feature bits (fs/ext4/ext4.h, EXT4_FEATURE_*).
const (
	compatHasJournal = 0x4
	compatExtAttr    = 0x8
	compatDirIndex   = 0x20

	incompatFiletype = 0x2
	incompatRecover  = 0x4
	incompatExtents  = 0x40
	incompat64bit    = 0x80
	incompatFlexBG   = 0x200
	incompatCsumSeed = 0x2000

	roSparseSuper  = 0x1
	roLargeFile    = 0x2
	roHugeFile     = 0x8
	roDirNlink     = 0x20
	roExtraIsize   = 0x40
	roMetadataCsum = 0x400

	inodeFlagExtents = 0x80000
	groupInodeZeroed = 0x4
)

// Type is the kind of a file: the S_IFMT bits of its mode.
type Type uint16

// The kinds of files.
const (
	TypeFIFO    Type = 0x1000
	TypeChar    Type = 0x2000
	TypeDir     Type = 0x4000
	TypeBlock   Type = 0x6000
	TypeRegular Type = 0x8000
	TypeSymlink Type = 0xA000
	TypeSocket  Type = 0xC000
	typeMask         = 0xF000
)

// dirent is the file type of a directory entry (EXT4_FT_*).
func (t Type) dirent() byte {
	switch t {
	case TypeRegular:
		return 1
	case TypeDir:
		return 2
	case TypeChar:
		return 3
	case TypeBlock:
		return 4
	case TypeFIFO:
		return 5
	case TypeSocket:
		return 6
	case TypeSymlink:
		return 7
	}
	return 0
}

var le = binary.LittleEndian

// extent maps blocks of a file to blocks of the image.
type extent struct {
	logical uint32
	length  uint32
	start   uint64
}

// checksum continues a CRC-32C the way the kernel's crc32c_le does, without the
// inversions of package hash/crc32.
func checksum(crc uint32, p []byte) uint32 {
	return ^crc32.Update(^crc, crc32.MakeTable(crc32.Castagnoli), p)
}

func checksum32(crc, v uint32) uint32 {
	var b [4]byte
	le.PutUint32(b[:], v)
	return checksum(crc, b[:])
}
