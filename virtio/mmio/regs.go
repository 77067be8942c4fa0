package mmio

// Registers, by offset from the base (section 4.2.2). All are 32 bits wide and are
// accessed as such; the configuration space behind them as the device has it.
const (
	regMagic             = 0x000
	regVersion           = 0x004
	regDeviceID          = 0x008
	regVendorID          = 0x00C
	regDeviceFeatures    = 0x010
	regDeviceFeaturesSel = 0x014
	regDriverFeatures    = 0x020
	regDriverFeaturesSel = 0x024
	regQueueSel          = 0x030
	regQueueSizeMax      = 0x034
	regQueueSize         = 0x038
	regQueueReady        = 0x044
	regQueueNotify       = 0x050
	regInterruptStatus   = 0x060
	regInterruptACK      = 0x064
	regStatus            = 0x070
	regQueueDescLow      = 0x080
	regQueueDescHigh     = 0x084
	regQueueDriverLow    = 0x090
	regQueueDriverHigh   = 0x094
	regQueueDeviceLow    = 0x0A0
	regQueueDeviceHigh   = 0x0A4
	regSHMLenLow         = 0x0B0
	regSHMLenHigh        = 0x0B4
	regSHMBaseLow        = 0x0B8
	regSHMBaseHigh       = 0x0BC
	regQueueReset        = 0x0C0
	regConfigGeneration  = 0x0FC
	regConfig            = 0x100
)

const (
	magic    = 0x7472_6976 // "virt"
	version  = 2
	vendorID = 0x4D52_5547 // "GURM"
)

// Bits of InterruptStatus and InterruptACK.
const (
	interruptQueue  = 1 << 0
	interruptConfig = 1 << 1
)

// A transport lies across two pages: the registers at the end of the first, the
// configuration space in the second. So the guest can have the first as read-only
// memory, and reads registers without an exit, while it still exits for the
// configuration space, which is the device's to answer.
const (
	pageSize        = 0x1000
	registersInPage = pageSize - regConfig

	// Stride is the guest-physical memory from one transport's pages to the next's.
	Stride = 2 * pageSize
	// Offset is where in its pages a transport's registers begin.
	Offset = registersInPage
	// Size is the number of bytes that a transport occupies from there: registers
	// and configuration space.
	Size = regConfig + pageSize
)
