package acpi

import "encoding/binary"

// The fixed ACPI description table, section 5.2.9, version 6.5 of it. Offsets
// are from the start of the table, as in the specification.
const (
	fadtRevision      = 6
	fadtMinorRevision = 5
	fadtSize          = 276

	fadtDSDT         = 40
	fadtCentury      = 108
	fadtBootFlags    = 109
	fadtFlags        = 112
	fadtResetReg     = 116
	fadtResetValue   = 128
	fadtMinor        = 131
	fadtXDSDT        = 140
	fadtSleepControl = 244
	fadtSleepStatus  = 256
	fadtHypervisor   = 268
)

// Fixed feature flags, table 5.10.
const (
	flagWBINVD       = 1 << 0
	flagPowerButton  = 1 << 4 // not a fixed one: a control method device, or none
	flagSleepButton  = 1 << 5
	flagResetReg     = 1 << 10
	flagHWReduced    = 1 << 20
	fadtFeatureFlags = flagWBINVD | flagPowerButton | flagSleepButton | flagHWReduced
)

// IA-PC boot architecture flags, table 5.11.
const (
	bootLegacyDevices = 1 << 0
	boot8042          = 1 << 1
	bootNoVGA         = 1 << 2
	bootNoCMOSRTC     = 1 << 5
)

// fadt has no preferred power profile: Linux takes none to mean nothing.
func (c *Config) fadt(dsdt uint64) Table {
	b := make([]byte, fadtSize)
	binary.LittleEndian.PutUint32(b[fadtDSDT:], uint32(dsdt))
	binary.LittleEndian.PutUint64(b[fadtXDSDT:], dsdt)
	binary.LittleEndian.PutUint16(b[fadtBootFlags:], c.bootFlags())
	b[fadtCentury] = c.RTC.Century
	b[fadtMinor] = fadtMinorRevision

	flags := uint32(fadtFeatureFlags)
	if c.ResetPort != 0 {
		flags |= flagResetReg
		putPort(b[fadtResetReg:], c.ResetPort)
		b[fadtResetValue] = c.ResetValue
	}
	binary.LittleEndian.PutUint32(b[fadtFlags:], flags)
	if c.SleepControl != 0 {
		putPort(b[fadtSleepControl:], c.SleepControl)
		putPort(b[fadtSleepStatus:], c.SleepStatus)
	}
	copy(b[fadtHypervisor:], oemID)
	return Table{Signature: "FACP", Revision: fadtRevision, Body: b[headerSize:]}
}

func (c *Config) bootFlags() uint16 {
	flags := uint16(bootNoVGA)
	if len(c.Serial) > 0 || c.Keyboard.Data != 0 {
		flags |= bootLegacyDevices
	}
	if c.Keyboard.Data != 0 {
		flags |= boot8042
	}
	if c.RTC.Port == 0 {
		flags |= bootNoCMOSRTC
	}
	return flags
}

// putPort writes the generic address structure (section 5.2.3.2) of an 8-bit
// I/O port.
func putPort(b []byte, port uint16) {
	const (
		systemIO   = 1
		width      = 8
		byteAccess = 1
	)
	b[0], b[1], b[2], b[3] = systemIO, width, 0, byteAccess
	binary.LittleEndian.PutUint64(b[4:], uint64(port))
}
