// Package virtio is what all virtio devices and both transports have in common:
// the interface between them, the numbers of the specification, and the half of
// a transport that PCI and MMIO share ([Core]).
//
//	guest driver
//	  | registers             | descriptors, kicks, interrupts
//	virtio/pci, virtio/mmio   |
//	  | Core                  |
//	virtio/blk, virtio/net ... -- virtio/queue -- guest/memory
//
// Package vm makes the devices and gives each to a transport. A device never
// knows which one carries it: it sees its queues and an [Interrupt]. Sections
// are those of the virtio specification, version 1.2.
package virtio

import (
	"github.com/gureum/gureum/guest/memory"
	"github.com/gureum/gureum/virtio/queue"
)

// Device is one virtio device behind any transport.
//
// The transport calls Activate once the driver has set DRIVER_OK, and Reset when
// the driver resets the device or the machine ends; never two of these at a time,
// and Reset only after an Activate. ReadConfig and WriteConfig come from vCPU
// threads at any time, also while the device runs.
type Device interface {
	// Type is the device ID (section 5).
	Type() uint32
	// Features are the device's own feature bits. Those of rings and transport
	// are the Core's affair.
	Features() uint64
	// QueueSizes lists the largest size of each queue, powers of two. It is the
	// same throughout the device's life.
	QueueSizes() []uint16
	// ReadConfig reads the configuration space. Bytes beyond its end are zero.
	ReadConfig(offset uint64, data []byte)
	// WriteConfig writes the configuration space; what is read-only stays.
	WriteConfig(offset uint64, data []byte)
	// Activate starts the device's work on goroutines of its own. On error the
	// device is as before and the driver sees DEVICE_NEEDS_RESET.
	Activate(Activation) error
	// Reset ends what Activate started: when it returns, no goroutine of the
	// device touches guest memory or queues any more, and requests that were in
	// flight are forgotten (section 2.4).
	Reset()
	// Close frees what the device holds of the host. The device is not active.
	Close() error
}

// Activation is what a device gets to work with, valid until Reset returns.
type Activation struct {
	// Memory is the guest's RAM.
	Memory *memory.Memory
	// Features are the bits that the driver accepted, the ring's included.
	Features uint64
	// Queues has an entry for each of QueueSizes; nil where the driver did not
	// enable the queue.
	Queues []*queue.Queue
	// Interrupt tells the driver that the configuration changed. Queues raise
	// their own interrupts.
	Interrupt Interrupt
}

// Has tells whether the driver accepted the feature with this bit number.
func (a *Activation) Has(bit uint) bool { return a.Features>>bit&1 != 0 }

// Interrupt is how a device reaches the driver. Its methods neither block nor
// allocate and may be called from any goroutine.
type Interrupt interface {
	// Config tells the driver to look at the configuration space.
	Config()
	// Queue tells the driver to look at queue n.
	Queue(n int)
}

// Device IDs (section 5).
const (
	TypeNet     = 1
	TypeBlock   = 2
	TypeConsole = 3
	TypeRNG     = 4
	TypeBalloon = 5
	TypeVsock   = 19
	TypeFS      = 26
	TypePMEM    = 27
)

// Bit numbers of the features that are not a device's own (section 6).
const (
	FeatureIndirectDesc = 28 // VIRTIO_F_INDIRECT_DESC
	FeatureEventIdx     = 29 // VIRTIO_F_EVENT_IDX
	FeatureVersion1     = 32 // VIRTIO_F_VERSION_1
	FeatureRingReset    = 40 // VIRTIO_F_RING_RESET
)

// Bits of the device status (section 2.1).
const (
	StatusAcknowledge = 1 << 0
	StatusDriver      = 1 << 1
	StatusDriverOK    = 1 << 2
	StatusFeaturesOK  = 1 << 3
	StatusNeedsReset  = 1 << 6
	StatusFailed      = 1 << 7
)
