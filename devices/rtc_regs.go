package devices

import "time"

// Registers of the MC146818A real-time clock with 114 bytes of RAM behind it.
// Section names are those of Motorola's data sheet (1984); Linux has them in
// include/linux/mc146818rtc.h.
const (
	// RTCAddress is where a PC has the clock: the index at the base, the data
	// after it.
	RTCAddress = 0x70
	// RTCSize is the number of ports that an RTC occupies.
	RTCSize = 2

	rtcPortIndex = 0
	rtcPortData  = 1

	rtcIndexMask = 0x7F
	rtcIndexNMI  = 1 << 7 // of the index port: the NMI is masked
)

// Addresses ("Address map").
const (
	rtcSecond      = 0x00
	rtcSecondAlarm = 0x01
	rtcMinute      = 0x02
	rtcMinuteAlarm = 0x03
	rtcHour        = 0x04
	rtcHourAlarm   = 0x05
	rtcWeekday     = 0x06
	rtcDay         = 0x07
	rtcMonth       = 0x08
	rtcYear        = 0x09
	rtcA           = 0x0A
	rtcB           = 0x0B
	rtcC           = 0x0C
	rtcD           = 0x0D
)

// Addresses in the RAM that a PC's firmware gave a meaning.
const (
	rtcBaseMemory     = 0x15 // 16 bits, KiB below 640 KiB
	rtcExtMemory      = 0x17 // 16 bits, KiB above 1 MiB
	rtcExtMemoryAlias = 0x30 // the same, as the firmware found it
	rtcCentury        = 0x32 // FADT.CENTURY names it
	rtcMemoryAbove16M = 0x34 // 16 bits, 64 KiB units above 16 MiB, below 4 GiB
	rtcMemoryAbove4G  = 0x5B // 24 bits, 64 KiB units above 4 GiB

	// RTCCentury is the FADT's CENTURY field.
	RTCCentury = rtcCentury
)

// Register A ("Register A").
const (
	rtcUIP       = 1 << 7 // the time is about to change
	rtcDivMask   = 0x70
	rtcDivReset  = 0x60 // 11x: the divider is held
	rtcRateMask  = 0x0F
	rtcAPowerOn  = 0x26 // 32.768 kHz, periodic rate 1024 Hz
	rtcAWritable = rtcDivMask | rtcRateMask
)

// Register B ("Register B").
const (
	rtcSet     = 1 << 7 // no updates: the time is being set
	rtcPIE     = 1 << 6
	rtcAIE     = 1 << 5
	rtcUIE     = 1 << 4
	rtcBinary  = 1 << 2 // else BCD
	rtc24      = 1 << 1 // else 12 hours, with rtcPM
	rtcIRQMask = rtcPIE | rtcAIE | rtcUIE
)

// Register C ("Register C"): the flags of PIE, AIE and UIE at the same places, and
// their sum. Reading clears them all.
const rtcIRQF = 1 << 7

// Register D ("Register D").
const rtcValid = 1 << 7

const (
	rtcPM        = 1 << 7 // in the hours, in 12-hour mode
	rtcDontCare  = 0xC0   // in an alarm register: matches always
	rtcClock     = 32768  // Hz, the divider's input
	rtcUIPWindow = 244 * time.Microsecond
	// rtcDivStart is the time from the release of the divider to the first update.
	rtcDivStart = 500 * time.Millisecond
)
