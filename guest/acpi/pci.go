package acpi

import "github.com/gureum/gureum/guest/acpi/aml"

// PCIHost is a PCI Express host bridge with the buses 0 to lastBus and a window of
// memory for BARs, first to last, for Config.Devices. MCFG says where its
// configuration space is.
//
// Its functions have no interrupt pins, so there is no _PRT. _OSC (section 6.2.11)
// leaves to the guest whatever it asks for, since there is nothing in the machine
// that would use it: no hot-plug, no power management events, no error reporting.
// Without the method Linux would do less and complain.
func PCIHost(lastBus uint8, first, last uint32) aml.Term {
	return aml.Device("PCI0",
		aml.Name("_HID", aml.EISAID("PNP0A08")),
		aml.Name("_CID", aml.EISAID("PNP0A03")),
		aml.Name("_CRS", aml.ResourceTemplate(
			aml.BusNumbers(0, lastBus),
			aml.MemoryWindow32(first, last),
		)),
		aml.Method("_OSC", 4, false, aml.Return(aml.Arg(3))),
	)
}
