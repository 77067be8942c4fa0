package pci

// Identity of a device (section 4.1.2.1).
const (
	vendorID     = 0x1AF4
	deviceIDBase = 0x1040
	revision     = 1
	subsysID     = 0x1100
)

// What is where in the function's BAR. Each part has pages of its own.
const (
	bar = 0

	commonAt     = 0x0000
	isrAt        = 0x1000
	deviceAt     = 0x2000
	deviceSize   = 0x1000
	notifyAt     = 0x3000
	notifySize   = 0x1000
	tableAt      = 0x4000
	pendingAt    = 0x6000
	barSize      = 0x8000
	notifyStride = 4

	maxQueues = 511 // a vector each and one more fit between tableAt and pendingAt
)

// Vendor capabilities (section 4.1.4): their types and the places of their fields.
const (
	typeCommon    = 1
	typeNotify    = 2
	typeISR       = 3
	typeDevice    = 4
	typePCIConfig = 5

	capSize      = 16
	capBAR       = 4
	capOffset    = 8
	capLength    = 12
	capData      = 16
	capDataSize  = 4
	isrSize      = 1
	vendorHeader = 2 // ID and pointer, which devices/pci puts in front
)

// The common configuration structure (section 4.1.4.3).
const (
	regDeviceFeatureSelect = 0x00
	regDeviceFeature       = 0x04
	regDriverFeatureSelect = 0x08
	regDriverFeature       = 0x0C
	regConfigVector        = 0x10
	regNumQueues           = 0x12
	regDeviceStatus        = 0x14
	regConfigGeneration    = 0x15
	regQueueSelect         = 0x16
	regQueueSize           = 0x18
	regQueueVector         = 0x1A
	regQueueEnable         = 0x1C
	regQueueNotifyOff      = 0x1E
	regQueueDesc           = 0x20
	regQueueDriver         = 0x28
	regQueueDevice         = 0x30
	regQueueNotifyData     = 0x38
	regQueueReset          = 0x3A
	commonSize             = 0x3C
)

// noVector is VIRTIO_MSI_NO_VECTOR (section 4.1.5.1.2).
const noVector = 0xFFFF

// Bits of the ISR status (section 4.1.4.5).
const (
	isrQueue  = 1 << 0
	isrConfig = 1 << 1
)
