package console

import (
	"context"

	"github.com/gureum/gureum/virtio/queue"
)

// Port is the host's end of one port.
type Port struct {
	id      uint32
	name    string
	console bool
	opened  func(bool)
	device  *Device
	out     output
	in      input

	// Guarded by Device.mu:
	ready     bool // the driver has made the port
	open      bool // the guest has it open
	connected bool // so has the host
	pending   int  // what is to be said of it
}

func newPort(d *Device, id uint32, c PortConfig) *Port {
	p := &Port{id: id, name: c.Name, console: c.Console, opened: c.Opened, device: d, connected: c.Console}
	p.out.init(c.Output, c.Console)
	p.in.init()
	return p
}

// Write sends to the guest. It waits until there is room in the port's buffer, and
// fails once the device is closed. Several goroutines may write.
func (p *Port) Write(b []byte) (int, error) { return p.in.write(b) }

// Flush waits until the port's writer has taken what the guest wrote, or ctx ends.
func (p *Port) Flush(ctx context.Context) error { return p.out.flush(ctx) }

// Dropped is how many bytes that the guest wrote nobody took.
func (p *Port) Dropped() uint64 { return p.out.droppedBytes() }

// SetConnected tells the guest whether somebody is at the host's end. A guest's
// write to a port that is no console waits while nobody is.
func (p *Port) SetConnected(on bool) {
	d := p.device
	d.mu.Lock()
	defer d.mu.Unlock()
	if p.connected == on {
		return
	}
	p.connected = on
	if p.ready {
		d.post(p, sayOpen)
	}
}

// HangUp makes Write fail from now on.
func (p *Port) HangUp() { p.in.close() }

// setOpen is the guest opening or closing the port. The caller holds Device.mu.
func (p *Port) setOpen(on bool) {
	if p.open == on {
		return
	}
	p.open = on
	p.in.setOpen(on)
	if p.opened != nil {
		p.opened(on)
	}
}

// start begins work on the port's queues. The caller holds Device.mu.
//
// Input waits until the driver has said that the port is open. Linux throws away
// what comes before it has made the port (in_intr of drivers/char/virtio_console.c).
func (p *Port) start(rx, tx *queue.Queue) {
	d, stop := p.device, p.device.stop
	if rx != nil {
		p.in.attach(rx, p.open)
		d.work.Go(func() { p.in.serve(rx) })
	}
	if tx != nil {
		d.work.Go(func() {
			tx.Serve(func(c *queue.Chain) (uint32, error) {
				p.out.write(c.Readable, stop)
				return 0, nil
			})
		})
	}
}

// detach ends work on the port's queues. The caller holds Device.mu.
func (p *Port) detach() {
	p.setOpen(false)
	p.ready, p.pending = false, 0
	p.in.detach()
}

func (p *Port) close() error {
	p.in.close()
	return p.out.close()
}
