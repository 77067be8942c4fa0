package console

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"sync"

	"github.com/gureum/gureum/virtio"
	"github.com/gureum/gureum/virtio/queue"
)

// Bit numbers of the device's features (section 5.3.3).
const (
	FeatureSize      = 0 // VIRTIO_CONSOLE_F_SIZE
	FeatureMultiport = 1 // VIRTIO_CONSOLE_F_MULTIPORT
	FeatureEmergency = 2 // VIRTIO_CONSOLE_F_EMERG_WRITE
)

const (
	// MaxPorts is how many ports a device can have.
	MaxPorts = 16
	// MaxName is the longest name of a port, in bytes.
	MaxName = 64

	queueSize = 64
	// Queues of port 0, of control, and of the ports from 1 on (section 5.3.2).
	// The first of a pair is from device to driver.
	queueControl   = 2
	firstMoreQueue = 4
)

// Offsets in the configuration space (section 5.3.4).
const (
	configCols  = 0
	configRows  = 2
	configPorts = 4
	configEmerg = 8
	configSize  = 12
)

// PortConfig describes one port.
type PortConfig struct {
	// Console makes the port a terminal of the guest (hvc0, ...). Its host side is
	// always there, and its output never waits for long.
	Console bool
	// Name is what the guest finds the port by (/dev/virtio-ports/NAME).
	Name string
	// Output receives what the guest writes, from one goroutine of the port's own.
	// After an error it is not called again. nil discards.
	Output io.Writer
	// Opened, when set, is told when the guest opens and closes the port. It must
	// not block nor call the device.
	Opened func(bool)
}

// Config describes a device.
type Config struct {
	// Ports has one entry at least. A driver without VIRTIO_CONSOLE_F_MULTIPORT sees
	// the first one alone, as a console.
	Ports []PortConfig
	// Rows and Cols are the terminal's size in characters; 0 is 24 and 80.
	Rows, Cols uint16
}

// Device is a console. It implements virtio.Device.
type Device struct {
	ports []*Port

	mu         sync.Mutex // guards what follows, and pending and open of ports
	rows, cols uint16
	irq        virtio.Interrupt
	control    *queue.Queue // to the driver; nil while there is none
	talks      bool         // the driver uses VIRTIO_CONSOLE_F_MULTIPORT
	queues     []*queue.Queue
	stop       chan struct{}
	work       sync.WaitGroup
}

// New makes a device.
func New(c Config) (*Device, error) {
	if n := len(c.Ports); n == 0 || n > MaxPorts {
		return nil, fmt.Errorf("%d console ports: give 1 to %d", n, MaxPorts)
	}
	d := &Device{rows: c.Rows, cols: c.Cols}
	if d.rows == 0 || d.cols == 0 {
		d.rows, d.cols = 24, 80
	}
	seen := map[string]bool{}
	for _, p := range c.Ports {
		if len(p.Name) > MaxName || p.Name != "" && seen[p.Name] {
			return nil, fmt.Errorf("console port %q: give a name of its own of up to %d bytes", p.Name, MaxName)
		}
		seen[p.Name] = true
	}
	for i, p := range c.Ports {
		d.ports = append(d.ports, newPort(d, uint32(i), p))
	}
	return d, nil
}

// Port is port n, in the order of the Config.
func (d *Device) Port(n int) *Port { return d.ports[n] }

// Type implements virtio.Device.
func (d *Device) Type() uint32 { return virtio.TypeConsole }

// Features implements virtio.Device.
func (d *Device) Features() uint64 {
	return 1<<FeatureSize | 1<<FeatureMultiport | 1<<FeatureEmergency
}

// QueueSizes implements virtio.Device.
func (d *Device) QueueSizes() []uint16 {
	sizes := make([]uint16, firstMoreQueue+2*(len(d.ports)-1))
	for i := range sizes {
		sizes[i] = queueSize
	}
	return sizes
}

// ReadConfig implements virtio.Device.
func (d *Device) ReadConfig(offset uint64, data []byte) {
	var c [configSize]byte
	d.mu.Lock()
	binary.LittleEndian.PutUint16(c[configCols:], d.cols)
	binary.LittleEndian.PutUint16(c[configRows:], d.rows)
	d.mu.Unlock()
	binary.LittleEndian.PutUint32(c[configPorts:], uint32(len(d.ports)))
	clear(data)
	if offset < configSize {
		copy(data, c[offset:])
	}
}

// WriteConfig implements virtio.Device: one field is written, by which a guest in
// trouble prints a character without queues (section 5.3.6.2).
func (d *Device) WriteConfig(offset uint64, data []byte) {
	if offset == configEmerg && len(data) > 0 && d.ports[0].console {
		d.ports[0].out.tryWrite(data[:1])
	}
}

// Resize tells the guest the terminal's new size in characters.
func (d *Device) Resize(rows, cols uint16) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if rows == 0 || cols == 0 || rows == d.rows && cols == d.cols {
		return
	}
	d.rows, d.cols = rows, cols
	switch {
	case d.irq == nil:
	case !d.talks:
		d.irq.Config()
	default:
		for _, p := range d.ports {
			if p.console && p.ready {
				d.post(p, sayResize)
			}
		}
	}
}

// Activate implements virtio.Device.
func (d *Device) Activate(a virtio.Activation) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.irq, d.queues, d.stop = a.Interrupt, a.Queues, make(chan struct{})
	d.talks = a.Has(FeatureMultiport)
	if !d.talks {
		d.ports[0].setOpen(true)
		d.ports[0].start(a.Queues[0], a.Queues[1])
		return nil
	}
	for i, p := range d.ports {
		n := 0
		if i > 0 {
			n = firstMoreQueue + 2*(i-1)
		}
		p.start(a.Queues[n], a.Queues[n+1])
	}
	d.control = a.Queues[queueControl]
	if d.control != nil {
		w := &controlSender{device: d, queue: d.control}
		d.work.Go(w.serve)
	}
	if q := a.Queues[queueControl+1]; q != nil {
		d.work.Go(func() { q.Serve(d.hear) })
	}
	return nil
}

// Reset implements virtio.Device.
func (d *Device) Reset() {
	d.mu.Lock()
	close(d.stop)
	d.irq, d.control, d.talks = nil, nil, false
	for _, p := range d.ports {
		p.detach()
	}
	for _, q := range d.queues {
		if q != nil {
			q.Stop()
		}
	}
	d.queues = nil
	d.mu.Unlock()
	d.work.Wait()
}

// Close implements virtio.Device: what the guest wrote goes to the writers first,
// as long as they take it.
func (d *Device) Close() error {
	var errs []error
	for _, p := range d.ports {
		errs = append(errs, p.close())
	}
	return errors.Join(errs...)
}
