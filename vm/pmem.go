package vm

import (
	"errors"
	"fmt"

	"github.com/gureum/gureum/guest/disk"
	"github.com/gureum/gureum/guest/memory"
	"github.com/gureum/gureum/virtio"
	"github.com/gureum/gureum/virtio/pmem"
)

// PMEM is a file that the guest has in its address space (/dev/pmem0, ...), without
// a copy in its own memory: machines with the same file share the host's pages of it.
type PMEM struct {
	// Path is a plain file, locked while the machine lives. It must not be cut
	// short meanwhile: a guest that touches what is gone ends.
	Path string
	// ReadOnly keeps the guest from writing, and lets several machines have it.
	ReadOnly bool
}

const (
	// maxPMEM bounds the devices of a machine.
	maxPMEM = 8
	// firstPMEMSlot is the KVM memory slot of the first device. RAM has those before.
	firstPMEMSlot = 8
	// pmemAlign is what their places in the guest are multiples of: KVM and the
	// guest can then map them by the largest pages.
	pmemAlign = 1 << 30
)

func checkPMEM(c *Config) error {
	if len(c.PMEM) > maxPMEM {
		return inputErrorf("%d persistent memory devices: a machine has at most %d", len(c.PMEM), maxPMEM)
	}
	for i := range c.PMEM {
		path := c.PMEM[i].Path
		if path == "" {
			return inputErrorf("pmem: no path")
		}
		if err := checkFile("pmem", path); err != nil {
			return err
		}
	}
	return nil
}

// newPMEM maps the files, one behind the other above the guest's RAM.
func (m *Machine) newPMEM() ([]virtio.Device, error) {
	var devices []virtio.Device
	next := alignUp(ramEnd(m.memory), pmemAlign)
	for i := range m.config.PMEM {
		c := &m.config.PMEM[i]
		d, size, err := openPMEM(c, next, firstPMEMSlot+uint32(i))
		if err != nil {
			return devices, inputErrorf("pmem %s: %w", c.Path, err)
		}
		devices = append(devices, d)
		next = alignUp(next+size, pmemAlign)
	}
	return devices, nil
}

// openPMEM gives a device and how much address space it takes.
func openPMEM(c *PMEM, gpa uint64, slot uint32) (*pmem.Device, uint64, error) {
	image, err := disk.Open(c.Path, disk.Options{Format: disk.Raw, ReadOnly: c.ReadOnly})
	if err != nil {
		return nil, 0, err
	}
	file, ok := image.(disk.Filer)
	if !ok {
		return nil, 0, errors.Join(fmt.Errorf("it is no raw image"), image.Close())
	}
	size := uint64(image.Size())
	d, err := pmem.New(pmem.Config{
		File: file.File(), Size: size, ReadOnly: c.ReadOnly, GPA: gpa, Slot: slot,
		Sync: image.Flush, Release: image.Close,
	})
	if err != nil {
		return nil, 0, errors.Join(err, image.Close())
	}
	return d, pmem.Padded(size), nil
}

// ramEnd is the first address behind RAM and the MMIO hole.
func ramEnd(m *memory.Memory) uint64 {
	end := uint64(memory.HoleEnd)
	for _, r := range m.Regions() {
		end = max(end, r.GPA+r.Size)
	}
	return end
}

func alignUp(n, align uint64) uint64 { return (n + align - 1) &^ (align - 1) }
