// Package acpi builds the ACPI tables of the virtual machine: RSDP, XSDT, FADT,
// MADT, DSDT, and what a caller adds to them (MCFG, say).
//
// The machine is a hardware-reduced one (ACPI 6.5, section 3.11.1 and 4.1): no
// SCI, no PM1 or GPE blocks, no PM timer, no FACS. Power-off goes through the
// sleep registers, reset through the reset register, and events (the power
// button) through a generic event device on a GSI of its own. Interrupt numbers
// are GSIs, identical to the IOAPIC's pins, so that no override is needed.
//
//	RSDP -> XSDT -> FADT -> DSDT
//	             -> MADT
//	             -> extra tables
//
// Package vm calls [Build] with the addresses of the devices it has made and
// writes the result into guest memory. This package knows no device, never reads
// guest memory, and never makes a start dearer than need be: the guest
// interprets every byte of AML, so objects that drivers do without (_STA of a
// present device, processor devices, _PRT) are not there.
package acpi

import (
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/gureum/gureum/guest/acpi/aml"
)

// Errors of Build.
var (
	// ErrTooBig says that the tables do not fit in Config.Base to Config.Limit.
	ErrTooBig = errors.New("ACPI tables do not fit in the memory kept for them")
	// ErrConfig says that a value of Config cannot be put in a table.
	ErrConfig = errors.New("invalid ACPI configuration")
)

// Config says what the tables describe. A device with port 0 is left out.
type Config struct {
	// Base is where the RSDP and the tables after it will lie, a GPA that is a
	// multiple of 16; Limit is the end of the memory kept for them. For the RSDP
	// to be found by kernels that scan for it, it is from 0xE0000 to 0xFFFFF.
	Base, Limit uint64

	// CPUs is the number of virtual CPUs, at least 1.
	CPUs int
	// APICIDs holds the APIC id of each CPU; nil means that they count from 0.
	APICIDs []uint32
	// LocalAPIC and IOAPIC are GPAs of the controllers' registers. The IOAPIC's
	// first pin is GSI 0, and its id is 0, as KVM's is.
	LocalAPIC, IOAPIC uint32

	// ResetPort is the 8-bit I/O port that resets the machine when ResetValue is
	// written to it.
	ResetPort  uint16
	ResetValue uint8
	// SleepControl and SleepStatus are the 8-bit I/O ports of the sleep
	// registers. The guest writes SleepTypeS5 to SleepControl to power off.
	SleepControl, SleepStatus uint16

	GED      GED
	Serial   []Serial
	RTC      RTC
	Keyboard Keyboard
	// PVPanic is the one I/O port of the panic device.
	PVPanic uint16

	// Devices are added to \_SB of the DSDT, see VirtioMMIO.
	Devices []aml.Term
	// Tables are added to the XSDT, see MCFG.
	Tables []Table
}

// Serial is a 16550A UART with eight ports from Port.
type Serial struct {
	Port uint16
	GSI  uint32
}

// RTC is the CMOS clock with its index and data port from Port. Century is the
// index of the CMOS register that holds the century, 0 if there is none.
type RTC struct {
	Port    uint16
	GSI     uint32
	Century uint8
}

// Keyboard is the i8042 controller with its two ports.
type Keyboard struct {
	Data, Command uint16
	GSI           uint32
}

// Sleep types (SLP_TYP) that the guest writes to the sleep control register,
// in bits 2 to 4, along with SleepEnable.
const (
	// SleepTypeS5 is soft off.
	SleepTypeS5 = 5
	// SleepEnable is SLP_EN.
	SleepEnable = 1 << 5
	// SleepTypeShift is the position of SLP_TYP.
	SleepTypeShift = 2
)

// Memory is where tables are written to; *memory.Memory is one.
type Memory interface {
	WriteAt(p []byte, gpa uint64) error
}

// Tables is the finished set, one piece of memory with the RSDP at its start.
type Tables struct {
	// RSDP is the GPA of the root pointer and of Image.
	RSDP uint64
	// Image holds the RSDP and all tables.
	Image []byte
	// Placed lists the tables in Image by address, the RSDP first ("RSD PTR ").
	Placed []Placed
}

// Placed is one table of a finished set. Data is a part of Tables.Image.
type Placed struct {
	Signature string
	Address   uint64
	Data      []byte
}

// Write puts the tables into guest memory.
func (t *Tables) Write(m Memory) error {
	if err := m.WriteAt(t.Image, t.RSDP); err != nil {
		return fmt.Errorf("write the ACPI tables: %w", err)
	}
	return nil
}

// Build makes the tables. Errors are ErrConfig, ErrTooBig, or aml.ErrInvalid
// when an added device is not expressible.
func Build(c Config) (*Tables, error) {
	if err := c.check(); err != nil {
		return nil, err
	}
	definitions, err := c.dsdt()
	if err != nil {
		return nil, fmt.Errorf("build the DSDT: %w", err)
	}
	im := image{base: c.Base, limit: c.Limit}
	im.reserve(rsdpSize)
	dsdt := im.add(Table{Signature: "DSDT", Revision: dsdtRevision, Body: definitions})
	addrs := []uint64{
		im.add(c.fadt(dsdt)),
		im.add(c.madt()),
	}
	for _, t := range c.Tables {
		addrs = append(addrs, im.add(t))
	}
	xsdt := im.add(xsdtTable(addrs))
	if im.err != nil {
		return nil, im.err
	}
	putRSDP(im.buf, xsdt)
	return im.finish(), nil
}

func (c *Config) check() error {
	const max32 = 1 << 32 // a FADT and a MADT hold 32-bit addresses
	switch {
	case c.Base%tableAlign != 0 || c.Base == 0 || c.Base >= c.Limit || c.Limit > max32:
		return fmt.Errorf("%w: tables from %#x to %#x: want a multiple of %d, under 4 GiB",
			ErrConfig, c.Base, c.Limit, tableAlign)
	case c.CPUs < 1:
		return fmt.Errorf("%w: %d CPUs", ErrConfig, c.CPUs)
	case c.APICIDs != nil && len(c.APICIDs) != c.CPUs:
		return fmt.Errorf("%w: %d APIC ids for %d CPUs", ErrConfig, len(c.APICIDs), c.CPUs)
	case uint64(c.CPUs) > (c.Limit-c.Base)/madtLocalAPICSize:
		// Refused before anything is allocated for them.
		return fmt.Errorf("%w: %d CPUs in %d bytes", ErrTooBig, c.CPUs, c.Limit-c.Base)
	}
	seen := make(map[uint32]struct{}, len(c.APICIDs))
	for _, id := range c.APICIDs {
		if _, twice := seen[id]; twice || id == apicBroadcast {
			return fmt.Errorf("%w: APIC id %d is used twice or reserved", ErrConfig, id)
		}
		seen[id] = struct{}{}
	}
	return nil
}

// image lays tables out one after the other.
type image struct {
	base, limit uint64
	buf         []byte
	placed      []Placed
	err         error
}

// reserve makes room for n bytes at the next aligned address and returns the
// offset, or -1 when there is no room.
func (im *image) reserve(n int) int {
	at := (len(im.buf) + tableAlign - 1) &^ (tableAlign - 1)
	if im.err != nil {
		return -1
	}
	if end := im.base + uint64(at) + uint64(n); end > im.limit {
		im.err = fmt.Errorf("%w: %#x to %#x is %d bytes short", ErrTooBig, im.base, im.limit, end-im.limit)
		return -1
	}
	im.buf = append(im.buf, make([]byte, at+n-len(im.buf))...)
	return at
}

// add appends a table with its header and returns its address.
func (im *image) add(t Table) uint64 {
	if len(t.Signature) != signatureSize {
		im.fail(fmt.Errorf("%w: table signature %q", ErrConfig, t.Signature))
		return 0
	}
	at := im.reserve(headerSize + len(t.Body))
	if at < 0 {
		return 0
	}
	b := im.buf[at:]
	putHeader(b, t)
	copy(b[headerSize:], t.Body)
	b[headerChecksum] = checksum(b)
	im.placed = append(im.placed, Placed{Signature: t.Signature, Address: im.base + uint64(at)})
	return im.base + uint64(at)
}

func (im *image) fail(err error) {
	if im.err == nil {
		im.err = err
	}
}

// finish slices the tables out of the image, which does not move any more.
func (im *image) finish() *Tables {
	t := &Tables{RSDP: im.base, Image: im.buf}
	t.Placed = append(t.Placed, Placed{
		Signature: rsdpSignature, Address: im.base, Data: im.buf[:rsdpSize:rsdpSize],
	})
	for _, p := range im.placed {
		off := p.Address - im.base
		end := off + uint64(binary.LittleEndian.Uint32(im.buf[off+headerLength:]))
		p.Data = im.buf[off:end:end]
		t.Placed = append(t.Placed, p)
	}
	return t
}
