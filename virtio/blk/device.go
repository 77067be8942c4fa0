package blk

import (
	"errors"
	"fmt"
	"log/slog"
	"math/bits"
	"os"
	"sync"
	"sync/atomic"

	"github.com/gureum/gureum/virtio"
	"github.com/gureum/gureum/virtio/ratelimit"
)

// Disk is what the device reads and writes; package guest/disk has some. Its
// methods may be called from several goroutines, and offsets and lengths are
// bytes; what they return is as io.ReaderAt and io.WriterAt say. Alignment is what
// requests do best to keep to, 1 if all are alike.
//
// A disk that also has a method File() *os.File is a plain file or block device
// whose bytes are the disk's: it is worked on by its descriptor.
type Disk interface {
	ReadAt(p []byte, off int64) (int, error)
	WriteAt(p []byte, off int64) (int, error)
	Flush() error
	Discard(off, n int64) error
	WriteZeroes(off, n int64, unmap bool) error
	Size() int64
	Alignment() int
	Resize(size int64) error
	ReadOnly() bool
	Close() error
}

// Engine says how requests are carried out that cannot be answered at once.
type Engine int

// The engines. Results are the same with each.
const (
	EngineAuto    Engine = iota // io_uring if disk and kernel can, else workers
	EngineIOURing               // io_uring, or New fails
	EngineWorkers               // worker threads
)

// Limits of a Config.
const (
	MaxQueues        = 64
	DefaultQueueSize = 256
	MaxQueueSize     = 1024
	MaxID            = 20 // bytes; section 5.2.6
	MaxBlockSize     = 4096
)

// Config says what device to make.
type Config struct {
	// Disk is the disk; the device closes it.
	Disk Disk
	// ID is the serial number that the guest sees: up to MaxID bytes of ASCII.
	ID string
	// Queues is the number of request queues; default 1.
	Queues int
	// QueueSize is the size of each, a power of two; default DefaultQueueSize.
	QueueSize uint16
	// BlockSize is the logical block size, a power of two from 512 to
	// MaxBlockSize; default: what the disk's file needs, mostly 512.
	BlockSize uint32
	// Engine carries requests out.
	Engine Engine
	// Limiter, if not nil, bounds bytes and requests of all queues together.
	Limiter *ratelimit.Limiter
	// Log gets what goes wrong on the host's side; nil discards it.
	Log *slog.Logger
}

// Device is a block device. It implements virtio.Device.
type Device struct {
	backend
	id        [MaxID]byte
	name      string // for the log
	queues    int
	queueSize uint16
	blockSize uint32
	engine    Engine
	useRing   bool
	throttle  atomic.Pointer[throttle] // nil without a limit
	log       *slog.Logger

	writeback atomic.Bool // the driver's wish, section 5.2.5.2
	stats     stats

	resizeMu sync.Mutex // one change of the size at a time

	mu        sync.Mutex
	interrupt virtio.Interrupt // nil unless active
	seen      []string         // what was reported
	running   *running         // nil unless active
}

var (
	_ virtio.Device       = (*Device)(nil)
	_ virtio.RingResetter = (*Device)(nil)
)

// ErrShrink is returned by Resize for a smaller size.
var ErrShrink = errors.New("a disk cannot shrink while a machine uses it")

// New makes a device. On error the disk stays the caller's.
func New(cfg Config) (*Device, error) {
	if err := cfg.check(); err != nil {
		return nil, err
	}
	d := &Device{
		name: cfg.ID, queues: cfg.Queues, queueSize: cfg.QueueSize, blockSize: cfg.BlockSize,
		engine: cfg.Engine, log: cfg.Log,
	}
	copy(d.id[:], cfg.ID)
	if err := d.open(cfg.Disk); err != nil {
		return nil, err
	}
	switch {
	case d.blockSize == 0:
		d.blockSize = max(uint32(d.align), SectorSize)
	case int(d.blockSize) < d.align:
		return nil, fmt.Errorf("block size %d: direct I/O on this disk needs at least %d", d.blockSize, d.align)
	}
	if err := d.chooseEngine(); err != nil {
		return nil, err
	}
	d.setLimiter(cfg.Limiter)
	d.writeback.Store(true)
	return d, nil
}

func (cfg *Config) check() error {
	if cfg.Queues == 0 {
		cfg.Queues = 1
	}
	if cfg.QueueSize == 0 {
		cfg.QueueSize = DefaultQueueSize
	}
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	switch {
	case cfg.Disk == nil:
		return errors.New("no disk")
	case cfg.Queues < 1 || cfg.Queues > MaxQueues:
		return fmt.Errorf("%d queues: give 1 to %d", cfg.Queues, MaxQueues)
	case cfg.QueueSize < 4 || cfg.QueueSize > MaxQueueSize || bits.OnesCount16(cfg.QueueSize) != 1:
		return fmt.Errorf("queue size %d: give a power of two from 4 to %d", cfg.QueueSize, MaxQueueSize)
	case cfg.BlockSize != 0 && (cfg.BlockSize < SectorSize || cfg.BlockSize > MaxBlockSize || bits.OnesCount32(cfg.BlockSize) != 1):
		return fmt.Errorf("block size %d: give a power of two from %d to %d", cfg.BlockSize, SectorSize, MaxBlockSize)
	}
	return CheckID(cfg.ID)
}

// CheckID tells why a serial number does not do.
func CheckID(id string) error {
	if len(id) > MaxID {
		return fmt.Errorf("id %q: %d bytes: at most %d fit", id, len(id), MaxID)
	}
	for i := range len(id) {
		if id[i] <= ' ' || id[i] > '~' {
			return fmt.Errorf("id %q: use printable ASCII without spaces", id)
		}
	}
	return nil
}

// Type implements virtio.Device.
func (d *Device) Type() uint32 { return virtio.TypeBlock }

// Features implements virtio.Device.
func (d *Device) Features() uint64 {
	f := uint64(1<<featSegMax | 1<<featBlockSize | 1<<featTopology | 1<<featFlush)
	if d.queues > 1 {
		f |= 1 << featMultiQueue
	}
	if d.readOnly {
		return f | 1<<featReadOnly
	}
	return f | 1<<featConfigWCE | 1<<featDiscard | 1<<featWriteZeroes
}

// QueueSizes implements virtio.Device.
func (d *Device) QueueSizes() []uint16 {
	sizes := make([]uint16, d.queues)
	for i := range sizes {
		sizes[i] = d.queueSize
	}
	return sizes
}

// Capacity is the size that the guest sees, in bytes: the disk's, rounded up to
// whole blocks. What lies behind the disk's end reads as zero, and a write to it
// makes the disk as large as that.
func (d *Device) Capacity() uint64 {
	block := uint64(d.blockSize)
	return (uint64(d.size.Load()) + block - 1) / block * block
}

// Resize makes the disk larger while the guest runs, and tells the guest. With
// the present size or 0 it takes over the size that the disk has by now.
func (d *Device) Resize(size int64) error {
	d.resizeMu.Lock()
	defer d.resizeMu.Unlock()
	old := d.size.Load()
	if size == 0 {
		var err error
		if size, err = d.now(); err != nil {
			return fmt.Errorf("size of disk %s: %w", d.name, err)
		}
	}
	switch {
	case size < old:
		return fmt.Errorf("%w: it has %d bytes, %d are wanted", ErrShrink, old, size)
	case size > d.disk.Size():
		if err := d.disk.Resize(size); err != nil {
			return fmt.Errorf("resize disk %s to %d bytes: %w", d.name, size, err)
		}
	}
	before := d.Capacity()
	d.size.Store(size)
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.interrupt != nil && d.Capacity() != before {
		d.interrupt.Config()
	}
	return nil
}

// UsesRing tells whether requests go through io_uring.
func (d *Device) UsesRing() bool { return d.useRing }

// Close implements virtio.Device.
func (d *Device) Close() error {
	if err := d.disk.Close(); err != nil {
		return fmt.Errorf("close disk %s: %w", d.name, err)
	}
	return nil
}

// maxSeen bounds what report remembers.
const maxSeen = 16

// report logs an error of the disk, each kind of error once.
func (d *Device) report(op operation, offset int64, err error) {
	d.stats.errors.Add(1)
	reason := op.String() + ": " + rootCause(err).Error()
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, s := range d.seen {
		if s == reason {
			return
		}
	}
	if len(d.seen) == maxSeen {
		return
	}
	d.seen = append(d.seen, reason)
	d.log.Warn("disk request failed; the guest sees an I/O error (further ones like it are not logged)",
		"disk", d.name, "op", op.String(), "offset", offset, "err", err)
}

// rootCause is the innermost error: the errno, without offsets that differ each
// time.
func rootCause(err error) error {
	for {
		inner := errors.Unwrap(err)
		if inner == nil {
			return err
		}
		err = inner
	}
}

// filer is a Disk that is a plain file.
type filer interface{ File() *os.File }
