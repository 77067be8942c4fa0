package devices

// ACPI register block of a hardware-reduced platform. Section numbers are those of
// the ACPI specification 6.5. The offsets are ours; FADT and DSDT name them.
const (
	acpiSleepControl = 0 // 8 bits; 4.8.3.7
	acpiSleepStatus  = 1 // 8 bits; 4.8.3.7
	acpiReset        = 2 // 8 bits; RESET_REG of the FADT, 4.8.3.6
	acpiGED          = 4 // 32 bits; what the generic event device (5.6.9) has to tell

	// ACPISize is the number of ports that an ACPI occupies.
	ACPISize = 8
)

// Sleep control register (4.8.3.7, table 4.18).
const (
	slpTypeShift = 2
	slpTypeMask  = 0x7
	slpEnable    = 1 << 5 // reads as zero
)

// SleepTypeS5 is the SLP_TYP value that switches the machine off: the first element
// of the DSDT's \_S5 package.
const SleepTypeS5 = 5

// Sleep status register (4.8.3.7, table 4.19).
const wakStatus = 1 << 7 // cleared by writing a one

// ACPIResetValue is what a guest writes to the reset register: RESET_VALUE of the
// FADT.
const ACPIResetValue = 1

// Bits of the GED event register.
const (
	// GEDPowerButton says that the power button was pressed. The DSDT's _EVT
	// method answers it with Notify(power button, 0x80).
	GEDPowerButton = 1 << 0
)
