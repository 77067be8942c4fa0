package ext4

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"time"
)

// Config says what file system to make.
type Config struct {
	Size  int64     // in bytes, from MinSize to MaxSize
	Label string    // at most 16 bytes
	UUID  [16]byte  // may be set later, with SetUUID
	Time  time.Time // of its making, and of folders that no entry names
}

// Writer makes one file system. After an error from Put or Finish it is of no more use.
// It is for one goroutine.
type Writer struct {
	out    io.WriterAt
	config Config
	geo    geometry
	alloc  *allocator
	root   *node
	layer  int
	names  uint64 // directory entries
	inodes uint64 // besides the reserved ones
	buf    []byte

	seed    uint32 // of all checksums
	byIno   []*node
	journal []extent
}

// copySize is how much of a file is copied at once, in bytes.
const copySize = 1 << 20

// New begins a file system in out, which must read as zeroes and be of Config.Size.
func New(out io.WriterAt, c Config) (*Writer, error) {
	geo, err := newGeometry(c.Size)
	if err != nil {
		return nil, err
	}
	if len(c.Label) > 16 {
		return nil, fmt.Errorf("file system label %q: more than 16 bytes", c.Label)
	}
	w := &Writer{out: out, config: c, geo: geo}
	w.alloc = newAllocator(&w.geo)
	if w.alloc.room() < uint64(geo.journalBlocks())+64 {
		return nil, fmt.Errorf("%w: %d bytes have no room for a journal", ErrNoSpace, c.Size)
	}
	if w.journal, err = w.alloc.extents(uint64(geo.journalBlocks())); err != nil {
		return nil, err
	}
	w.root = newDir(nil, Attr{Perm: 0o755, ModTime: c.Time}, 0)
	return w, w.Put("lost+found", Attr{Type: TypeDir, Perm: 0o700, ModTime: c.Time}, 0, nil)
}

// SetUUID names the file system, before Finish.
func (w *Writer) SetUUID(id [16]byte) { w.config.UUID = id }

// Free is the room that is left for files, in bytes.
func (w *Writer) Free() int64 { return int64(w.alloc.room()) * BlockSize }

// Put makes a file, in place of what had its name; a folder that is there keeps what is
// in it. Folders on the way are made; symbolic links on the way are followed inside the
// image. A regular file takes size bytes from content. Errors: ErrPath, ErrNoSpace, and
// those of reading and writing.
func (w *Writer) Put(name string, a Attr, size int64, content io.Reader) error {
	if err := checkAttr(name, &a); err != nil {
		return err
	}
	dir, last, err := w.locate(name, true)
	if err != nil {
		return err
	}
	if last == "" {
		return w.putDir(w.root, name, a)
	}
	if old, ok := dir.children[last]; ok && a.Type == TypeDir && old.Type == TypeDir {
		return w.putDir(old, name, a)
	}
	n := &node{Attr: a, links: 1, layer: w.layer}
	if a.Type == TypeDir {
		n = newDir(dir, a, w.layer)
	}
	if err := w.enter(dir, last, n); err != nil {
		return err
	}
	if err := w.count(); err != nil {
		return err
	}
	switch a.Type {
	case TypeRegular:
		err = w.fill(n, size, content)
	case TypeSymlink:
		if n.size = int64(len(a.Target)); n.size >= fastSymlink {
			err = w.fill(n, n.size, bytes.NewReader([]byte(a.Target)))
		}
	}
	if err != nil {
		return fmt.Errorf("%q: %w", name, err)
	}
	return nil
}

// putDir changes what a folder has besides its contents.
func (w *Writer) putDir(n *node, name string, a Attr) error {
	if a.Type != TypeDir {
		return fmt.Errorf("%w: %q: the root is a folder", ErrPath, name)
	}
	n.Attr, n.layer = a, w.layer
	return nil
}

// Link makes a further name for a file that there is. Both names lie inside the image.
func (w *Writer) Link(name, existing string) error {
	from, last, err := w.locate(existing, false)
	if err != nil {
		return err
	}
	if from == nil || from.children[last] == nil {
		return fmt.Errorf("%w: %q is a hard link to %q, which is not there", ErrPath, name, existing)
	}
	n := from.children[last]
	if n.Type == TypeDir {
		return fmt.Errorf("%w: %q is a hard link to %q, which is a folder", ErrPath, name, existing)
	}
	if n.links >= maxLinks {
		return fmt.Errorf("%w: %q has more than %d names", ErrNoSpace, existing, maxLinks)
	}
	dir, last, err := w.locate(name, true)
	if err != nil {
		return err
	}
	if last == "" {
		return fmt.Errorf("%w: %q: the root is a folder", ErrPath, name)
	}
	if dir.children[last] == n {
		return nil
	}
	n.links++ // first, so that the name replaced is not its last
	n.layer = w.layer
	return w.enter(dir, last, n)
}

// fill copies a file's contents to their blocks. Blocks of zeroes are not written, as the
// image reads as zeroes there.
func (w *Writer) fill(n *node, size int64, content io.Reader) error {
	if size < 0 || size > w.config.Size {
		return fmt.Errorf("%w: %d bytes do not fit", ErrNoSpace, size)
	}
	blocks := (uint64(size) + BlockSize - 1) / BlockSize
	list, err := w.alloc.extents(blocks)
	if err != nil {
		return fmt.Errorf("%w: %d bytes do not fit", err, size)
	}
	n.extents, n.size = list, size
	if want := int(min(size, copySize)); len(w.buf) < want {
		w.buf = make([]byte, want)
	}
	left := size
	for _, e := range list {
		at := int64(e.start) * BlockSize
		for in := int64(e.length) * BlockSize; in > 0 && left > 0; {
			chunk := w.buf[:min(in, left, copySize)]
			if _, err := io.ReadFull(content, chunk); err != nil {
				if errors.Is(err, io.EOF) {
					err = io.ErrUnexpectedEOF
				}
				return err
			}
			if err := w.writeSparse(chunk, at); err != nil {
				return err
			}
			at += int64(len(chunk))
			in -= int64(len(chunk))
			left -= int64(len(chunk))
		}
	}
	return nil
}

var zeroBlock [BlockSize]byte

// writeSparse writes what is not zero of p, by blocks.
func (w *Writer) writeSparse(p []byte, at int64) error {
	start := -1
	for off := 0; off < len(p); off += BlockSize {
		block := p[off:min(off+BlockSize, len(p))]
		zero := bytes.Equal(block, zeroBlock[:len(block)])
		switch {
		case !zero && start < 0:
			start = off
		case zero && start >= 0:
			if _, err := w.out.WriteAt(p[start:off], at+int64(start)); err != nil {
				return err
			}
			start = -1
		}
	}
	if start < 0 {
		return nil
	}
	_, err := w.out.WriteAt(p[start:], at+int64(start))
	return err
}

// writeBlock writes one block of metadata.
func (w *Writer) writeBlock(p []byte, block uint64) error {
	_, err := w.out.WriteAt(p, int64(block)*BlockSize)
	return err
}
