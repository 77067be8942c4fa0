package initramfs

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
)

// The record: a header of 6 characters of magic number and 13 fields of 8
// hexadecimal digits, the name with its NUL, and the contents; name and contents
// are filled up with zeros to a multiple of 4.
const (
	magicNewc   = "070701"
	magicCRC    = "070702" // the same with a checksum, which nobody checks
	fieldDigits = 8
	headerSize  = 6 + numFields*fieldDigits
	padTo       = 4

	trailer = "TRAILER!!!" // the name of the record that ends an archive
)

// The fields of a header, in their order.
const (
	fieldInode = iota
	fieldMode
	fieldUID
	fieldGID
	fieldLinks
	fieldMTime
	fieldSize
	fieldDevMajor
	fieldDevMinor
	fieldRDevMajor
	fieldRDevMinor
	fieldNameSize
	fieldChecksum
	numFields
)

// Size is the number of bytes that WriteTo will write, if it succeeds.
func (a *Archive) Size() int64 {
	total := recordSize(len(trailer), 0)
	for _, e := range a.entries {
		total += recordSize(len(e.name), int64(e.size))
	}
	return total
}

func recordSize(name int, size int64) int64 {
	return padded(int64(headerSize+name+1)) + padded(size)
}

func padded(n int64) int64 { return (n + padTo - 1) &^ (padTo - 1) }

// Bytes returns the whole archive.
func (a *Archive) Bytes() ([]byte, error) {
	var b bytes.Buffer
	if a.err == nil {
		b.Grow(int(a.Size()))
	}
	_, err := a.WriteTo(&b)
	return b.Bytes(), err
}

// WriteTo writes the archive, entries sorted by name (so that directories come
// before what is in them), and returns the first error of all calls before.
func (a *Archive) WriteTo(w io.Writer) (int64, error) {
	if a.err != nil {
		return 0, a.err
	}
	sorted := make([]*entry, 0, len(a.entries))
	for _, e := range a.entries {
		sorted = append(sorted, e)
	}
	slices.SortFunc(sorted, func(x, y *entry) int { return strings.Compare(x.name, y.name) })

	out := writer{w: bufio.NewWriterSize(w, 64<<10)}
	for i, e := range sorted {
		out.entry(uint32(i+1), a.ModTime, e)
	}
	out.record(&[numFields]uint32{fieldLinks: 1}, trailer)
	if out.err == nil {
		out.err = out.w.Flush()
	}
	return out.n, out.err
}

// writer counts what went out and keeps the first error.
type writer struct {
	w   *bufio.Writer
	n   int64
	err error
}

func (w *writer) write(p []byte) {
	if w.err == nil {
		var n int
		n, w.err = w.w.Write(p)
		w.n += int64(n)
	}
}

func (w *writer) pad() {
	var zeros [padTo]byte
	w.write(zeros[:padded(w.n)-w.n])
}

func (w *writer) entry(inode, modTime uint32, e *entry) {
	links := uint32(1)
	if e.mode == TypeDir {
		links = 2
	}
	w.record(&[numFields]uint32{
		fieldInode: inode, fieldMode: e.mode | e.attr.Mode, fieldUID: e.attr.UID, fieldGID: e.attr.GID,
		fieldLinks: links, fieldMTime: modTime, fieldSize: e.size,
		fieldRDevMajor: e.major, fieldRDevMinor: e.minor,
	}, e.name)
	if e.open != nil && w.err == nil {
		w.contents(e)
		w.pad()
	}
}

// record writes a header and a name.
func (w *writer) record(fields *[numFields]uint32, name string) {
	fields[fieldNameSize] = uint32(len(name) + 1)
	b := make([]byte, 0, headerSize+len(name)+1)
	b = append(b, magicNewc...)
	for _, v := range fields {
		b = appendHex(b, v)
	}
	b = append(b, name...)
	w.write(append(b, 0))
	w.pad()
}

func appendHex(b []byte, v uint32) []byte {
	const digits = "0123456789ABCDEF"
	for shift := 4 * (fieldDigits - 1); shift >= 0; shift -= 4 {
		b = append(b, digits[v>>shift&0xF])
	}
	return b
}

// contents copies a file; one that has changed its size would spoil all that
// follows.
func (w *writer) contents(e *entry) {
	r, err := e.open()
	if err != nil {
		w.err = err
		return
	}
	n, err := io.Copy(w.w, io.LimitReader(r, int64(e.size)+1))
	w.n += n
	if err = errors.Join(err, r.Close()); err == nil && n != int64(e.size) {
		err = errors.New("its size has changed while the archive was made")
	}
	if err != nil {
		w.err = fmt.Errorf("add %s: %w", e.name, err)
	}
}
