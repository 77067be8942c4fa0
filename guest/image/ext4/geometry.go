package ext4

import (
	"errors"
	"fmt"
)

// ErrNoSpace is the error of a file system that its contents do not fit into.
var ErrNoSpace = errors.New("the file system is full")

// Limits of a Writer's file system, in bytes.
const (
	MinSize = 8 << 20
	MaxSize = 4 << 40
)

const (
	bytesPerInode = 16 << 10 // as mke2fs has it for ordinary file systems
	minLastGroup  = 64       // free blocks below which a last group is not worth its tables
)

// geometry says where the file system's own blocks lie: in each group a copy of the
// superblock and of the group descriptors (sparse_super: in some), two bitmaps and a
// part of the inode table.
type geometry struct {
	blocks         uint64
	groups         uint64
	inodesPerGroup uint32
	descBlocks     uint64
	tableBlocks    uint64 // of the inode table, a group
}

func newGeometry(size int64) (geometry, error) {
	if size < MinSize || size > MaxSize {
		return geometry{}, fmt.Errorf("a file system of %d bytes: give from %d MiB to %d TiB", size, MinSize>>20, MaxSize>>40)
	}
	g := geometry{blocks: uint64(size) / BlockSize}
	for {
		g.groups = (g.blocks + blocksPerGroup - 1) / blocksPerGroup
		perGroup := (uint64(size)/bytesPerInode + g.groups - 1) / g.groups
		// Whole blocks of inodes, and whole bytes of the bitmap.
		perGroup = (perGroup + 15) / 16 * 16
		g.inodesPerGroup = uint32(min(max(perGroup, 256), blocksPerGroup))
		g.descBlocks = (g.groups*descSize + BlockSize - 1) / BlockSize
		g.tableBlocks = uint64(g.inodesPerGroup) * inodeSize / BlockSize
		last := g.groups - 1
		tail := g.blocks - last*blocksPerGroup
		if last == 0 || tail >= g.overhead(last)+minLastGroup {
			return g, nil
		}
		g.blocks = last * blocksPerGroup
	}
}

// hasSuper tells whether a group has a copy of the superblock: 0, 1 and the powers of
// 3, 5 and 7.
func hasSuper(group uint64) bool {
	if group <= 1 {
		return true
	}
	for _, base := range [...]uint64{3, 5, 7} {
		n := base
		for n < group {
			n *= base
		}
		if n == group {
			return true
		}
	}
	return false
}

func (g *geometry) superBlocks(group uint64) uint64 {
	if hasSuper(group) {
		return 1 + g.descBlocks
	}
	return 0
}

// overhead is the number of blocks at a group's beginning that hold no files.
func (g *geometry) overhead(group uint64) uint64 {
	return g.superBlocks(group) + 2 + g.tableBlocks
}

func (g *geometry) blockBitmap(group uint64) uint64 {
	return group*blocksPerGroup + g.superBlocks(group)
}
func (g *geometry) inodeBitmap(group uint64) uint64 { return g.blockBitmap(group) + 1 }
func (g *geometry) inodeTable(group uint64) uint64  { return g.blockBitmap(group) + 2 }

// groupEnd is the block behind a group's last one.
func (g *geometry) groupEnd(group uint64) uint64 {
	return min((group+1)*blocksPerGroup, g.blocks)
}

func (g *geometry) inodes() uint64 { return g.groups * uint64(g.inodesPerGroup) }

// journalBlocks is the length of the journal, by the size of the file system as mke2fs
// scales it, up to 64 MiB.
func (g *geometry) journalBlocks() uint32 {
	switch {
	case g.blocks < 32768:
		return 1024 // the least that jbd2 takes
	case g.blocks < 256<<10:
		return 4096
	case g.blocks < 512<<10:
		return 8192
	}
	return 16384
}

// allocator hands out blocks in rising order, and never one of a group's own.
type allocator struct {
	geo   *geometry
	next  uint64
	freed map[uint64][]extent // given back, by group; not handed out again
}

func newAllocator(g *geometry) *allocator {
	return &allocator{geo: g, next: g.overhead(0), freed: map[uint64][]extent{}}
}

// free takes blocks back. No extent reaches into a second group.
func (a *allocator) free(list []extent) {
	for _, e := range list {
		group := e.start / blocksPerGroup
		a.freed[group] = append(a.freed[group], e)
	}
}

// room is the number of blocks that are left.
func (a *allocator) room() uint64 {
	group := a.next / blocksPerGroup
	if group >= a.geo.groups {
		return 0
	}
	n := a.geo.groupEnd(group) - a.next
	for group++; group < a.geo.groups; group++ {
		n += a.geo.groupEnd(group) - group*blocksPerGroup - a.geo.overhead(group)
	}
	return n
}

// run hands out at most n blocks that lie side by side.
func (a *allocator) run(n uint64) (start, got uint64, err error) {
	group := a.next / blocksPerGroup
	if group >= a.geo.groups || n == 0 {
		return 0, 0, ErrNoSpace
	}
	start = a.next
	got = min(n, a.geo.groupEnd(group)-start, maxExtent)
	a.next += got
	if a.next == a.geo.groupEnd(group) {
		group++
		a.next = a.geo.blocks
		if group < a.geo.groups {
			a.next = group*blocksPerGroup + a.geo.overhead(group)
		}
	}
	return start, got, nil
}

// extents hands out n blocks as extents of a file.
func (a *allocator) extents(n uint64) ([]extent, error) {
	if n > a.room() {
		return nil, ErrNoSpace
	}
	var list []extent
	for at := uint64(0); at < n; {
		start, got, err := a.run(n - at)
		if err != nil {
			return nil, err
		}
		list = append(list, extent{logical: uint32(at), length: uint32(got), start: start})
		at += got
	}
	return list, nil
}
