// Package boot puts into guest memory what a kernel expects from its boot loader,
// and says how the boot CPU is to enter it.
//
// Two protocols are spoken: PVH (Xen's x86/HVM direct boot ABI: struct
// hvm_start_info, entry in 32-bit protected mode) and the Linux 64-bit boot
// protocol (struct boot_params, the "zero page", entry in long mode; kernel
// documentation arch/x86/boot.rst and zero-page.rst). Both carry a memory map,
// the command line, an initrd and the address of the ACPI root pointer.
//
// Package vm calls [Setup] once the kernel is loaded and before the first vCPU
// runs. This package never reads kernel images, never talks to KVM, and writes
// only where package memory's layout says and where the initrd goes.
package boot

import (
	"errors"
	"fmt"
	"strings"

	"github.com/gureum/gureum/guest/memory"
)

// Protocol is a way to start a kernel.
type Protocol int

// The protocols. Auto takes PVH if the kernel offers it, else Linux64.
const (
	Auto Protocol = iota
	PVH
	Linux64
)

func (p Protocol) String() string {
	switch p {
	case Auto:
		return "auto"
	case PVH:
		return "PVH"
	case Linux64:
		return "Linux 64-bit"
	}
	return fmt.Sprintf("protocol %d", int(p))
}

// KernelInfo is what a loaded kernel says of itself. Its fields are those of
// kernel.Loaded, so that one converts to the other.
type KernelInfo struct {
	// Entry is the GPA of the Linux 64-bit entry, 0 if there is none.
	Entry uint64
	// PVHEntry is the GPA of the PVH entry, 0 if there is none.
	PVHEntry uint64
	// HighestGPA is the first address behind all that the kernel uses before it
	// knows the memory map; an initrd lies behind it.
	HighestGPA uint64
	// InitrdMax is the highest address that a byte of an initrd may have; 0 stands
	// for that of boot protocols before 2.03, 0x37FFFFFF.
	InitrdMax uint64
	// SetupHeader is a bzImage's setup header, from offset 0x1F1 of the image on;
	// nil for a kernel without one.
	SetupHeader []byte
}

// Range is guest physical memory from Start up to but not including End.
type Range struct {
	Start, End uint64
}

// Params is what the user and the machine give to the kernel.
type Params struct {
	// Protocol to use; Auto lets the kernel decide.
	Protocol Protocol
	// Cmdline is the kernel command line, without a NUL.
	Cmdline string
	// Initrd is the pieces of the initial RAM disk in the order in which the
	// kernel unpacks them; a later one overwrites files of an earlier one.
	Initrd []Piece
	// RSDP is the GPA of the ACPI root pointer, 0 for a machine without ACPI.
	RSDP uint64
	// Reserved is memory that the guest may not use as RAM, beside what package
	// memory's layout reserves: an MP table below the EBDA, PCI configuration
	// space. Ranges may overlap.
	Reserved []Range
}

// Entry is the state in which the boot CPU starts.
type Entry struct {
	// Protocol is PVH or Linux64.
	Protocol Protocol
	// IP is the GPA of the first instruction.
	IP uint64
	// Arg is the GPA of the boot structure: start_info in RBX for PVH, the zero
	// page in RSI for Linux64.
	Arg uint64
	// PageTable is the GPA of the PML4 (CR3), an identity map of the first 4 GiB,
	// and GDT that of a descriptor table with GDTBytes bytes, a 64-bit code
	// segment at CodeSelector and a data segment at DataSelector. Both are 0 for
	// PVH, which starts without paging.
	PageTable, GDT uint64
}

// Errors that a caller tells apart, beside *InitrdError.
var (
	// ErrNoEntry says that the kernel does not offer the protocol that was asked for.
	ErrNoEntry = errors.New("the kernel has no such entry point")
	// ErrCmdline says that the kernel cannot take the command line.
	ErrCmdline = errors.New("kernel command line")
)

// Setup writes the boot structures and the initrd into m, where the kernel
// already lies, and returns how to enter it. After an error m holds parts of
// them and is of no use.
//
// Errors: ErrNoEntry, ErrCmdline, *InitrdError, *memory.AccessError when RAM is
// too small for the structures, or what reading an initrd gave.
func Setup(m *memory.Memory, k KernelInfo, p Params) (Entry, error) {
	protocol, err := choose(k, p.Protocol)
	if err != nil {
		return Entry{}, err
	}
	if err := checkCmdline(k, p.Cmdline); err != nil {
		return Entry{}, err
	}
	entries, err := memoryMap(m.Regions(), p.Reserved)
	if err != nil {
		return Entry{}, err
	}
	initrd, err := loadInitrd(m, k, p)
	if err != nil {
		return Entry{}, err
	}
	if err := m.WriteAt(append([]byte(p.Cmdline), 0), memory.CommandLine); err != nil {
		return Entry{}, fmt.Errorf("write the kernel command line: %w", err)
	}
	h := handover{kernel: k, rsdp: p.RSDP, cmdline: uint64(len(p.Cmdline)), initrd: initrd, memory: entries}
	if protocol == PVH {
		return h.pvh(m)
	}
	return h.linux64(m)
}

// handover is all that a boot structure holds.
type handover struct {
	kernel  KernelInfo
	rsdp    uint64
	cmdline uint64 // length without NUL
	initrd  Range  // empty if there is none
	memory  []mapEntry
}

func choose(k KernelInfo, p Protocol) (Protocol, error) {
	if p == Auto {
		p = Linux64
		if k.PVHEntry != 0 {
			p = PVH
		}
	}
	switch {
	case p == PVH && k.PVHEntry != 0, p == Linux64 && k.Entry != 0:
		return p, nil
	case p == PVH || p == Linux64:
		return 0, fmt.Errorf("boot with the %s protocol: %w", p, ErrNoEntry)
	}
	return 0, fmt.Errorf("boot with %s: want Auto, PVH or Linux64", p)
}

// checkCmdline holds the line against the limit that the kernel states.
func checkCmdline(k KernelInfo, line string) error {
	if limit := cmdlineLimit(k.SetupHeader); len(line) > limit {
		return fmt.Errorf("%w of %d bytes: this kernel takes at most %d", ErrCmdline, len(line), limit)
	}
	if i := strings.IndexByte(line, 0); i >= 0 {
		return fmt.Errorf("%w: NUL byte at position %d", ErrCmdline, i)
	}
	return nil
}
