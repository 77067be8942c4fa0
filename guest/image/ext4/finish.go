package ext4

import (
	"encoding/binary"
	"fmt"
	"maps"
	"slices"
)

// lostFoundBlocks are set aside in lost+found, so that e2fsck need not allocate there.
const lostFoundBlocks = 4

// Finish writes everything but the contents of files. Nothing is durable before the
// caller syncs what it gave to New.
func (w *Writer) Finish() error {
	w.seed = checksum(^uint32(0), w.config.UUID[:])
	w.number()
	for _, n := range w.byIno {
		if n == nil {
			continue
		}
		if err := w.place(n); err != nil {
			return err
		}
	}
	if err := w.writeInodes(); err != nil {
		return err
	}
	if err := w.writeJournal(); err != nil {
		return err
	}
	return w.writeGroups()
}

// number gives inodes their numbers, by walking the tree in the order of names.
func (w *Writer) number() {
	w.byIno = make([]*node, firstIno-1, w.inodes+firstIno+1)
	set := func(n *node, ino uint32) {
		n.ino = ino
		w.byIno[ino-1] = n
	}
	set(w.root, inoRoot)
	if n, ok := w.root.children["lost+found"]; ok && n.Type == TypeDir {
		w.byIno = append(w.byIno, nil)
		set(n, inoLostFound)
	}
	var visit func(n *node)
	visit = func(n *node) {
		if n.ino == 0 {
			w.byIno = append(w.byIno, n)
			n.ino = uint32(len(w.byIno))
		}
		for _, name := range slices.Sorted(maps.Keys(n.children)) {
			visit(n.children[name])
		}
	}
	visit(w.root)
}

// place finds blocks for what belongs to an inode, and writes them.
func (w *Writer) place(n *node) error {
	if n.Type == TypeDir {
		if err := w.placeDir(n); err != nil {
			return err
		}
	}
	if list, _ := encodeXattrs(n.Xattrs); !fitsInode(list) { // checked by Put
		block, _, err := w.alloc.run(1)
		if err != nil {
			return err
		}
		n.xattrPos = block
		if err := w.writeBlock(w.xattrBlock(list, block), block); err != nil {
			return err
		}
	}
	if len(n.extents) <= inlineExtent {
		return nil
	}
	if len(n.extents) > inlineExtent*blockExtents {
		return fmt.Errorf("%w: a file in %d pieces", ErrNoSpace, len(n.extents))
	}
	for leaf := range slices.Chunk(n.extents, blockExtents) {
		block, _, err := w.alloc.run(1)
		if err != nil {
			return err
		}
		n.mapBlocks = append(n.mapBlocks, block)
		if err := w.writeBlock(w.extentBlock(n, leaf), block); err != nil {
			return err
		}
	}
	return nil
}

func (w *Writer) placeDir(n *node) error {
	minBlocks := 1
	if n.ino == inoLostFound {
		minBlocks = lostFoundBlocks
	}
	blocks := dirBlocks(n, minBlocks)
	n.size = int64(len(blocks)) * BlockSize
	list, err := w.alloc.extents(uint64(len(blocks)))
	if err != nil {
		return err
	}
	n.extents = list
	seed := w.inodeSeed(n.ino)
	for _, e := range list {
		for i := range e.length {
			block := blocks[e.logical+i]
			sealDirBlock(block, seed)
			if err := w.writeBlock(block, e.start+uint64(i)); err != nil {
				return err
			}
		}
	}
	return nil
}

// writeInodes writes the inode tables as far as they are used.
func (w *Writer) writeInodes() error {
	w.byIno[inoJournal-1] = w.journalNode()
	perGroup := int(w.geo.inodesPerGroup)
	for group := 0; group*perGroup < len(w.byIno); group++ {
		inodes := w.byIno[group*perGroup:]
		inodes = inodes[:min(perGroup, len(inodes))]
		table := make([]byte, (len(inodes)*inodeSize+BlockSize-1)/BlockSize*BlockSize)
		for i, n := range inodes {
			p := table[i*inodeSize : (i+1)*inodeSize]
			if n != nil {
				w.encodeInode(p, n)
			}
		}
		if err := w.writeBlock(table, w.geo.inodeTable(uint64(group))); err != nil {
			return err
		}
	}
	return nil
}

// Fields of the journal's superblock, which is big-endian (linux/jbd2.h).
const (
	journalMagic      = 0xC03B3998
	journalSuperV2    = 4
	journalUsersField = 0x40
)

func (w *Writer) journalNode() *node {
	return &node{
		Attr: Attr{Type: TypeRegular, Perm: 0o600, ModTime: w.config.Time}, links: 1, ino: inoJournal,
		size: int64(w.geo.journalBlocks()) * BlockSize, extents: w.journal,
	}
}

func (w *Writer) writeJournal() error {
	p := make([]byte, BlockSize)
	be := binary.BigEndian
	be.PutUint32(p, journalMagic)
	be.PutUint32(p[4:], journalSuperV2)
	be.PutUint32(p[0x0C:], BlockSize)
	be.PutUint32(p[0x10:], w.geo.journalBlocks())
	be.PutUint32(p[0x14:], 1) // first block of the log
	be.PutUint32(p[0x18:], 1) // first commit expected
	be.PutUint32(p[journalUsersField:], 1)
	return w.writeBlock(p, w.journal[0].start)
}
