package initramfs

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
)

// ErrFormat says that bytes are not a newc archive.
var ErrFormat = errors.New("not a cpio archive in newc form")

// Header is what an archive says of one entry.
type Header struct {
	// Name is the path as it stands there: do not trust it.
	Name string
	// Mode holds type and permission bits.
	Mode     uint32
	UID, GID uint32
	Inode    uint32
	Links    uint32
	ModTime  uint32
	// Size of the contents, in bytes; a symbolic link's contents are its target.
	Size uint32
	// DeviceMajor and DeviceMinor are the numbers of a device node.
	DeviceMajor, DeviceMinor uint32
}

// Reader reads archives one entry at a time. It allocates no more than a name,
// whatever an archive says.
type Reader struct {
	r    *bufio.Reader
	left int64 // of the entry's contents
	skip int64 // padding behind them
	at   int64 // offset in the stream
	err  error
}

// NewReader reads the archive, or several with zero bytes between, from r.
func NewReader(r io.Reader) *Reader {
	return &Reader{r: bufio.NewReaderSize(r, 64<<10)}
}

// Next goes to the next entry. It returns io.EOF at the end of an archive, after
// which NextArchive may find another one. Errors are ErrFormat,
// io.ErrUnexpectedEOF, or what the source gives.
func (r *Reader) Next() (*Header, error) {
	if r.err != nil {
		return nil, r.err
	}
	h, err := r.next()
	r.err = err
	return h, err
}

func (r *Reader) next() (*Header, error) {
	if err := r.discard(r.left + r.skip); err != nil {
		return nil, err
	}
	r.left, r.skip = 0, 0
	var head [headerSize]byte
	if err := r.full(head[:]); err != nil {
		return nil, err
	}
	fields, err := parseHeader(head[:])
	if err != nil {
		return nil, fmt.Errorf("entry at offset %d: %w", r.at-headerSize, err)
	}
	size := fields[fieldNameSize]
	if size < 2 || size > maxName {
		return nil, fmt.Errorf("entry at offset %d: %w: a name of %d bytes", r.at-headerSize, ErrFormat, size)
	}
	name := make([]byte, padded(int64(headerSize)+int64(size))-headerSize)
	if err := r.full(name); err != nil {
		return nil, err
	}
	name = name[:size]
	if end := bytes.IndexByte(name, 0); end != len(name)-1 {
		return nil, fmt.Errorf("entry at offset %d: %w: NUL in the name", r.at, ErrFormat)
	}
	h := &Header{
		Name: string(name[:len(name)-1]), Mode: fields[fieldMode], UID: fields[fieldUID], GID: fields[fieldGID],
		Inode: fields[fieldInode], Links: fields[fieldLinks], ModTime: fields[fieldMTime], Size: fields[fieldSize],
		DeviceMajor: fields[fieldRDevMajor], DeviceMinor: fields[fieldRDevMinor],
	}
	r.left = int64(h.Size)
	r.skip = padded(r.left) - r.left
	if h.Name == trailer {
		r.left, r.skip = 0, 0
		return nil, io.EOF
	}
	return h, nil
}

// parseHeader reads the magic number and the fields.
func parseHeader(b []byte) (fields [numFields]uint32, err error) {
	if magic := string(b[:len(magicNewc)]); magic != magicNewc && magic != magicCRC {
		return fields, fmt.Errorf("%w: magic number %q", ErrFormat, magic)
	}
	digits := b[len(magicNewc):]
	for i := range digits {
		d, ok := hexDigit(digits[i])
		if !ok {
			return fields, fmt.Errorf("%w: digit %q", ErrFormat, digits[i])
		}
		fields[i/fieldDigits] = fields[i/fieldDigits]<<4 | d
	}
	return fields, nil
}

func hexDigit(c byte) (uint32, bool) {
	switch {
	case c >= '0' && c <= '9':
		return uint32(c - '0'), true
	case c >= 'A' && c <= 'F':
		return uint32(c-'A') + 10, true
	case c >= 'a' && c <= 'f':
		return uint32(c-'a') + 10, true
	}
	return 0, false
}

// Read reads the contents of the entry; io.EOF at their end.
func (r *Reader) Read(p []byte) (int, error) {
	if r.left == 0 || r.err != nil {
		return 0, io.EOF
	}
	n, err := r.r.Read(p[:min(int64(len(p)), r.left)])
	r.left -= int64(n)
	r.at += int64(n)
	if errors.Is(err, io.EOF) {
		err = io.ErrUnexpectedEOF
	}
	return n, err
}

// NextArchive goes on to the archive behind the one that has ended, over any
// number of zero bytes. It returns io.EOF if there is none.
func (r *Reader) NextArchive() error {
	if !errors.Is(r.err, io.EOF) {
		return fmt.Errorf("%w: the archive has not ended", ErrFormat)
	}
	for {
		c, err := r.r.ReadByte()
		if err != nil {
			return err
		}
		if c != 0 {
			r.err = nil
			return r.r.UnreadByte()
		}
		r.at++
	}
}

func (r *Reader) full(p []byte) error {
	n, err := io.ReadFull(r.r, p)
	r.at += int64(n)
	if errors.Is(err, io.EOF) {
		return io.ErrUnexpectedEOF
	}
	return err
}

func (r *Reader) discard(n int64) error {
	m, err := io.CopyN(io.Discard, r.r, n)
	r.at += m
	if errors.Is(err, io.EOF) {
		return io.ErrUnexpectedEOF
	}
	return err
}
