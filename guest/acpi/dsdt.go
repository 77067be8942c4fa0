package acpi

import (
	"fmt"

	"github.com/gureum/gureum/guest/acpi/aml"
)

// dsdtRevision 2 makes AML integers 64 bits wide.
const dsdtRevision = 2

// dsdt is the AML of all devices.
func (c *Config) dsdt() ([]byte, error) {
	var devices []aml.Term
	if c.GED.Port != 0 {
		terms, err := c.GED.terms()
		if err != nil {
			return nil, err
		}
		devices = append(devices, terms...)
	}
	if len(c.Serial) > maxSerial {
		return nil, fmt.Errorf("%w: %d serial ports, more than %d", ErrConfig, len(c.Serial), maxSerial)
	}
	for i, s := range c.Serial {
		devices = append(devices, s.term(i+1))
	}
	if c.RTC.Port != 0 {
		devices = append(devices, c.RTC.term())
	}
	if c.Keyboard.Data != 0 {
		devices = append(devices, c.Keyboard.term())
	}
	if c.PVPanic != 0 {
		devices = append(devices, aml.Device("PEVT",
			aml.Name("_HID", aml.String("QEMU0001")),
			aml.Name("_CRS", aml.ResourceTemplate(aml.IO(c.PVPanic, 1))),
		))
	}
	devices = append(devices, c.Devices...)

	var terms []aml.Term
	if c.SleepControl != 0 {
		zero := aml.Integer(0)
		terms = append(terms, aml.Name("_S5", aml.Package(aml.Integer(SleepTypeS5), zero, zero, zero)))
	}
	if len(devices) > 0 {
		terms = append(terms, aml.Scope(`\_SB`, devices...))
	}
	return aml.Encode(terms...)
}

// maxSerial is what a PC has, and what the names COM1 to COM4 can say.
const maxSerial = 4

// term is the UART as a plug-and-play device; number counts from 1.
func (s Serial) term(number int) aml.Term {
	const ports = 8
	return aml.Device("COM"+string(rune('0'+number)),
		aml.Name("_HID", aml.EISAID("PNP0501")),
		aml.Name("_UID", aml.Integer(uint64(number))),
		aml.Name("_CRS", aml.ResourceTemplate(aml.IO(s.Port, ports), aml.IRQNoFlags(s.GSI))),
	)
}

func (r RTC) term() aml.Term {
	const ports = 2
	return aml.Device("RTC",
		aml.Name("_HID", aml.EISAID("PNP0B00")),
		aml.Name("_CRS", aml.ResourceTemplate(aml.IO(r.Port, ports), aml.IRQNoFlags(r.GSI))),
	)
}

// term has no mouse beside it (PNP0F13): Linux then leaves the controller's
// second channel alone, which saves it a probe.
func (k Keyboard) term() aml.Term {
	return aml.Device("KBD",
		aml.Name("_HID", aml.EISAID("PNP0303")),
		aml.Name("_CRS", aml.ResourceTemplate(
			aml.IO(k.Data, 1), aml.IO(k.Command, 1), aml.IRQNoFlags(k.GSI),
		)),
	)
}

// VirtioMMIO is virtio-mmio device n (0 to 4095), for Config.Devices: its registers
// at a GPA under 4 GiB, and its interrupt, edge triggered and its own. Linux's
// virtio_mmio driver binds to LNRO0005 and does without _CCA on x86.
func VirtioMMIO(n int, base, size, gsi uint32) aml.Term {
	return aml.Device(fmt.Sprintf("V%03X", n),
		aml.Name("_HID", aml.String("LNRO0005")),
		aml.Name("_UID", aml.Integer(uint64(n))),
		aml.Name("_CRS", aml.ResourceTemplate(
			aml.Memory32Fixed(base, size),
			aml.Interrupt(gsi, aml.EdgeHigh, aml.Exclusive),
		)),
	)
}
