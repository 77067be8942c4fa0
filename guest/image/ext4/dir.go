package ext4

import (
	"maps"
	"slices"
)

// direntHeader is a directory entry without its name (struct ext4_dir_entry_2).
const direntHeader = 8

func direntSize(name string) int { return direntHeader + pad4(len(name)) }

// dirBlocks lays out a folder's entries, in the order of their names. Checksums come
// later, when inode numbers are known.
func dirBlocks(n *node, minBlocks int) [][]byte {
	var blocks [][]byte
	var p []byte
	at, last := 0, 0 // where the next entry goes, where the last one is
	closeBlock := func() {
		le.PutUint16(p[last+4:], uint16(BlockSize-dirTail-last))
		blocks = append(blocks, p)
	}
	add := func(name string, ino uint32, kind byte) {
		size := direntSize(name)
		if p != nil && at+size > BlockSize-dirTail {
			closeBlock()
			p = nil
		}
		if p == nil {
			p, at = make([]byte, BlockSize), 0
		}
		le.PutUint32(p[at:], ino)
		le.PutUint16(p[at+4:], uint16(size))
		p[at+6] = byte(len(name))
		p[at+7] = kind
		copy(p[at+direntHeader:], name)
		last, at = at, at+size
	}
	parent := n.parent
	if parent == nil {
		parent = n
	}
	add(".", n.ino, TypeDir.dirent())
	add("..", parent.ino, TypeDir.dirent())
	for _, name := range slices.Sorted(maps.Keys(n.children)) {
		child := n.children[name]
		add(name, child.ino, child.Type.dirent())
	}
	closeBlock()
	for len(blocks) < minBlocks {
		p, last = make([]byte, BlockSize), 0
		closeBlock()
	}
	return blocks
}

// sealDirBlock puts the checksum at a directory block's end, in the guise of an entry.
func sealDirBlock(p []byte, inodeSeed uint32) {
	tail := p[BlockSize-dirTail:]
	le.PutUint16(tail[4:], dirTail)
	tail[7] = dirTailType
	le.PutUint32(tail[8:], checksum(inodeSeed, p[:BlockSize-dirTail]))
}
