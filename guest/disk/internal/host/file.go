// Package host is the file under a disk image: a regular file or a block device of the
// host, with locks against a second user, O_DIRECT with any alignment, holes and zeroes.
//
// The formats in guest/disk stand on it. It knows nothing of formats and of guests, and
// bounds no request by a disk's size: the format above does.
package host

import (
	"errors"
	"fmt"
	"io"
	"os"
	"sync"
	"sync/atomic"

	"golang.org/x/sys/unix"
)

// Options say how to open a File.
type Options struct {
	ReadOnly bool
	Direct   bool // O_DIRECT: past the host's page cache
	Unlocked bool // take no lock: for a look at an image that may be in use
	Create   bool // make the file; it must not exist
}

// File is an open image file. Its methods may be called from several goroutines, but none
// after Close has begun.
type File struct {
	f        *os.File
	path     string
	readOnly bool
	direct   bool
	device   bool // a block device
	align    int  // what O_DIRECT wants of offset, length and address; 1 without it

	// edges is held to write where a request with O_DIRECT changes part of an aligned
	// block, which is read, changed and written; other writes hold it to read.
	edges sync.RWMutex
	spare chan *bounce // aligned memory not in use

	noPunch, noZero atomic.Bool // the file system answered that it cannot

	// syncErr is the first failure of Sync. The kernel tells of a lost page once and
	// calls it clean from then on, so a later success would promise what is not so.
	syncErr atomic.Pointer[error]
}

// Open opens path, and locks it as described at lock unless told not to.
func Open(path string, o Options) (*File, error) {
	// O_NONBLOCK, so that a pipe in place of a file does not hang the open.
	flags := unix.O_CLOEXEC | unix.O_NONBLOCK
	if o.ReadOnly {
		flags |= unix.O_RDONLY
	} else {
		flags |= unix.O_RDWR
	}
	if o.Direct {
		flags |= unix.O_DIRECT
	}
	if o.Create {
		flags |= unix.O_CREAT | unix.O_EXCL
	}
	fd, err := openFile(path, flags)
	if err != nil {
		if o.Direct && errors.Is(err, unix.EINVAL) {
			return nil, fmt.Errorf("open %s: its file system has no O_DIRECT: use cache mode writeback: %w", path, err)
		}
		return nil, &os.PathError{Op: "open", Path: path, Err: err}
	}
	f := &File{path: path, readOnly: o.ReadOnly, direct: o.Direct, align: 1}
	if err := f.adopt(fd); err != nil {
		_ = unix.Close(fd)
		return nil, err
	}
	if err := f.prepare(o); err != nil {
		_ = f.f.Close()
		return nil, err
	}
	return f, nil
}

func openFile(path string, flags int) (int, error) {
	for {
		fd, err := unix.Open(path, flags, 0o644)
		if !errors.Is(err, unix.EINTR) {
			return fd, err
		}
	}
}

// adopt checks what kind of file fd is and takes it over.
func (f *File) adopt(fd int) error {
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		return &os.PathError{Op: "stat", Path: f.path, Err: err}
	}
	switch st.Mode & unix.S_IFMT {
	case unix.S_IFREG:
	case unix.S_IFBLK:
		f.device = true
	default:
		return fmt.Errorf("open %s: a disk must be a regular file or a block device: %w", f.path, ErrFormat)
	}
	if err := unix.SetNonblock(fd, false); err != nil {
		return &os.PathError{Op: "open", Path: f.path, Err: err}
	}
	f.f = os.NewFile(uintptr(fd), f.path)
	return nil
}

func (f *File) prepare(o Options) error {
	if f.direct {
		f.align = directAlignment(int(f.f.Fd()), f.device)
		f.spare = make(chan *bounce, maxSpare)
	}
	if o.Unlocked {
		return nil
	}
	return f.lock(!o.ReadOnly)
}

// OS gives the file itself, for engines that work on the descriptor. It stays the File's.
func (f *File) OS() *os.File { return f.f }

// Path gives the name that the file was opened by.
func (f *File) Path() string { return f.path }

// ReadOnly tells whether the file was opened only to read.
func (f *File) ReadOnly() bool { return f.readOnly }

// Alignment gives what O_DIRECT wants of offsets, lengths and addresses of those who use
// the descriptor themselves, in bytes; 1 without O_DIRECT. ReadAt and WriteAt take any.
func (f *File) Alignment() int { return f.align }

// Device tells whether it is a block device, whose length is not ours to change.
func (f *File) Device() bool { return f.device }

// Size gives the file's or device's length in bytes.
func (f *File) Size() (int64, error) {
	if f.device {
		return f.f.Seek(0, io.SeekEnd)
	}
	st, err := f.f.Stat()
	if err != nil {
		return 0, err
	}
	return st.Size(), nil
}

// ReadAt reads as io.ReaderAt does.
func (f *File) ReadAt(p []byte, off int64) (int, error) {
	if f.direct && !f.aligned(p, off) {
		return f.readBounced(p, off)
	}
	return f.f.ReadAt(p, off)
}

// WriteAt writes as io.WriterAt does, and lengthens a regular file as needed.
func (f *File) WriteAt(p []byte, off int64) (int, error) {
	if !f.direct {
		return f.f.WriteAt(p, off)
	}
	if !f.aligned(p, off) {
		return f.writeBounced(p, off)
	}
	f.edges.RLock()
	defer f.edges.RUnlock()
	return f.f.WriteAt(p, off)
}

// Sync makes what was written durable. Once it failed it fails for good: see syncErr.
func (f *File) Sync() error {
	if f.readOnly {
		return nil
	}
	if err := f.syncErr.Load(); err != nil {
		return *err
	}
	for {
		err := unix.Fdatasync(int(f.f.Fd()))
		if err == nil {
			return nil
		}
		if errors.Is(err, unix.EINTR) {
			continue
		}
		var lasting error = &os.PathError{Op: "fdatasync", Path: f.path, Err: err}
		f.syncErr.CompareAndSwap(nil, &lasting)
		return lasting
	}
}

// Truncate sets a regular file's length in bytes.
func (f *File) Truncate(n int64) error { return f.f.Truncate(n) }

// Close closes the file and with that gives up its lock.
func (f *File) Close() error { return f.f.Close() }
