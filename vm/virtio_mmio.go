package vm

import (
	"fmt"
	"slices"
	"strings"

	"github.com/gureum/gureum/devices"
	"github.com/gureum/gureum/devices/pci"
	"github.com/gureum/gureum/guest/acpi"
	"github.com/gureum/gureum/guest/boot"
	"github.com/gureum/gureum/guest/memory"
	"github.com/gureum/gureum/virtio"
	"github.com/gureum/gureum/virtio/mmio"
)

// mmioGSIs are the interrupts that devices on MMIO may have, one each: first the
// I/O APIC's pins that no PC device ever used, then those that none here uses.
var mmioGSIs = [...]uint32{16, 17, 18, 19, 20, 21, 22, 23, 5, 10, 11, 12, 14, 15, 13}

// mmioLayout is where devices on MMIO are.
type mmioLayout struct {
	slots []mmioSlot
	// byCmdline tells the kernel on its command line, as it does not read ACPI.
	byCmdline bool
}

type mmioSlot struct {
	pages uint64 // GPA
	gsi   uint32
}

// base is where the registers begin.
func (s mmioSlot) base() uint64 { return s.pages + mmio.Offset }

// mmioFirstSlot is the first of the KVM memory slots for registers.
const mmioFirstSlot = 256

func newMMIOLayout(devices int, c *Config) (*mmioLayout, error) {
	if devices > len(mmioGSIs) {
		return nil, inputErrorf("%d virtio devices: the MMIO transport has interrupts for %d: use --transport pci", devices, len(mmioGSIs))
	}
	l := &mmioLayout{byCmdline: ignoresACPI(c.Append)}
	for i := range devices {
		l.slots = append(l.slots, mmioSlot{pages: memory.VirtioMMIO + uint64(i)*mmio.Stride, gsi: mmioGSIs[i]})
	}
	return l, nil
}

// ignoresACPI tells whether the user switched the kernel's ACPI off. A device must
// not be announced in both ways: Linux would try to claim its registers twice.
func ignoresACPI(cmdline string) bool {
	words := strings.Fields(cmdline)
	return slices.Contains(words, "acpi=off") || slices.Contains(words, "acpi=ht")
}

func (l *mmioLayout) describe(c *acpi.Config) {
	if l.byCmdline {
		return
	}
	for i, s := range l.slots {
		c.Devices = append(c.Devices, acpi.VirtioMMIO(i, uint32(s.base()), mmio.Size, s.gsi))
	}
}

// cmdline has the form of Documentation/admin-guide/kernel-parameters.txt,
// "virtio_mmio.device=": size, address, interrupt, id.
func (l *mmioLayout) cmdline() []string {
	if !l.byCmdline {
		return nil
	}
	var words []string
	for i, s := range l.slots {
		words = append(words, fmt.Sprintf("virtio_mmio.device=%d@%#x:%d:%d", mmio.Size, s.base(), s.gsi, i))
	}
	return words
}

func (l *mmioLayout) reserved() []boot.Range { return nil }

func (l *mmioLayout) attach(m *Machine, list []virtio.Device) ([]carrier, error) {
	var made []carrier
	if err := m.platform.pio.Register(pci.PortsBase, pci.PortsSize, devices.NewAbsent("PCI")); err != nil {
		return nil, err
	}
	for i, d := range list {
		s := l.slots[i]
		t, err := mmio.New(mmio.Config{
			Device: d, Memory: m.memory, VM: m.kvm, Pages: s.pages, Slot: uint32(mmioFirstSlot + i), GSI: s.gsi,
		})
		if err != nil {
			return made, err
		}
		made = append(made, t)
		if err := m.platform.mmio.Register(s.base(), mmio.Size, t); err != nil {
			return made, err
		}
	}
	return made, nil
}
