package kernel

import (
	"fmt"
	"io"

	"github.com/gureum/gureum/guest/memory"
)

// Loaded says where a kernel lies in guest memory and how it wants to be entered.
type Loaded struct {
	// Entry is the GPA of the Linux 64-bit entry.
	Entry uint64
	// PVHEntry is the GPA of the PVH entry, 0 if the kernel has none.
	PVHEntry uint64
	// HighestGPA is the first address behind all that the kernel uses before it
	// knows the memory map: its segments with .bss, or the room in which it
	// unpacks itself. An initrd lies behind it.
	HighestGPA uint64
	// InitrdMax is the highest address that a byte of an initrd may have.
	InitrdMax uint64
	// SetupHeader is the image's setup header for the zero page: what lies at
	// offset 0x1f1 of a bzImage, to be put at the same offset. nil for an ELF file.
	SetupHeader []byte
}

// elfInitrdMax is the limit for kernels without a setup header: boot_params and
// hvm_start_info can say more, Linux reads 32 bits of it on its way.
const elfInitrdMax = 1<<32 - 1

// Load puts the kernel into m, whose RAM must be fresh (zero): .bss is left
// untouched. After an error m holds parts of the kernel and is of no use.
func (img *Image) Load(m *memory.Memory) (Loaded, error) {
	if img.elf == nil {
		return img.loadBzImage(m)
	}
	if err := checkRoom(m, img.elf.segments); err != nil {
		return Loaded{}, fmt.Errorf("kernel %s: %w", img.name, err)
	}
	for _, s := range img.elf.segments {
		if err := copyIn(m, img.elfData, s.gpa, s.offset, s.fileSize); err != nil {
			return Loaded{}, fmt.Errorf("kernel %s: load %d bytes at %#x: %w", img.name, s.fileSize, s.gpa, err)
		}
	}
	last := img.elf.segments[len(img.elf.segments)-1]
	l := Loaded{
		Entry: img.elf.entry, PVHEntry: img.elf.pvhEntry,
		HighestGPA: last.end(), InitrdMax: elfInitrdMax,
	}
	if h := img.header; h != nil {
		l.SetupHeader = h.Raw()
		l.InitrdMax = h.InitrdMax()
	}
	return l, nil
}

// checkRoom wants each segment in RAM above the boot structures.
func checkRoom(m *memory.Memory, segments []segment) error {
	for _, s := range segments {
		if s.gpa < memory.KernelStart {
			return fmt.Errorf("loads at %#x, below 1 MiB where boot structures lie", s.gpa)
		}
		if m.Contains(s.gpa, s.memSize) {
			continue
		}
		if s.gpa < memory.HoleEnd && s.end() > memory.HoleStart {
			return fmt.Errorf("loads at %#x to %#x, in the MMIO hole from 3 to 4 GiB", s.gpa, s.end())
		}
		return needs(m, s.end())
	}
	return nil
}

// needs is the error for RAM that ends before end.
func needs(m *memory.Memory, end uint64) error {
	if end > memory.HoleEnd {
		end -= memory.HoleEnd - memory.HoleStart
	}
	mib := end >> 20
	if end&(1<<20-1) != 0 {
		mib++
	}
	return fmt.Errorf("needs at least %d MiB of guest memory, the machine has %d", mib, m.Size()>>20)
}

// copyIn reads n bytes at off of r straight into the RAM at gpa.
func copyIn(m *memory.Memory, r io.ReaderAt, gpa, off, n uint64) error {
	if n == 0 {
		return nil
	}
	p, err := m.Slice(gpa, n)
	if err != nil {
		return err
	}
	return readAt(r, p, off, off+n)
}
