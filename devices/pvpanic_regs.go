package devices

// Bits of pvpanic's only register. Source: the Linux header
// include/uapi/misc/pvpanic.h and the QEMU document docs/specs/pvpanic.rst.
const (
	pvpanicPanicked    = 1 << 0
	pvpanicCrashLoaded = 1 << 1
	pvpanicShutdown    = 1 << 2

	pvpanicAll = pvpanicPanicked | pvpanicCrashLoaded | pvpanicShutdown

	// PVPanicSize is the number of ports that a PVPanic occupies.
	PVPanicSize = 1
)
