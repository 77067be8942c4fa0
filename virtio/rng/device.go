package rng

import (
	"sync"

	"golang.org/x/sys/unix"

	"github.com/gureum/gureum/virtio"
	"github.com/gureum/gureum/virtio/queue"
	"github.com/gureum/gureum/virtio/ratelimit"
)

// queueSize is small: a driver has one request under way at a time.
const queueSize = 64

// Config says how a device behaves.
type Config struct {
	// Limit bounds what the guest may take; the zero value does not.
	Limit ratelimit.Config
	// Source fills a buffer with random bytes; nil is the host's getrandom(2).
	Source func([]byte) error
}

// Device is an entropy device. It implements virtio.Device.
type Device struct {
	// limit outlives resets, which would fill the guest's purse otherwise. It
	// belongs to the queue's goroutine, of which there is one at a time.
	limit  *ratelimit.Limiter
	source func([]byte) error

	// While the device is active:
	stop  chan struct{} // closed to end a wait for the rate limit
	queue *queue.Queue
	work  sync.WaitGroup
}

// New makes a device.
func New(c Config) *Device {
	if c.Source == nil {
		c.Source = getrandom
	}
	return &Device{limit: ratelimit.New(c.Limit), source: c.Source}
}

// Type implements virtio.Device.
func (d *Device) Type() uint32 { return virtio.TypeRNG }

// Features implements virtio.Device: there are none.
func (d *Device) Features() uint64 { return 0 }

// QueueSizes implements virtio.Device: one queue, for requests.
func (d *Device) QueueSizes() []uint16 { return []uint16{queueSize} }

// ReadConfig implements virtio.Device: there is no configuration.
func (d *Device) ReadConfig(_ uint64, data []byte) { clear(data) }

// WriteConfig implements virtio.Device: there is no configuration.
func (d *Device) WriteConfig(uint64, []byte) {}

// Activate implements virtio.Device.
func (d *Device) Activate(a virtio.Activation) error {
	d.stop = make(chan struct{})
	d.queue = a.Queues[0]
	if d.queue == nil {
		return nil
	}
	w := &worker{source: d.source, limit: d.limit, stop: d.stop}
	d.work.Go(func() { d.queue.Serve(w.handle) })
	return nil
}

// Reset implements virtio.Device.
func (d *Device) Reset() {
	close(d.stop)
	if d.queue != nil {
		d.queue.Stop()
	}
	d.work.Wait()
	d.queue = nil
}

// Close implements virtio.Device.
func (d *Device) Close() error { return nil }

// getrandom fills b from the host's generator. It does not block once the host has
// booted, and calls of up to 256 bytes are never cut short (getrandom(2)).
func getrandom(b []byte) error {
	for len(b) > 0 {
		n, err := unix.Getrandom(b, 0)
		if err == unix.EINTR {
			continue
		}
		if err != nil {
			return err
		}
		b = b[n:]
	}
	return nil
}
