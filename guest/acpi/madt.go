package acpi

import "encoding/binary"

// The multiple APIC description table, section 5.2.12.
const (
	madtRevision = 5

	madtLocalAPIC     = 0
	madtIOAPIC        = 1
	madtLocalAPICNMI  = 4
	madtX2APIC        = 9
	madtX2APICNMI     = 10
	madtLocalAPICSize = 8
	madtIOAPICSize    = 12
	madtNMISize       = 6
	madtX2APICSize    = 16
	madtX2APICNMISize = 12

	cpuEnabled = 1

	// apicBroadcast is no CPU's id. Ids and CPU numbers above 8 bits need the
	// x2APIC form of an entry; 0xFF in the short form is again everyone.
	apicBroadcast = 1<<32 - 1
	shortIDs      = 0xFF
	allCPUs       = 0xFF
	allX2APIC     = 1<<32 - 1

	nmiPin = 1 // LINT1
)

// madt lists the CPUs and the IOAPIC. The flag PCAT_COMPAT (dual 8259) stays
// clear: in hardware-reduced mode Linux uses no PIC, and GSIs are IOAPIC pins,
// so that there are no interrupt source overrides either.
func (c *Config) madt() Table {
	b := binary.LittleEndian.AppendUint32(nil, c.LocalAPIC)
	b = binary.LittleEndian.AppendUint32(b, 0)
	long := false
	for i := range c.CPUs {
		id := uint32(i)
		if c.APICIDs != nil {
			id = c.APICIDs[i]
		}
		if id < shortIDs && i < shortIDs {
			b = append(b, madtLocalAPIC, madtLocalAPICSize, byte(i), byte(id))
			b = binary.LittleEndian.AppendUint32(b, cpuEnabled)
			continue
		}
		long = true
		b = append(b, madtX2APIC, madtX2APICSize, 0, 0)
		b = binary.LittleEndian.AppendUint32(b, id)
		b = binary.LittleEndian.AppendUint32(b, cpuEnabled)
		b = binary.LittleEndian.AppendUint32(b, uint32(i))
	}
	b = append(b, madtIOAPIC, madtIOAPICSize, 0, 0)
	b = binary.LittleEndian.AppendUint32(b, c.IOAPIC)
	b = binary.LittleEndian.AppendUint32(b, 0) // its first GSI
	b = append(b, madtLocalAPICNMI, madtNMISize, allCPUs, 0, 0, nmiPin)
	if long {
		b = append(b, madtX2APICNMI, madtX2APICNMISize, 0, 0)
		b = binary.LittleEndian.AppendUint32(b, allX2APIC)
		b = append(b, nmiPin, 0, 0, 0)
	}
	return Table{Signature: "APIC", Revision: madtRevision, Body: b}
}
