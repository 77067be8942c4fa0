package virtio

import (
	"log/slog"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/gureum/gureum/guest/memory"
	"github.com/gureum/gureum/kvm"
	"github.com/gureum/gureum/virtio/queue"
	"github.com/gureum/gureum/virtio/ratelimit"
)

// CoreConfig says what a Core joins.
type CoreConfig struct {
	Device Device
	Memory *memory.Memory
	// Kicks has the doorbell of each queue. They belong to the transport.
	Kicks []*kvm.EventFD
	// Interrupt reaches the driver.
	Interrupt Interrupt
	// Log hears once of each way in which the driver breaks the rules; nil is
	// slog.Default.
	Log *slog.Logger
}

// Core is the half of a transport that PCI and MMIO share: negotiation, the
// device's status, the queues' registers, and what follows from them. Its methods
// may be called from any vCPU's thread.
//
// What the driver set up is frozen while the device is active: a write that comes
// too late is ignored and logged, so that a device never works with anything but
// what has been checked.
type Core struct {
	cfg CoreConfig

	mu       sync.Mutex // guards what follows, and orders Activate and Reset
	features uint64     // accepted by the driver
	regs     []QueueRegs
	queues   []*queue.Queue // of the active device; nil entries are not enabled
	past     []queue.Counters
	active   bool
	closed   bool
	logged   map[string]struct{} // since the last reset

	logMu    sync.Mutex
	logLimit *ratelimit.Limiter

	// status and generation are read without the lock, as interrupts come from
	// devices that somebody with the lock may be waiting for.
	status     atomic.Uint32
	generation atomic.Uint32
}

// logLines is how many lines a device may cost a minute. A driver that breaks a rule,
// resets the device and begins again would fill the host's disk otherwise.
const logLines = 20

// NewCore makes the Core of a device that has been reset.
func NewCore(cfg CoreConfig) *Core {
	if cfg.Log == nil {
		cfg.Log = slog.Default()
	}
	sizes := cfg.Device.QueueSizes()
	c := &Core{
		cfg: cfg, regs: make([]QueueRegs, len(sizes)), queues: make([]*queue.Queue, len(sizes)),
		past: make([]queue.Counters, len(sizes)), logged: map[string]struct{}{},
		logLimit: ratelimit.New(ratelimit.Config{Ops: ratelimit.Bucket{Size: logLines, Refill: time.Minute}}),
	}
	c.clear()
	return c
}

// clear puts registers to their values after a reset.
func (c *Core) clear() {
	for n, size := range c.cfg.Device.QueueSizes() {
		c.regs[n] = QueueRegs{MaxSize: size, Size: size}
	}
	c.features = 0
	clear(c.logged)
	c.status.Store(0)
}

// complain logs a rule that the driver broke, once until the next reset. The
// caller holds the lock.
func (c *Core) complain(what string) {
	if _, again := c.logged[what]; again {
		return
	}
	c.logged[what] = struct{}{}
	c.warn("virtio driver broke a rule", "what", what)
}

// warn logs, but not without bound. It is called with the lock and without it.
func (c *Core) warn(msg, key string, value any) {
	c.logMu.Lock()
	ok, _ := c.logLimit.Take(1, 0)
	c.logMu.Unlock()
	if ok {
		c.cfg.Log.Warn(msg, "device", c.cfg.Device.Type(), key, value)
	}
}

// Status is the device status (section 2.1).
func (c *Core) Status() uint8 { return uint8(c.status.Load()) }

// SetStatus is the driver's write to the device status. 0 resets the device; when
// it returns the device is at rest. Bits are only ever added: a driver that clears
// one is ignored. Each step needs those before it (section 3.1.1), in this write or
// an earlier one, and FEATURES_OK is refused for features that were not offered.
func (c *Core) SetStatus(v uint8) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if v == 0 {
		c.reset()
		return
	}
	if c.closed {
		return
	}
	old := c.Status()
	if old&^v&^StatusNeedsReset != 0 {
		c.complain("status bits taken back without a reset")
	}
	added := c.admit(old, v&^old&^StatusNeedsReset)
	c.status.Or(uint32(added))
	if added&StatusDriverOK != 0 {
		c.activate()
	}
}

// admit tells which of the new status bits are in order.
func (c *Core) admit(old, added uint8) uint8 {
	steps := [...]struct{ bit, needs uint8 }{
		{StatusDriver, StatusAcknowledge},
		{StatusFeaturesOK, StatusAcknowledge | StatusDriver},
		{StatusDriverOK, StatusAcknowledge | StatusDriver | StatusFeaturesOK},
	}
	for _, s := range steps {
		if added&s.bit == 0 {
			continue
		}
		if (old|added)&s.needs != s.needs {
			c.complain("status bits set out of order")
			added &^= s.bit
			continue
		}
		if s.bit == StatusFeaturesOK && !c.featuresFit() {
			c.complain("features accepted that were not offered, or no VIRTIO_F_VERSION_1")
			added &^= s.bit
		}
	}
	return added
}

// activate starts the device on the queues that the driver enabled.
func (c *Core) activate() {
	for n := range c.regs {
		if !c.regs[n].Enabled {
			continue
		}
		q, err := c.makeQueue(n)
		if err != nil {
			c.abandon(err)
			return
		}
		c.queues[n] = q
	}
	err := c.cfg.Device.Activate(Activation{
		Memory: c.cfg.Memory, Features: c.features, Queues: slices.Clone(c.queues), Interrupt: c.deviceInterrupt(),
	})
	if err != nil {
		c.abandon(err)
		return
	}
	c.active = true
}

// abandon gives up a device that could not be activated.
func (c *Core) abandon(err error) {
	c.dropQueues()
	c.needsReset(err)
}

// dropQueues forgets the queues but not what they counted.
func (c *Core) dropQueues() {
	for n, q := range c.queues {
		if q != nil {
			c.past[n] = c.past[n].Plus(q.Counters())
			c.queues[n] = nil
		}
	}
}

// needsReset tells the driver that only a reset helps (section 2.1.2). It takes no
// lock: queues call it from their owners, whom a reset waits for.
func (c *Core) needsReset(err error) {
	old := c.status.Or(StatusNeedsReset)
	if old&StatusNeedsReset != 0 {
		return
	}
	c.warn("virtio device needs a reset", "error", err)
	if old&StatusDriverOK != 0 {
		coreInterrupt{c}.Config()
	}
}

// reset brings the device to rest.
func (c *Core) reset() {
	if c.active {
		for _, q := range c.queues {
			if q != nil {
				q.Stop()
			}
		}
		c.cfg.Device.Reset()
		c.active = false
	}
	c.dropQueues()
	c.clear()
}

// Generation changes when the configuration space has: with the device's call of
// Interrupt.Config (section 2.5.3). A driver that reads a long field in the moment
// between the change and that call may see halves of two values and one generation;
// the interrupt that follows makes it read again.
func (c *Core) Generation() uint32 { return c.generation.Load() }

// ReadConfig reads the device's configuration space.
func (c *Core) ReadConfig(offset uint64, p []byte) { c.cfg.Device.ReadConfig(offset, p) }

// WriteConfig writes it.
func (c *Core) WriteConfig(offset uint64, p []byte) { c.cfg.Device.WriteConfig(offset, p) }

// Stop brings the device to rest for good, as at the machine's end: nothing of it
// touches guest memory when Stop returns.
func (c *Core) Stop() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.reset()
	c.closed = true
}

// Close stops and closes the device.
func (c *Core) Close() error {
	c.Stop()
	return c.cfg.Device.Close()
}

// Counters are what happened to each queue since the device was made, resets
// included.
func (c *Core) Counters() []queue.Counters {
	c.mu.Lock()
	defer c.mu.Unlock()
	out := make([]queue.Counters, len(c.past))
	for n := range out {
		out[n] = c.past[n]
		if q := c.queues[n]; q != nil {
			out[n] = out[n].Plus(q.Counters())
		}
	}
	return out
}
