package virtio

import "github.com/gureum/gureum/kvm"

// EventInterrupt is an Interrupt whose queues are raised by eventfds that the
// kernel can signal itself (vhost). Transports have it.
type EventInterrupt interface {
	Interrupt
	// QueueEvent is what raises the interrupt of queue n when signalled. It
	// belongs to the transport.
	QueueEvent(n int) *kvm.EventFD
}

// deviceInterrupt is the device's way to the driver.
func (c *Core) deviceInterrupt() Interrupt {
	if e, ok := c.cfg.Interrupt.(EventInterrupt); ok {
		return coreEventInterrupt{coreInterrupt{c}, e}
	}
	return coreInterrupt{c}
}

// coreInterrupt counts changes of the configuration on their way to the driver.
type coreInterrupt struct{ c *Core }

// Config implements Interrupt.
func (i coreInterrupt) Config() {
	i.c.generation.Add(1)
	i.c.cfg.Interrupt.Config()
}

// Queue implements Interrupt.
func (i coreInterrupt) Queue(n int) { i.c.cfg.Interrupt.Queue(n) }

type coreEventInterrupt struct {
	coreInterrupt
	events EventInterrupt
}

// QueueEvent implements EventInterrupt.
func (i coreEventInterrupt) QueueEvent(n int) *kvm.EventFD { return i.events.QueueEvent(n) }
