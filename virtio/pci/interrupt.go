package pci

import (
	"sync/atomic"

	"github.com/gureum/gureum/kvm"
)

// interrupt is how the device reaches the driver.
type interrupt struct{ t *Transport }

// Config implements virtio.Interrupt.
func (i interrupt) Config() { i.t.raise(&i.t.configVector, isrConfig) }

// Queue implements virtio.Interrupt.
func (i interrupt) Queue(n int) { i.t.raise(&i.t.queueVectors[n], isrQueue) }

// QueueEvent implements virtio.EventInterrupt: the eventfd of the vector that the
// driver gave the queue. A driver that gives it another one later has to reset the
// queue or the device first.
func (i interrupt) QueueEvent(n int) *kvm.EventFD {
	if v := int(i.t.queueVectors[n].Load()); v < i.t.msix.Vectors() {
		return i.t.msix.Event(v)
	}
	return i.t.sink
}

// raise signals a vector, if there is one. Signalling fails only once the eventfd
// is closed, when there is no guest any more. The ISR bits are for drivers without
// MSI-X alone (section 4.1.4.5).
func (t *Transport) raise(vector *atomic.Uint32, isr uint32) {
	if v := int(vector.Load()); v < t.msix.Vectors() {
		_ = t.msix.Event(v).Signal()
		return
	}
	t.isr.Or(isr)
}

// setVector follows the driver's write; it reads back noVector from a vector that
// there is not (section 4.1.5.1.2.1).
func (t *Transport) setVector(vector *atomic.Uint32, v uint16) {
	if int(v) >= t.msix.Vectors() {
		v = noVector
	}
	vector.Store(uint32(v))
}
