package ext4

// groupState is what a group's descriptor tells.
type groupState struct {
	blockBitmap, inodeBitmap      []byte
	freeBlocks, freeInodes        uint32
	dirs, unusedInodes            uint32
	blockBitmapSum, inodeBitmapCS uint32
}

// writeGroups writes bitmaps, group descriptors and superblocks, all copies.
func (w *Writer) writeGroups() error {
	descs := make([]byte, w.geo.descBlocks*BlockSize)
	var freeBlocks, freeInodes uint64
	for group := range w.geo.groups {
		s := w.groupState(group)
		freeBlocks += uint64(s.freeBlocks)
		freeInodes += uint64(s.freeInodes)
		if err := w.writeBlock(s.blockBitmap, w.geo.blockBitmap(group)); err != nil {
			return err
		}
		if err := w.writeBlock(s.inodeBitmap, w.geo.inodeBitmap(group)); err != nil {
			return err
		}
		w.encodeDesc(descs[group*descSize:][:descSize], group, &s)
	}
	super := w.superblock(freeBlocks, freeInodes)
	for group := range w.geo.groups {
		if !hasSuper(group) {
			continue
		}
		if err := w.writeBlock(descs, group*blocksPerGroup+1); err != nil {
			return err
		}
		if err := w.writeSuper(super, group); err != nil {
			return err
		}
	}
	return nil
}

// groupState works out a group's bitmaps and counts.
func (w *Writer) groupState(group uint64) groupState {
	s := groupState{blockBitmap: make([]byte, BlockSize), inodeBitmap: make([]byte, BlockSize)}
	first := group * blocksPerGroup
	end := w.geo.groupEnd(group)
	used := min(max(w.alloc.next, first+w.geo.overhead(group)), end)
	setBits(s.blockBitmap, 0, used-first)
	for _, e := range w.alloc.freed[group] {
		clearBits(s.blockBitmap, e.start-first, uint64(e.length))
		s.freeBlocks += e.length
	}
	s.freeBlocks += uint32(end - used)
	setBits(s.blockBitmap, end-first, blocksPerGroup-(end-first))

	perGroup := uint64(w.geo.inodesPerGroup)
	firstInode := group * perGroup
	inodes := w.byIno[min(firstInode, uint64(len(w.byIno))):min(firstInode+perGroup, uint64(len(w.byIno)))]
	setBits(s.inodeBitmap, 0, uint64(len(inodes)))
	setBits(s.inodeBitmap, perGroup, BlockSize*8-perGroup)
	for _, n := range inodes {
		if n != nil && n.Type == TypeDir {
			s.dirs++
		}
	}
	s.freeInodes = uint32(perGroup) - uint32(len(inodes))
	s.unusedInodes = s.freeInodes
	s.blockBitmapSum = checksum(w.seed, s.blockBitmap)
	s.inodeBitmapCS = checksum(w.seed, s.inodeBitmap[:perGroup/8])
	return s
}

func setBits(p []byte, from, n uint64) {
	for i := from; i < from+n; i++ {
		if i%8 == 0 && from+n-i >= 8 {
			p[i/8] = 0xff
			i += 7
			continue
		}
		p[i/8] |= 1 << (i % 8)
	}
}

func clearBits(p []byte, from, n uint64) {
	for i := from; i < from+n; i++ {
		p[i/8] &^= 1 << (i % 8)
	}
}

// encodeDesc writes struct ext4_group_desc.
func (w *Writer) encodeDesc(p []byte, group uint64, s *groupState) {
	split32 := func(low, high int, v uint64) {
		le.PutUint32(p[low:], uint32(v))
		le.PutUint32(p[high:], uint32(v>>32))
	}
	split16 := func(low, high int, v uint32) {
		le.PutUint16(p[low:], uint16(v))
		le.PutUint16(p[high:], uint16(v>>16))
	}
	split32(0x00, 0x20, w.geo.blockBitmap(group))
	split32(0x04, 0x24, w.geo.inodeBitmap(group))
	split32(0x08, 0x28, w.geo.inodeTable(group))
	split16(0x0C, 0x2C, s.freeBlocks)
	split16(0x0E, 0x2E, s.freeInodes)
	split16(0x10, 0x30, s.dirs)
	le.PutUint16(p[0x12:], groupInodeZeroed)
	split16(0x18, 0x38, s.blockBitmapSum)
	split16(0x1A, 0x3A, s.inodeBitmapCS)
	split16(0x1C, 0x32, s.unusedInodes)
	sum := checksum(checksum32(w.seed, uint32(group)), p)
	le.PutUint16(p[0x1E:], uint16(sum))
}

// superblock builds struct ext4_super_block, but for its place and its checksum.
func (w *Writer) superblock(freeBlocks, freeInodes uint64) []byte {
	p := make([]byte, superSize)
	put16 := func(off int, v uint16) { le.PutUint16(p[off:], v) }
	put32 := func(off int, v uint32) { le.PutUint32(p[off:], v) }
	now := uint32(w.config.Time.Unix())
	reserved := w.geo.blocks / 100 // for root, so that a full disk can be mended

	put32(0x00, uint32(w.geo.inodes()))
	put32(0x04, uint32(w.geo.blocks))
	put32(0x150, uint32(w.geo.blocks>>32))
	put32(0x08, uint32(reserved))
	put32(0x0C, uint32(freeBlocks))
	put32(0x158, uint32(freeBlocks>>32))
	put32(0x10, uint32(freeInodes))
	put32(0x18, 2) // block size: 1024 << 2
	put32(0x1C, 2)
	put32(0x20, blocksPerGroup)
	put32(0x24, blocksPerGroup)
	put32(0x28, w.geo.inodesPerGroup)
	put32(0x30, now)    // written
	put16(0x36, 0xffff) // never check by count of mounts
	put16(0x38, superMagic)
	put16(0x3A, 1) // clean
	put16(0x3C, 1) // errors: continue
	put32(0x40, now)
	put32(0x4C, 1) // revision with these fields
	put32(0x54, firstIno)
	put16(0x58, inodeSize)
	put32(0x5C, compatHasJournal|compatExtAttr|compatDirIndex)
	put32(0x60, incompatFiletype|incompatExtents|incompat64bit)
	put32(0x64, roSparseSuper|roLargeFile|roHugeFile|roDirNlink|roExtraIsize|roMetadataCsum)
	copy(p[0x68:0x78], w.config.UUID[:])
	copy(p[0x78:0x88], w.config.Label)
	put32(0xE0, inoJournal)
	copy(p[0xEC:0xFC], w.config.UUID[:]) // seed of directory hashes: only to differ
	p[0xFC] = 1                          // half MD4
	put16(0xFE, descSize)
	put32(0x100, 0x0C) // mount with user attributes and ACLs
	put32(0x108, now)  // made
	put16(0x15C, 32)
	put16(0x15E, 32)
	put32(0x160, 1) // signed directory hash
	p[0x175] = 1    // checksums are CRC-32C
	w.backUpJournal(p)
	return p
}

// backUpJournal keeps the journal's map in the superblock, for e2fsck.
func (w *Writer) backUpJournal(p []byte) {
	var inode [inodeSize]byte
	n := w.journalNode()
	w.encodeMap(inode[:], n)
	p[0xFD] = 1
	copy(p[0x10C:], inode[0x28:0x64])
	le.PutUint32(p[0x10C+60:], uint32(n.size>>32))
	le.PutUint32(p[0x10C+64:], uint32(n.size))
}

// writeSuper writes a copy of the superblock; the first has 1024 bytes before it.
func (w *Writer) writeSuper(super []byte, group uint64) error {
	p := make([]byte, superSize)
	copy(p, super)
	le.PutUint16(p[0x5A:], uint16(group))
	le.PutUint32(p[0x3FC:], checksum(^uint32(0), p[:0x3FC]))
	at := int64(group) * blocksPerGroup * BlockSize
	if group == 0 {
		at = superOffset
	}
	_, err := w.out.WriteAt(p, at)
	return err
}
