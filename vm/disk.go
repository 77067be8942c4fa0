package vm

import (
	"errors"
	"fmt"
	"log/slog"
	"os"

	"golang.org/x/sys/unix"

	"github.com/gureum/gureum/guest/disk"
	"github.com/gureum/gureum/virtio"
	"github.com/gureum/gureum/virtio/blk"
	"github.com/gureum/gureum/virtio/ratelimit"
)

// Disk is one disk of the guest.
type Disk struct {
	// Path is an image or a block device of the host.
	Path string
	// Format is the image's; "" goes by the name and refuses what contradicts it.
	Format disk.Format
	// ReadOnly opens it so that several machines can.
	ReadOnly bool
	// AllowBacking lets a qcow2 image have a backing file, in the image's folder or
	// below it, or in BackingDirs.
	AllowBacking bool
	BackingDirs  []string
	// Cache says where the guest's writes wait for its flush.
	Cache DiskCache
	// Engine carries the requests out.
	Engine blk.Engine
	// ID is the serial number that the guest sees, different for each disk; ""
	// makes it disk0, disk1 and so on.
	ID string
	// Queues is the number of request queues; 0 takes one a CPU, up to 4.
	Queues int
	// BlockSize is the logical block size in bytes; 0 takes the disk's own, which
	// is mostly 512.
	BlockSize uint32
	// Limit bounds bytes and requests, reads and writes together.
	Limit ratelimit.Config
}

// DiskCache says what the host caches of a disk.
type DiskCache string

// The cache modes. In both, what the guest has flushed is on stable storage.
const (
	CacheWriteback DiskCache = "writeback" // the host's page cache; the default
	CacheNone      DiskCache = "none"      // past it (O_DIRECT)
)

const (
	// maxDisks bounds the disks of a machine.
	maxDisks = 28
	// maxAutoQueues is the most queues that a disk has unless more are asked for:
	// each takes memory, and four keep any disk busy.
	maxAutoQueues = 4
)

// checkDisks fills in defaults.
func checkDisks(c *Config) error {
	if len(c.Disks) > maxDisks {
		return inputErrorf("%d disks: a machine has at most %d", len(c.Disks), maxDisks)
	}
	ids := map[string]int{}
	for i := range c.Disks {
		d := &c.Disks[i]
		if d.ID == "" {
			d.ID = fmt.Sprintf("disk%d", i)
		}
		if d.Queues == 0 {
			d.Queues = min(c.CPUs, maxAutoQueues)
		}
		if err := d.check(); err != nil {
			return inputErrorf("disk %s: %w", d.Path, err)
		}
		if other, twice := ids[d.ID]; twice {
			return inputErrorf("disks %s and %s have the same id %q: give each its own", c.Disks[other].Path, d.Path, d.ID)
		}
		ids[d.ID] = i
	}
	return nil
}

func (d *Disk) check() error {
	switch d.Cache {
	case "":
		d.Cache = CacheWriteback
	case CacheWriteback, CacheNone:
	default:
		return fmt.Errorf("cache %q: give writeback or none", d.Cache)
	}
	switch {
	case d.Path == "":
		return errors.New("no path")
	case d.Queues < 1 || d.Queues > blk.MaxQueues:
		return fmt.Errorf("%d queues: give 1 to %d", d.Queues, blk.MaxQueues)
	case d.Format != "" && d.Format != disk.Raw && d.Format != disk.Qcow2:
		return fmt.Errorf("format %q: give raw or qcow2", d.Format)
	case d.BlockSize != 0 && (d.BlockSize < blk.SectorSize || d.BlockSize > blk.MaxBlockSize || d.BlockSize&(d.BlockSize-1) != 0):
		return fmt.Errorf("block size %d: give a power of two from %d to %d", d.BlockSize, blk.SectorSize, blk.MaxBlockSize)
	}
	if err := checkDiskFile(d.Path); err != nil {
		return err
	}
	return errors.Join(blk.CheckID(d.ID), d.Limit.Validate())
}

// checkDiskFile finds out early that a path is no disk.
func checkDiskFile(path string) error {
	st, err := os.Stat(path)
	if err != nil {
		return errors.Unwrap(err)
	}
	if mode := st.Mode(); !mode.IsRegular() && mode.Type() != os.ModeDevice {
		return fmt.Errorf("it is a %s, not a file or block device", kindOf(mode))
	}
	return nil
}

// newDisks opens the disks and makes their devices.
func (m *Machine) newDisks() ([]virtio.Device, error) {
	var devices []virtio.Device
	for i := range m.config.Disks {
		d, err := m.newDisk(&m.config.Disks[i])
		if err != nil {
			return devices, err
		}
		devices = append(devices, d)
		m.disks = append(m.disks, d)
	}
	return devices, nil
}

func (m *Machine) newDisk(c *Disk) (*blk.Device, error) {
	image, err := disk.Open(c.Path, disk.Options{
		Format: c.Format, ReadOnly: c.ReadOnly, Direct: c.Cache == CacheNone,
		AllowBacking: c.AllowBacking, BackingDirs: c.BackingDirs,
	})
	if err != nil {
		return nil, &InputError{fmt.Errorf("disk: %w", err)}
	}
	d, err := blk.New(blk.Config{
		Disk: image, ID: c.ID, Queues: c.Queues, BlockSize: c.BlockSize, Engine: c.Engine,
		Limiter: ratelimit.New(c.Limit), Log: slog.With("name", m.config.Name, "path", c.Path),
	})
	if err == nil {
		return d, nil
	}
	err = errors.Join(fmt.Errorf("disk %s: %w", c.Path, err), image.Close())
	if errors.Is(err, unix.ENOSYS) || errors.Is(err, unix.EPERM) || errors.Is(err, unix.ENOMEM) {
		return nil, &HostError{err} // it has no io_uring
	}
	return nil, &InputError{err}
}

// DiskState is what a disk is and has done.
type DiskState struct {
	ID       string
	Path     string
	Capacity uint64 // in bytes, as the guest sees it
	Stats    blk.Stats
}

// Disks lists the machine's disks, in the order in which the guest finds them.
func (m *Machine) Disks() []DiskState {
	var list []DiskState
	for i, d := range m.disks {
		c := &m.config.Disks[i]
		list = append(list, DiskState{ID: c.ID, Path: c.Path, Capacity: d.Capacity(), Stats: d.Stats()})
	}
	return list
}

// ResizeDisk makes the disk with that ID larger and tells the guest. With size 0
// it takes over the size that the image or block device has got otherwise.
func (m *Machine) ResizeDisk(id string, size int64) error {
	for i, d := range m.disks {
		if m.config.Disks[i].ID == id {
			return d.Resize(size)
		}
	}
	return inputErrorf("disk %q: the machine has none of that id", id)
}

// LimitDisk changes the limit of disk n.
func (m *Machine) LimitDisk(n int, limit ratelimit.Config) error {
	if n < 0 || n >= len(m.disks) {
		return inputErrorf("disk %d: the machine has %d", n, len(m.disks))
	}
	if err := m.disks[n].SetLimit(limit); err != nil {
		return inputErrorf("disk %d: %w", n, err)
	}
	return nil
}
