package net

import (
	"errors"
	"fmt"
	"log/slog"
	"math/bits"
	"sync"
	"sync/atomic"

	"github.com/gureum/gureum/virtio"
	"github.com/gureum/gureum/virtio/ratelimit"
)

// Sizes and defaults.
const (
	// DefaultQueueSize is the number of descriptors of a receive or transmit queue.
	DefaultQueueSize = 256
	// MaxPairs bounds the pairs of queues: what a tap of Linux can have.
	MaxPairs = 256
	// MinMTU and MaxMTU bound Config.MTU (section 5.1.4.1).
	MinMTU = 68
	MaxMTU = 65535
	// DefaultSpeed is what the device says its line does, in Mbit/s.
	DefaultSpeed = 10000

	controlQueueSize = 64
)

// Config says what a device is to be.
type Config struct {
	// Backend is where frames come from and go to. The device closes it.
	Backend Backend
	// MAC is the address that the guest gets.
	MAC [6]byte
	// MTU is told to the guest; 0 tells none.
	MTU uint16
	// QueueSize is the number of descriptors of each receive and transmit queue,
	// a power of two up to 1024; 0 is DefaultQueueSize.
	QueueSize uint16
	// Speed is the line's, in Mbit/s; 0 is DefaultSpeed.
	Speed uint32
	// RX limits what the guest receives, TX what it sends.
	RX, TX ratelimit.Config
	// Vhost says whether the kernel moves the frames; a rate limit forbids it.
	Vhost VhostMode
	// VhostPath is the kernel's device; "" is DefaultVhost.
	VhostPath string
	// Log gets what the guest or the host did wrong; nil drops it.
	Log *slog.Logger
}

// Stats are a device's frames that went nowhere. They are of its whole life.
type Stats struct {
	RXDropped uint64 // frames that did not fit into the guest's buffers
	TXDropped uint64 // frames that the backend refused, or sent while the link is down
	TXErrors  uint64 // frames with a header or a length against the rules
}

// Device is a network device. Its methods may be called from any goroutine.
type Device struct {
	cfg      Config
	log      *slog.Logger
	features uint64
	sizes    []uint16
	link     atomic.Bool
	active   atomic.Int32 // pairs in use
	stats    struct{ rxDropped, txDropped, txErrors atomic.Uint64 }
	rxLimit  limiter
	txLimit  limiter

	pairs int // of the backend

	mu       sync.Mutex // guards what follows
	mac      [6]byte
	announce bool
	closed   bool
	running  *running
}

// New makes a device on a backend, which it owns from then on, also on error.
func New(cfg Config) (*Device, error) {
	if err := cfg.validate(); err != nil {
		return nil, errors.Join(err, cfg.Backend.Close())
	}
	d := &Device{cfg: cfg, log: cfg.Log, pairs: cfg.Backend.Pairs(), mac: cfg.MAC}
	if d.log == nil {
		d.log = slog.New(slog.DiscardHandler)
	}
	d.features = features(&cfg, cfg.Backend.Offloads())
	for range 2 * d.pairs {
		d.sizes = append(d.sizes, cfg.QueueSize)
	}
	d.sizes = append(d.sizes, controlQueueSize)
	d.rxLimit.tokens.Store(ratelimit.New(cfg.RX))
	d.txLimit.tokens.Store(ratelimit.New(cfg.TX))
	d.link.Store(true)
	return d, nil
}

func (cfg *Config) validate() error {
	if cfg.QueueSize == 0 {
		cfg.QueueSize = DefaultQueueSize
	}
	if cfg.Speed == 0 {
		cfg.Speed = DefaultSpeed
	}
	if cfg.VhostPath == "" {
		cfg.VhostPath = DefaultVhost
	}
	if cfg.QueueSize > 1024 || bits.OnesCount16(cfg.QueueSize) != 1 {
		return fmt.Errorf("network queues of %d descriptors: give a power of two up to 1024", cfg.QueueSize)
	}
	if cfg.MTU != 0 && cfg.MTU < MinMTU {
		return fmt.Errorf("MTU %d: give at least %d", cfg.MTU, MinMTU)
	}
	if n := cfg.Backend.Pairs(); n < 1 || n > MaxPairs {
		return fmt.Errorf("%d pairs of queues: from 1 to %d are possible", n, MaxPairs)
	}
	if cfg.MAC[0]&1 != 0 || cfg.MAC == [6]byte{} {
		return fmt.Errorf("MAC address % x: not that of one interface", cfg.MAC)
	}
	return nil
}

// Type is that of a network device (section 5.1.1).
func (d *Device) Type() uint32 { return virtio.TypeNet }

// Features depend on what the backend can do.
func (d *Device) Features() uint64 { return d.features }

// QueueSizes lists receive and transmit queues by turns, then the control queue
// (section 5.1.2).
func (d *Device) QueueSizes() []uint16 { return d.sizes }

// ReadConfig reads the configuration space (section 5.1.4).
func (d *Device) ReadConfig(offset uint64, data []byte) {
	clear(data)
	c := d.config()
	if offset < uint64(len(c)) {
		copy(data, c[offset:])
	}
}

// WriteConfig does nothing: every field is read-only for the drivers of today,
// which set the MAC address by the control queue.
func (d *Device) WriteConfig(uint64, []byte) {}

// SetLink plugs the cable in or out and tells the driver. While it is out nothing
// is received and what the guest sends is lost.
func (d *Device) SetLink(up bool) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.closed {
		return errClosed
	}
	if d.link.Swap(up) == up {
		return nil
	}
	err := d.cfg.Backend.SetCarrier(up)
	if r := d.running; r != nil {
		r.linkChanged(up)
		r.act.Interrupt.Config()
	}
	return err
}

var errClosed = errors.New("network device is closed")

// Announce asks the guest to tell the network where it is (section 5.1.6.5.4), as
// is needed when the machine has moved.
func (d *Device) Announce() {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.running == nil || !d.running.act.Has(FeatureGuestAnnounce) {
		return
	}
	d.announce = true
	d.running.act.Interrupt.Config()
}

// MAC is the address that the guest uses.
func (d *Device) MAC() [6]byte {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.mac
}

// LinkUp tells whether the cable is in.
func (d *Device) LinkUp() bool { return d.link.Load() }

// InKernel tells whether vhost-net moves the frames at this time. The queues'
// counters then stand still.
func (d *Device) InKernel() bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.running != nil && d.running.kernel != nil
}

// Stats may be called at any time.
func (d *Device) Stats() Stats {
	s := &d.stats
	return Stats{RXDropped: s.rxDropped.Load(), TXDropped: s.txDropped.Load(), TXErrors: s.txErrors.Load()}
}

// Close gives the backend up.
func (d *Device) Close() error {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.closed = true
	return d.cfg.Backend.Close()
}

var _ virtio.Device = (*Device)(nil)
