package pmem

import (
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"sync"

	"github.com/gureum/gureum/kvm"
	"github.com/gureum/gureum/virtio"
	"github.com/gureum/gureum/virtio/queue"
)

// Align is what address and size of a device are multiples of, in bytes: Linux maps
// persistent memory in such pieces (its SUBSECTION_SIZE). The guest sees zeroes
// behind a file's end, which it can write but which are not kept.
const Align = 2 << 20

const queueSize = 64

// Config describes a device.
type Config struct {
	// File is what is mapped. It must keep its length while the device lives. The
	// device does not close it.
	File *os.File
	// Size is the file's length in bytes.
	Size uint64
	// ReadOnly keeps the guest from writing: its writes go nowhere.
	ReadOnly bool
	// GPA is where the guest has it, a multiple of Align in no RAM.
	GPA uint64
	// Slot is the KVM memory slot to use.
	Slot uint32
	// Sync brings what the guest wrote to stable storage; nil is File.Sync.
	Sync func() error
	// Release, when set, is called by Close.
	Release func() error
}

// Device is a persistent memory device. It implements virtio.Device.
type Device struct {
	cfg     Config
	mapping mapping
	queue   *queue.Queue
	work    sync.WaitGroup
}

// Padded is the size that a file takes in the guest's address space, in bytes.
func Padded(size uint64) uint64 { return (size + Align - 1) &^ (Align - 1) }

// New maps the file. On error nothing of c is released.
func New(c Config) (*Device, error) {
	switch {
	case c.Size == 0:
		return nil, errors.New("the file is empty")
	case c.Size > 1<<46 || c.GPA%Align != 0:
		return nil, fmt.Errorf("%d bytes at %#x: cannot be mapped", c.Size, c.GPA)
	}
	if c.Sync == nil {
		c.Sync = c.File.Sync
	}
	m, err := mapFile(c.File, c.Size, Padded(c.Size), c.ReadOnly)
	if err != nil {
		return nil, fmt.Errorf("map %s: %w", c.File.Name(), err)
	}
	return &Device{cfg: c, mapping: m}, nil
}

// AttachVM gives the mapping to KVM.
func (d *Device) AttachVM(vm *kvm.VM) error {
	var flags kvm.MemoryFlags
	if d.cfg.ReadOnly {
		flags = kvm.MemReadOnly
	}
	err := vm.SetMemoryRegion(kvm.MemoryRegion{
		Slot: d.cfg.Slot, Flags: flags, GPA: d.cfg.GPA, Size: Padded(d.cfg.Size), HostAddr: d.mapping.base(),
	})
	if err != nil {
		return fmt.Errorf("give %s at %#x to KVM: %w", d.cfg.File.Name(), d.cfg.GPA, err)
	}
	return nil
}

// Type implements virtio.Device.
func (d *Device) Type() uint32 { return virtio.TypePMEM }

// Features implements virtio.Device: the address is in the configuration space, so
// VIRTIO_PMEM_F_SHMEM_REGION is not offered.
func (d *Device) Features() uint64 { return 0 }

// QueueSizes implements virtio.Device: one queue, for flushes.
func (d *Device) QueueSizes() []uint16 { return []uint16{queueSize} }

// ReadConfig implements virtio.Device: start and size (section 5.19.4).
func (d *Device) ReadConfig(offset uint64, data []byte) {
	var c [16]byte
	binary.LittleEndian.PutUint64(c[0:], d.cfg.GPA)
	binary.LittleEndian.PutUint64(c[8:], Padded(d.cfg.Size))
	clear(data)
	if offset < uint64(len(c)) {
		copy(data, c[offset:])
	}
}

// WriteConfig implements virtio.Device: nothing can be written.
func (d *Device) WriteConfig(uint64, []byte) {}

// Activate implements virtio.Device.
func (d *Device) Activate(a virtio.Activation) error {
	if d.queue = a.Queues[0]; d.queue == nil {
		return nil
	}
	f := &flusher{queue: d.queue, sync: d.cfg.Sync}
	if d.cfg.ReadOnly {
		f.sync = func() error { return nil }
	}
	d.work.Go(f.serve)
	return nil
}

// Reset implements virtio.Device. It waits for a flush that is under way.
func (d *Device) Reset() {
	if d.queue != nil {
		d.queue.Stop()
	}
	d.work.Wait()
	d.queue = nil
}

// Close implements virtio.Device. The guest must not run any more.
func (d *Device) Close() error {
	err := d.mapping.unmap()
	if d.cfg.Release != nil {
		err = errors.Join(err, d.cfg.Release())
	}
	return err
}
