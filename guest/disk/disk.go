// Package disk is a guest's disk as the host keeps it: a raw file, a block device or a
// qcow2 image, behind one interface.
//
// virtio/blk reads and writes through it, guest/image makes images with it, vm opens what
// the user named. It never guesses a format from bytes that a guest may have written,
// never follows a backing file that was not allowed, and never lets two writers at one
// image.
package disk

import (
	"os"

	"github.com/gureum/gureum/guest/disk/internal/host"
)

// Disk is an open image. All methods but Close may be called from several goroutines at
// once; Close comes last.
type Disk interface {
	// ReadAt and WriteAt move all of p or give an error. Requests past Size give ErrRange
	// and move nothing.
	ReadAt(p []byte, off int64) (int, error)
	WriteAt(p []byte, off int64) (int, error)
	// Flush makes all writes that completed before it durable.
	Flush() error
	// Discard frees what it can of n bytes from off; what they read as after is not said.
	Discard(off, n int64) error
	// WriteZeroes makes n bytes from off zeroes; with unmap it frees what space it can.
	WriteZeroes(off, n int64, unmap bool) error
	// Size gives the guest's view of the size, in bytes.
	Size() int64
	// Resize grows the disk to a size in bytes; less than Size gives ErrShrink.
	Resize(size int64) error
	ReadOnly() bool
	// Alignment gives the unit in bytes, a power of two, that requests do best to keep to;
	// all requests are taken nonetheless. It is 1 but with Options.Direct.
	Alignment() int
	// Close flushes what the format itself holds back, and gives up the image's lock. It
	// does not make a raw disk's data durable: call Flush before.
	Close() error
}

// Filer is a Disk whose bytes are those of one file at the same offsets, so that an engine
// can work on the descriptor itself. It keeps within Size and, with Options.Direct, within
// multiples of Alignment for offset, length and address. Only raw disks are one.
type Filer interface {
	Disk
	File() *os.File
}

// Format names how an image is laid out.
type Format string

// The formats there are.
const (
	Raw   Format = "raw"
	Qcow2 Format = "qcow2"
)

// Options say how to open an image. The zero value opens it to read and write, through the
// host's page cache, without a backing file, as the format that its name says.
type Options struct {
	// Format of the image. Empty takes qcow2 for a name that ends in .qcow2 and raw for
	// any other, but refuses (ErrFormat) content that contradicts: a guest can write
	// any header to its raw disk, so content alone decides nothing.
	Format Format

	ReadOnly bool
	Direct   bool // O_DIRECT: past the host's page cache

	// AllowBacking lets a qcow2 image have a backing file, in the folder that the image
	// is in or below it, or in BackingDirs. The image must name its backing file's format.
	AllowBacking bool
	// BackingDirs are more folders that backing files may be in. It implies AllowBacking.
	BackingDirs []string

	// CacheSize bounds the memory for a qcow2 image's tables, in bytes; 0 takes the
	// default of 4 MiB. Memory is taken as it is needed.
	CacheSize int
}

// Errors that callers decide on; match with errors.Is. Errors of the host, such as
// unix.ENOSPC and unix.EIO, are wrapped and match too.
var (
	ErrLocked      = host.ErrLocked      // another process uses the image
	ErrReadOnly    = host.ErrReadOnly    // the disk was opened read-only
	ErrRange       = host.ErrRange       // the request reaches past the end
	ErrFormat      = host.ErrFormat      // the content is not of the format named
	ErrCorrupt     = host.ErrCorrupt     // the image contradicts itself
	ErrUnsupported = host.ErrUnsupported // the image uses a feature that is not built
	ErrBacking     = host.ErrBacking     // a backing file that is not allowed
	ErrShrink      = host.ErrShrink      // a resize to less
)
