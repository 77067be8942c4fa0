// Package mptable builds the tables of Intel's MultiProcessor Specification 1.4,
// by which kernels without ACPI find the CPUs and the IOAPIC.
//
// There is one ISA bus, and its interrupt n is pin n of the IOAPIC, as KVM routes
// GSIs when nothing else was said; interrupts 16 to 23, which no real ISA bus
// has, are the pins for virtio-mmio devices. Local interrupts are wired as on
// any PC: ExtINT (the PIC) to LINT0, NMI to LINT1.
//
// Package vm calls [Build], writes the result into guest memory, and has package
// boot reserve it in the memory map. This package never reads guest memory.
package mptable

import (
	"encoding/binary"
	"errors"
	"fmt"
)

// MaxCPUs is the number of CPUs that a table can hold: ids are 8 bits wide, 255
// means all of them, and the IOAPIC needs one of its own. Kernels that run on
// more CPUs use ACPI.
const MaxCPUs = 254

var (
	// ErrTooManyCPUs says that the machine has more CPUs, or higher APIC ids, than
	// the specification knows.
	ErrTooManyCPUs = errors.New("an MP table holds at most 254 CPUs")
	// ErrConfig says that Config makes no sense.
	ErrConfig = errors.New("invalid MP table configuration")
)

// Config says what the tables describe.
type Config struct {
	// EBDA is the GPA of the floating pointer: the first 1 KiB of the extended
	// BIOS data area, or the last of base memory, where kernels look for it. The
	// table lies behind it when it ends before EBDAEnd, and in front of it
	// otherwise.
	EBDA, EBDAEnd uint64

	// CPUs is the number of virtual CPUs, 1 to MaxCPUs; the first boots.
	CPUs int
	// APICIDs holds the APIC id of each CPU; nil means that they count from 0.
	APICIDs []uint32
	// LocalAPIC and IOAPIC are GPAs of the controllers' registers.
	LocalAPIC, IOAPIC uint32
	// Signature and Features are EAX and EDX of CPUID leaf 1.
	Signature, Features uint32
}

// Memory is where tables are written to; *memory.Memory is one.
type Memory interface {
	WriteAt(p []byte, gpa uint64) error
}

// Tables is the finished floating pointer and table.
type Tables struct {
	// Pointer is the GPA of the floating pointer.
	Pointer uint64
	// Start and End bound what was used, from Start up to but not including End.
	// None of it is free RAM.
	Start, End uint64
	// Image is what lies there.
	Image []byte
}

// Write puts the tables into guest memory.
func (t *Tables) Write(m Memory) error {
	if err := m.WriteAt(t.Image, t.Start); err != nil {
		return fmt.Errorf("write the MP table: %w", err)
	}
	return nil
}

// Sizes, section 4 and table 4-2 of the specification.
const (
	pointerSize    = 16
	headerSize     = 44
	processorSize  = 20
	entrySize      = 8 // bus, IOAPIC, interrupt
	align          = 16
	headerLength   = 4
	headerChecksum = 7
	headerCount    = 34
	pointerSum     = 10
)

// Entry types, in which order entries are sorted.
const (
	entryProcessor = iota
	entryBus
	entryIOAPIC
	entryInterrupt
	entryLocalInterrupt
)

const (
	specRevision = 4 // 1.4

	localAPICVersion = 0x14 // integrated, as KVM's
	ioapicVersion    = 0x11
	ioapicPins       = 24

	flagEnabled = 1 << 0
	flagBoot    = 1 << 1

	isaBus     = 0
	cascadeIRQ = 2 // the second PIC's, never a device's

	typeINT    = 0
	typeNMI    = 1
	typeExtINT = 3

	allAPICs  = 0xFF
	maxAPICID = 0xFE
)

// Build makes the floating pointer and the table. Errors are ErrTooManyCPUs, with
// which a machine does without, and ErrConfig.
func Build(c Config) (*Tables, error) {
	ids, err := c.ids()
	if err != nil {
		return nil, err
	}
	table := c.table(ids)
	start, at := c.EBDA, c.EBDA+pointerSize
	if at+uint64(len(table)) > c.EBDAEnd {
		if uint64(len(table))+align > c.EBDA {
			return nil, fmt.Errorf("%w: no room for %d bytes below %#x", ErrConfig, len(table), c.EBDA)
		}
		at = (c.EBDA - uint64(len(table))) &^ (align - 1)
		start = at
	}
	end := max(c.EBDA+pointerSize, at+uint64(len(table)))
	t := &Tables{Pointer: c.EBDA, Start: start, End: end, Image: make([]byte, end-start)}
	copy(t.Image[at-start:], table)
	copy(t.Image[c.EBDA-start:], pointer(uint32(at)))
	return t, nil
}

// ids checks Config and returns the APIC ids in 8 bits.
func (c *Config) ids() ([]byte, error) {
	const megabyte = 1 << 20 // what a real-mode reader reaches
	switch {
	case c.EBDA%align != 0 || c.EBDA == 0 || c.EBDAEnd > megabyte || c.EBDA+pointerSize > c.EBDAEnd:
		return nil, fmt.Errorf("%w: floating pointer at %#x to %#x", ErrConfig, c.EBDA, c.EBDAEnd)
	case c.CPUs < 1 || c.APICIDs != nil && len(c.APICIDs) != c.CPUs:
		return nil, fmt.Errorf("%w: %d CPUs, %d APIC ids", ErrConfig, c.CPUs, len(c.APICIDs))
	case c.CPUs > MaxCPUs:
		return nil, fmt.Errorf("%w: the machine has %d", ErrTooManyCPUs, c.CPUs)
	}
	ids := make([]byte, c.CPUs)
	var used [maxAPICID]bool
	for i := range ids {
		id := uint32(i)
		if c.APICIDs != nil {
			id = c.APICIDs[i]
		}
		switch {
		case id >= maxAPICID: // one has to remain for the IOAPIC
			return nil, fmt.Errorf("%w: CPU %d has APIC id %d", ErrTooManyCPUs, i, id)
		case used[id]:
			return nil, fmt.Errorf("%w: APIC id %d is used twice", ErrConfig, id)
		}
		used[id] = true
		ids[i] = byte(id)
	}
	return ids, nil
}

// pointer is the floating pointer structure, section 4.1.
func pointer(table uint32) []byte {
	b := make([]byte, pointerSize)
	copy(b, "_MP_")
	binary.LittleEndian.PutUint32(b[4:], table)
	b[8] = pointerSize / 16
	b[9] = specRevision
	b[pointerSum] = checksum(b)
	return b
}

// table is the configuration table, sections 4.2 and 4.3.
func (c *Config) table(ids []byte) []byte {
	b := make([]byte, headerSize, headerSize+len(ids)*processorSize+(ioapicPins+4)*entrySize)
	copy(b, "PCMP")
	b[6] = specRevision
	copy(b[8:], "GUREUM  ")
	copy(b[16:], "GUREUMVM    ")
	binary.LittleEndian.PutUint32(b[36:], c.LocalAPIC)

	ioapic := byte(0)
	for i, id := range ids {
		flags := byte(flagEnabled)
		if i == 0 {
			flags |= flagBoot
		}
		b = append(b, entryProcessor, id, localAPICVersion, flags)
		b = binary.LittleEndian.AppendUint32(b, c.Signature)
		b = binary.LittleEndian.AppendUint32(b, c.Features)
		b = append(b, 0, 0, 0, 0, 0, 0, 0, 0)
		ioapic = max(ioapic, id+1)
	}
	b = append(b, entryBus, isaBus, 'I', 'S', 'A', ' ', ' ', ' ')
	b = append(b, entryIOAPIC, ioapic, ioapicVersion, flagEnabled)
	b = binary.LittleEndian.AppendUint32(b, c.IOAPIC)
	count := len(ids) + 2
	for irq := range byte(ioapicPins) {
		if irq != cascadeIRQ {
			b = append(b, interrupt(entryInterrupt, typeINT, irq, ioapic, irq)...)
			count++
		}
	}
	b = append(b, interrupt(entryLocalInterrupt, typeExtINT, 0, allAPICs, 0)...)
	b = append(b, interrupt(entryLocalInterrupt, typeNMI, 0, allAPICs, 1)...)
	count += 2

	binary.LittleEndian.PutUint16(b[headerLength:], uint16(len(b)))
	binary.LittleEndian.PutUint16(b[headerCount:], uint16(count))
	b[headerChecksum] = checksum(b)
	return b
}

// interrupt is an entry that wires an ISA interrupt to an input of an APIC;
// polarity and trigger are the bus's own (active high, edge).
func interrupt(entry, kind, irq, apic, input byte) []byte {
	return []byte{entry, kind, 0, 0, isaBus, irq, apic, input}
}

// checksum returns the byte that makes the sum of all bytes zero.
func checksum(b []byte) byte {
	var sum byte
	for _, v := range b {
		sum += v
	}
	return -sum
}
