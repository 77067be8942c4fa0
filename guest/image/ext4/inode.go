package ext4

import "time"

// fastSymlink is the length from which a link's target needs a block of its own.
const fastSymlink = 60

// inodeSeed begins the checksums of an inode and of what belongs to it (generation 0).
func (w *Writer) inodeSeed(ino uint32) uint32 {
	return checksum32(checksum32(w.seed, ino), 0)
}

// encodeInode writes struct ext4_inode.
func (w *Writer) encodeInode(p []byte, n *node) {
	le.PutUint16(p, uint16(n.Type)|n.Perm)
	le.PutUint16(p[0x02:], uint16(n.UID))
	le.PutUint16(p[0x18:], uint16(n.GID))
	le.PutUint16(p[0x78:], uint16(n.UID>>16))
	le.PutUint16(p[0x7A:], uint16(n.GID>>16))
	le.PutUint32(p[0x04:], uint32(n.size))
	le.PutUint32(p[0x6C:], uint32(n.size>>32))
	seconds, extra := encodeTime(n.ModTime)
	for _, off := range [...]int{0x08, 0x0C, 0x10, 0x90} { // access, change, modification, birth
		le.PutUint32(p[off:], seconds)
	}
	for _, off := range [...]int{0x84, 0x88, 0x8C, 0x94} {
		le.PutUint32(p[off:], extra)
	}
	links := n.links
	if links > maxLinks {
		links = 1 // dir_nlink: not counted
	}
	le.PutUint16(p[0x1A:], uint16(links))
	le.PutUint16(p[0x80:], 32) // bytes behind the first 128
	w.encodeMap(p, n)
	w.encodeBlocks(p, n)
	if list, _ := encodeXattrs(n.Xattrs); len(list) > 0 { // checked by Put
		if n.xattrPos != 0 {
			le.PutUint32(p[0x68:], uint32(n.xattrPos))
			le.PutUint16(p[0x76:], uint16(n.xattrPos>>32))
		} else {
			le.PutUint32(p[inodeBase:], xattrMagic)
			putXattrs(p[inodeBase+xattrInodeHeader:], list, 0)
		}
	}
	w.sealInode(p, n.ino)
}

func (w *Writer) sealInode(p []byte, ino uint32) {
	sum := checksum(w.inodeSeed(ino), p[:inodeSize])
	le.PutUint16(p[0x7C:], uint16(sum))
	le.PutUint16(p[0x82:], uint16(sum>>16))
}

// encodeMap fills i_block: with the extents, a short link's target, or a device number.
func (w *Writer) encodeMap(p []byte, n *node) {
	block := p[0x28:0x64]
	switch {
	case n.Type == TypeSymlink && n.size < fastSymlink:
		copy(block, n.Target)
	case n.Type == TypeChar || n.Type == TypeBlock:
		// The kernel's old_encode_dev and new_encode_dev (linux/kdev_t.h).
		if n.Major < 256 && n.Minor < 256 {
			le.PutUint32(block, n.Major<<8|n.Minor)
		} else {
			le.PutUint32(block[4:], n.Minor&0xff|n.Major<<8|n.Minor&^0xff<<12)
		}
	case n.Type == TypeFIFO || n.Type == TypeSocket:
	default:
		le.PutUint32(p[0x20:], inodeFlagExtents)
		if len(n.mapBlocks) == 0 {
			putExtentHeader(block, len(n.extents), inlineExtent, 0)
			putExtents(block[extentHeader:], n.extents)
			return
		}
		putExtentHeader(block, len(n.mapBlocks), inlineExtent, 1)
		for i, b := range n.mapBlocks {
			entry := block[extentHeader+i*extentEntry:]
			le.PutUint32(entry, n.extents[i*blockExtents].logical)
			le.PutUint32(entry[4:], uint32(b))
			le.PutUint16(entry[8:], uint16(b>>32))
		}
	}
}

// encodeBlocks counts what the file takes, in units of 512 bytes.
func (w *Writer) encodeBlocks(p []byte, n *node) {
	count := uint64(len(n.mapBlocks))
	for _, e := range n.extents {
		count += uint64(e.length)
	}
	if n.xattrPos != 0 {
		count++
	}
	count *= BlockSize / 512
	le.PutUint32(p[0x1C:], uint32(count))
	le.PutUint16(p[0x74:], uint16(count>>32))
}

func putExtentHeader(p []byte, entries, room, depth int) {
	le.PutUint16(p, extentMagic)
	le.PutUint16(p[2:], uint16(entries))
	le.PutUint16(p[4:], uint16(room))
	le.PutUint16(p[6:], uint16(depth))
}

func putExtents(p []byte, list []extent) {
	for i, e := range list {
		entry := p[i*extentEntry:]
		le.PutUint32(entry, e.logical)
		le.PutUint16(entry[4:], uint16(e.length))
		le.PutUint16(entry[6:], uint16(e.start>>32))
		le.PutUint32(entry[8:], uint32(e.start))
	}
}

// extentBlock builds a leaf of a file's extent tree.
func (w *Writer) extentBlock(n *node, list []extent) []byte {
	p := make([]byte, BlockSize)
	putExtentHeader(p, len(list), blockExtents, 0)
	putExtents(p[extentHeader:], list)
	tail := extentHeader + blockExtents*extentEntry
	le.PutUint32(p[tail:], checksum(w.inodeSeed(n.ino), p[:tail]))
	return p
}

// encodeTime splits a time as ext4 does: 32 bits of seconds, and two more of them below
// the nanoseconds. Times that it cannot hold become the nearest that it can.
func encodeTime(t time.Time) (seconds, extra uint32) {
	const first, last = -1 << 31, 1<<34 - 1<<31 - 1
	s := min(max(t.Unix(), first), last)
	nsec := uint32(t.Nanosecond())
	if s != t.Unix() {
		nsec = 0
	}
	epoch := uint32((s-int64(int32(s)))>>32) & 3
	return uint32(s), nsec<<2 | epoch
}
