// Package raw is a disk whose bytes are those of a file or block device, one to one.
//
// guest/disk opens it. It never looks at what the bytes mean.
package raw

import (
	"fmt"
	"io"
	"os"
	"sync"
	"sync/atomic"

	"github.com/gureum/gureum/guest/disk/internal/host"
)

// Disk is an open raw image. Its methods may be called from several goroutines, but none
// after Close has begun.
type Disk struct {
	file *host.File
	size atomic.Int64
	grow sync.Mutex // one Resize at a time
}

// New makes a Disk of an open file, which it owns from then on, also if it fails.
func New(file *host.File) (*Disk, error) {
	size, err := file.Size()
	if err == nil && !file.ReadOnly() && size%int64(file.Alignment()) != 0 {
		err = fmt.Errorf("open %s: its size of %d bytes is no multiple of the %d that O_DIRECT wants here: resize it, or use cache mode writeback",
			file.Path(), size, file.Alignment())
	}
	if err != nil {
		_ = file.Close()
		return nil, err
	}
	d := &Disk{file: file}
	d.size.Store(size)
	return d, nil
}

// File gives the file itself, for engines that work on the descriptor (io_uring). Offsets
// in it are offsets on the disk; whoever uses it keeps within Size and Alignment.
func (d *Disk) File() *os.File { return d.file.OS() }

// Alignment gives what offsets, lengths and addresses of requests on File must be
// multiples of, in bytes: 1 but with O_DIRECT. ReadAt and WriteAt take any.
func (d *Disk) Alignment() int { return d.file.Alignment() }

// Size gives the disk's size in bytes.
func (d *Disk) Size() int64 { return d.size.Load() }

// ReadOnly tells whether writes are refused.
func (d *Disk) ReadOnly() bool { return d.file.ReadOnly() }

// ReadAt fills p from off, all of it or an error.
func (d *Disk) ReadAt(p []byte, off int64) (int, error) {
	if err := host.CheckRange(off, int64(len(p)), d.Size()); err != nil {
		return 0, err
	}
	n, err := d.file.ReadAt(p, off)
	if err == io.EOF { //nolint:errorlint // io.ReaderAt gives it bare
		// Somebody cut the file short under us. That is an error of the medium.
		err = io.ErrUnexpectedEOF
	}
	return n, err
}

// WriteAt writes p at off, all of it or an error.
func (d *Disk) WriteAt(p []byte, off int64) (int, error) {
	if err := d.writable(off, int64(len(p))); err != nil {
		return 0, err
	}
	return d.file.WriteAt(p, off)
}

func (d *Disk) writable(off, n int64) error {
	if d.ReadOnly() {
		return host.ErrReadOnly
	}
	return host.CheckRange(off, n, d.Size())
}

// Flush makes all completed writes durable (fdatasync).
func (d *Disk) Flush() error { return d.file.Sync() }

// Discard gives n bytes from off back to the host. What they read as after is not
// promised; a host that cannot punch holes leaves them as they are.
func (d *Disk) Discard(off, n int64) error {
	if err := d.writable(off, n); err != nil {
		return err
	}
	_, err := d.file.Punch(off, n)
	return err
}

// WriteZeroes makes n bytes from off zeroes, and gives their space back if unmap is set.
func (d *Disk) WriteZeroes(off, n int64, unmap bool) error {
	if err := d.writable(off, n); err != nil {
		return err
	}
	return d.file.Zero(off, n, unmap)
}

// Resize grows the disk to size bytes, as a hole. A block device is not ours to grow: there
// it takes over a size that the device has already got.
func (d *Disk) Resize(size int64) error {
	d.grow.Lock()
	defer d.grow.Unlock()
	switch old := d.Size(); {
	case d.ReadOnly():
		return host.ErrReadOnly
	case size < old:
		return fmt.Errorf("resize %s from %d to %d bytes: %w", d.file.Path(), old, size, host.ErrShrink)
	case size%int64(d.Alignment()) != 0:
		return fmt.Errorf("resize %s to %d bytes: O_DIRECT wants a multiple of %d", d.file.Path(), size, d.Alignment())
	}
	if !d.file.Device() {
		if err := d.file.Truncate(size); err != nil {
			return err
		}
		d.size.Store(size)
		return nil
	}
	have, err := d.file.Size()
	if err != nil {
		return err
	}
	if have < size {
		return fmt.Errorf("resize %s to %d bytes: the device has %d: grow it first: %w", d.file.Path(), size, have, host.ErrRange)
	}
	d.size.Store(size)
	return nil
}

// Close closes the file, which gives up its lock. It flushes nothing: see Flush.
func (d *Disk) Close() error { return d.file.Close() }
