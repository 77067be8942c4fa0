package blk

import (
	"errors"
	"fmt"
	"io"
	"os"
	"sync/atomic"

	"golang.org/x/sys/unix"

	"github.com/gureum/gureum/virtio/blk/uring"
)

// backend is the disk and what is known of its file.
type backend struct {
	disk     Disk
	file     *os.File // nil if the disk is not a plain file
	fd       int      // its descriptor, or -1
	readOnly bool
	align    int  // of offsets, lengths and addresses for the descriptor; 1 unless O_DIRECT
	nowait   bool // the file can be read as far as it is in the page cache
	size     atomic.Int64
}

func (b *backend) open(disk Disk) error {
	b.disk, b.fd, b.readOnly, b.align = disk, -1, disk.ReadOnly(), max(disk.Alignment(), 1)
	size := disk.Size()
	if size < 0 {
		return fmt.Errorf("disk of %d bytes", size)
	}
	b.size.Store(size)
	f, ok := disk.(filer)
	if !ok || f.File() == nil {
		return nil
	}
	b.file = f.File()
	b.fd = int(b.file.Fd())
	var x executor
	b.nowait = b.align == 1 && x.probeNowait(b.fd)
	return nil
}

// direct tells that the disk passes the host's page cache.
func (b *backend) direct() bool { return b.align > 1 }

// suits tells whether the descriptor can take a vector of that many bytes.
func (b *backend) suits(vec []unix.Iovec, size int64) bool {
	return b.fd >= 0 && (b.align == 1 || size%int64(b.align) == 0 && aligned(vec, b.align))
}

// now is the size that the disk has by now, which may have grown under us.
func (b *backend) now() (int64, error) {
	if b.file == nil {
		return b.disk.Size(), nil
	}
	// Nobody uses the file's own offset.
	return b.file.Seek(0, io.SeekEnd)
}

// chooseEngine decides on io_uring.
func (d *Device) chooseEngine() error {
	if d.engine == EngineWorkers {
		return nil
	}
	err := errors.New("the disk is not a plain file")
	if d.fd >= 0 {
		err = uring.Available()
	}
	switch {
	case err == nil:
		d.useRing = true
		return nil
	case d.engine == EngineIOURing:
		return fmt.Errorf("io_uring: %w", err)
	}
	if d.fd >= 0 {
		d.log.Debug("no io_uring: disk requests go through worker threads", "disk", d.name, "err", err)
	}
	return nil
}

// grow makes the disk as large as what the guest sees of it, when a write goes to
// the last block of a disk that ends within it.
func (d *Device) grow(end int64) error {
	if end <= d.size.Load() {
		return nil
	}
	return d.Resize(int64(d.Capacity()))
}
