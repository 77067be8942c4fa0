package ext4

import (
	"fmt"
	"io"
)

// File reads the contents of a file.
type File struct {
	fs    *Reader
	inode *Inode
}

// File gives the contents of an inode, as an io.ReaderAt of Inode.Size bytes.
func (f *Reader) File(i *Inode) *File { return &File{f, i} }

// ReadAt is io.ReaderAt. Holes and extents that were never written read as zeroes.
func (f *File) ReadAt(p []byte, off int64) (int, error) {
	if off < 0 {
		return 0, fmt.Errorf("read at %d", off)
	}
	n := 0
	for n < len(p) && off < f.inode.Size {
		start, length, err := f.fs.mapped(f.inode, uint32(off/f.fs.blockSize))
		if err != nil {
			return n, err
		}
		in := off % f.fs.blockSize
		chunk := p[n:]
		chunk = chunk[:min(int64(len(chunk)), f.inode.Size-off, length*f.fs.blockSize-in)]
		if start == 0 {
			clear(chunk)
		} else if _, err := f.fs.r.ReadAt(chunk, int64(start)*f.fs.blockSize+in); err != nil {
			return n, fmt.Errorf("read block %d: %w", start, err)
		}
		n += len(chunk)
		off += int64(len(chunk))
	}
	if n < len(p) {
		return n, io.EOF
	}
	return n, nil
}

const (
	maxTreeDepth   = 5       // EXT4_MAX_EXTENT_DEPTH
	unwrittenStart = 1 << 15 // lengths above it: allocated, never written
)

// mapped finds where a file's block lies and how many follow it there; start is 0 for a
// hole.
func (f *Reader) mapped(i *Inode, logical uint32) (start uint64, length int64, err error) {
	if i.flags&inodeFlagExtents == 0 {
		return 0, 0, fmt.Errorf("%w: inode %d has no extents (ext2, ext3 or inline data)", ErrFormat, i.Number)
	}
	node := i.block[:]
	for last := maxTreeDepth + 1; ; {
		entries, depth := int(le.Uint16(node[2:])), int(le.Uint16(node[6:]))
		if le.Uint16(node) != extentMagic || depth >= last || extentHeader+entries*extentEntry > len(node) {
			return 0, 0, fmt.Errorf("%w: extents of inode %d", ErrFormat, i.Number)
		}
		last = depth
		if depth == 0 {
			return f.leaf(node[extentHeader:][:entries*extentEntry], logical)
		}
		child, next := uint64(0), int64(1)<<32
		for e := node[extentHeader:][:entries*extentEntry]; len(e) > 0; e = e[extentEntry:] {
			if le.Uint32(e) > logical {
				next = int64(le.Uint32(e))
				break
			}
			child = uint64(le.Uint32(e[4:])) | uint64(le.Uint16(e[8:]))<<32
		}
		if child == 0 {
			return 0, next - int64(logical), nil
		}
		if child >= f.blocks {
			return 0, 0, fmt.Errorf("%w: extents of inode %d", ErrFormat, i.Number)
		}
		node = make([]byte, f.blockSize)
		if _, err := f.r.ReadAt(node, int64(child)*f.blockSize); err != nil {
			return 0, 0, err
		}
	}
}

// leaf looks a block up among extents. A hole is said to end where the leaf ends, or one
// block on, which costs a reader a further look-up and nothing else.
func (f *Reader) leaf(entries []byte, logical uint32) (start uint64, length int64, err error) {
	for e := entries; len(e) > 0; e = e[extentEntry:] {
		first, n := int64(le.Uint32(e)), int64(le.Uint16(e[4:]))
		unwritten := n > unwrittenStart
		if unwritten {
			n -= unwrittenStart
		}
		at := int64(logical) - first
		if at < 0 {
			return 0, -at, nil
		}
		if at >= n {
			continue
		}
		if unwritten {
			return 0, n - at, nil
		}
		block := uint64(le.Uint32(e[8:])) | uint64(le.Uint16(e[6:]))<<32
		if block == 0 || block+uint64(n) > f.blocks {
			return 0, 0, fmt.Errorf("%w: extent at block %d", ErrFormat, block)
		}
		return block + uint64(at), n - at, nil
	}
	return 0, 1, nil
}
