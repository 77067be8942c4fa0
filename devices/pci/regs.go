package pci

// Registers of a type 0 configuration space header (section 6.1).
const (
	regVendorID     = 0x00
	regDeviceID     = 0x02
	regCommand      = 0x04
	regStatus       = 0x06
	regRevision     = 0x08
	regClass        = 0x09 // three bytes: interface, sub-class, class
	regHeaderType   = 0x0E
	regBAR0         = 0x10
	regSubsysVendor = 0x2C
	regSubsys       = 0x2E
	regCapPointer   = 0x34
	regIntLine      = 0x3C
	regFirstCap     = 0x40
)

const (
	// configSize is the configuration space that functions have; the extended part
	// that ECAM shows behind it reads as zero, which ends the list of extended
	// capabilities.
	configSize    = 256
	extendedSize  = 4096
	maxBARs       = 6
	maxDevices    = 32
	functionsEach = 8

	// MaxFunctions is how many functions can be added to a Host: one a device
	// number, the first of which is the host bridge's own.
	MaxFunctions = maxDevices - 1
)

// Bits of the command and status registers (section 6.2.2 and 6.2.3).
const (
	commandMemory      = 1 << 1
	commandMaster      = 1 << 2
	commandINTxDisable = 1 << 10
	statusCapabilities = 1 << 4
)

// Capability IDs (appendix H).
const (
	CapVendor = 0x09
	CapMSIX   = 0x11
)

// Bits of a memory BAR (section 6.2.5.1).
const (
	barFlagsMask  = 0xF
	minBAR        = 16
	barAddressLow = ^uint32(barFlagsMask)
)

// The configuration address register at port 0xCF8 (section 3.2.2.3.2).
const (
	addressEnable = 1 << 31
	// PortsBase is the first of PortsSize I/O ports: address, then data.
	PortsBase = 0xCF8
	PortsSize = 8
	portData  = 4
)

// ECAMBusSize is the memory that the enhanced configuration access mechanism takes
// for a bus (PCI Express Base Specification 3.0, section 7.2.2).
const ECAMBusSize = 1 << 20
