package virtio

import (
	"log/slog"
	"slices"
	"sync"
	"sync/atomic"

	"github.com/gureum/gureum/guest/memory"
	"github.com/gureum/gureum/kvm"
	"github.com/gureum/gureum/virtio/queue"
)

// EventInterrupt is an Interrupt whose queues are raised by eventfds that the
// kernel can signal itself (vhost). Transports have it.
type EventInterrupt interface {
	Interrupt
	// QueueEvent is what raises the interrupt of queue n when signalled. It
	// belongs to the transport.
	QueueEvent(n int) *kvm.EventFD
}

// RingResetter is a device whose queues can be reset one by one
// (VIRTIO_F_RING_RESET, section 2.6.1). The transport calls it for active devices.
type RingResetter interface {
	// ResetQueue ends the device's work on queue n, as Reset does for all.
	ResetQueue(n int)
	// EnableQueue goes on with a queue that the driver has set up anew.
	EnableQueue(n int, q *queue.Queue) error
}

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

// Part is one of the three parts of a queue.
type Part int

// The parts, by the specification's names (section 2.7).
const (
	PartDesc   Part = iota // descriptor table
	PartDriver             // available ring
	PartDevice             // used ring
	numParts
)

// QueueRegs are a queue's registers as the driver sees them.
type QueueRegs struct {
	MaxSize, Size uint16
	Enabled       bool
	Addr          [numParts]uint64 // GPA of each Part
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
	logged   map[string]struct{}

	// status and generation are read without the lock, as interrupts come from
	// devices that somebody with the lock may be waiting for.
	status     atomic.Uint32
	generation atomic.Uint32
}

// NewCore makes the Core of a device that has been reset.
func NewCore(cfg CoreConfig) *Core {
	if cfg.Log == nil {
		cfg.Log = slog.Default()
	}
	sizes := cfg.Device.QueueSizes()
	c := &Core{
		cfg: cfg, regs: make([]QueueRegs, len(sizes)), queues: make([]*queue.Queue, len(sizes)),
		past: make([]queue.Counters, len(sizes)), logged: map[string]struct{}{},
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

// offered are all features that the driver may accept.
func (c *Core) offered() uint64 {
	f := c.cfg.Device.Features() | 1<<FeatureVersion1 | 1<<FeatureIndirectDesc | 1<<FeatureEventIdx
	if _, ok := c.cfg.Device.(RingResetter); ok {
		f |= 1 << FeatureRingReset
	}
	return f
}

// complain logs a rule that the driver broke, once until the next reset. The
// caller holds the lock.
func (c *Core) complain(what string) {
	if _, again := c.logged[what]; again {
		return
	}
	c.logged[what] = struct{}{}
	c.cfg.Log.Warn("virtio driver broke a rule", "device", c.cfg.Device.Type(), "what", what)
}

// DeviceFeatures reads 32 bits of what the device offers; sel counts words.
func (c *Core) DeviceFeatures(sel uint32) uint32 { return word(c.offered(), sel) }

// DriverFeatures reads 32 bits of what the driver accepted.
func (c *Core) DriverFeatures(sel uint32) uint32 {
	c.mu.Lock()
	defer c.mu.Unlock()
	return word(c.features, sel)
}

// SetDriverFeatures writes 32 bits of what the driver accepts, before FEATURES_OK.
func (c *Core) SetDriverFeatures(sel, v uint32) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.Status()&StatusFeaturesOK != 0 {
		c.complain("features written after FEATURES_OK")
		return
	}
	if sel > 1 {
		return
	}
	shift := 32 * sel
	c.features = c.features&^(0xFFFF_FFFF<<shift) | uint64(v)<<shift
}

func word(v uint64, sel uint32) uint32 {
	if sel > 1 {
		return 0
	}
	return uint32(v >> (32 * sel))
}

// Status is the device status (section 2.1).
func (c *Core) Status() uint8 { return uint8(c.status.Load()) }

// SetStatus is the driver's write to the device status. 0 resets the device; when
// it returns the device is at rest. Bits are only ever added: a driver that clears
// one is ignored. FEATURES_OK is refused for features that were not offered, and
// DRIVER_OK without it.
func (c *Core) SetStatus(v uint8) {
	c.mu.Lock()
	defer c.mu.Unlock()
	old := c.Status()
	if v == 0 {
		c.reset()
		return
	}
	if c.closed {
		return
	}
	if old&^v&^StatusNeedsReset != 0 {
		c.complain("status bits taken back without a reset")
	}
	added := v &^ old &^ StatusNeedsReset
	if added&StatusFeaturesOK != 0 && !c.featuresFit() {
		c.complain("features accepted that were not offered, or no VIRTIO_F_VERSION_1")
		added &^= StatusFeaturesOK
	}
	start := added&StatusDriverOK != 0
	if start && (old|added)&StatusFeaturesOK == 0 {
		c.complain("DRIVER_OK without FEATURES_OK")
		added, start = added&^StatusDriverOK, false
	}
	c.status.Or(uint32(added))
	if start {
		c.activate()
	}
}

func (c *Core) featuresFit() bool {
	return c.features&^c.offered() == 0 && c.features>>FeatureVersion1&1 != 0
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

func (c *Core) makeQueue(n int) (*queue.Queue, error) {
	r := &c.regs[n]
	return queue.New(c.cfg.Memory, queue.Config{
		Index: n, Size: r.Size,
		Desc: r.Addr[PartDesc], Driver: r.Addr[PartDriver], Device: r.Addr[PartDevice],
		EventIdx: c.features>>FeatureEventIdx&1 != 0, Indirect: c.features>>FeatureIndirectDesc&1 != 0,
		Kick: c.cfg.Kicks[n], Interrupt: func() { c.cfg.Interrupt.Queue(n) }, Broken: c.needsReset,
	})
}

// needsReset tells the driver that only a reset helps (section 2.1.2). It takes no
// lock: queues call it from their owners, whom a reset waits for.
func (c *Core) needsReset(err error) {
	old := c.status.Or(StatusNeedsReset)
	if old&StatusNeedsReset != 0 {
		return
	}
	c.cfg.Log.Warn("virtio device needs a reset", "device", c.cfg.Device.Type(), "error", err)
	if old&StatusDriverOK != 0 {
		coreInterrupt{c}.Config()
	}
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

// NumQueues is the number of queues.
func (c *Core) NumQueues() int { return len(c.regs) }

// Queue reads the registers of queue n; zero for a queue that does not exist.
func (c *Core) Queue(n int) QueueRegs {
	c.mu.Lock()
	defer c.mu.Unlock()
	if n < 0 || n >= len(c.regs) {
		return QueueRegs{}
	}
	return c.regs[n]
}

// writable gives queue n's registers if the driver may still write them.
func (c *Core) writable(n int) *QueueRegs {
	if n < 0 || n >= len(c.regs) {
		c.complain("registers of a queue that does not exist written")
		return nil
	}
	ringReset := c.active && c.queues[n] == nil && c.features>>FeatureRingReset&1 != 0
	if c.Status()&StatusDriverOK != 0 && !ringReset {
		c.complain("queue registers written after DRIVER_OK")
		return nil
	}
	return &c.regs[n]
}

// SetQueueSize sets the number of descriptors. One that is no power of two up to
// the largest size counts as 0, with which a queue cannot work.
func (c *Core) SetQueueSize(n int, size uint16) {
	c.mu.Lock()
	defer c.mu.Unlock()
	r := c.writable(n)
	if r == nil {
		return
	}
	if r.Enabled {
		c.complain("size of an enabled queue written")
		return
	}
	if size > r.MaxSize || size&(size-1) != 0 {
		size = 0
	}
	r.Size = size
}

// SetQueueAddr sets half of the address of one part.
func (c *Core) SetQueueAddr(n int, part Part, high bool, v uint32) {
	c.mu.Lock()
	defer c.mu.Unlock()
	r := c.writable(n)
	if r == nil || part < 0 || part >= numParts {
		return
	}
	if r.Enabled {
		c.complain("address of an enabled queue written")
		return
	}
	a := &r.Addr[part]
	if high {
		*a = *a&0xFFFF_FFFF | uint64(v)<<32
	} else {
		*a = *a&^0xFFFF_FFFF | uint64(v)
	}
}

// SetQueueEnabled enables a queue; on MMIO a driver can also take that back before
// DRIVER_OK.
func (c *Core) SetQueueEnabled(n int, on bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	r := c.writable(n)
	if r == nil {
		return
	}
	r.Enabled = on
	if !on || !c.active {
		return
	}
	// After a reset of this ring alone.
	q, err := c.makeQueue(n)
	if err == nil {
		c.queues[n] = q
		err = c.cfg.Device.(RingResetter).EnableQueue(n, q)
	}
	if err != nil {
		c.needsReset(err)
	}
}

// ResetQueue resets queue n alone (section 2.6.1), if that was negotiated. When it
// returns the queue's registers have their first values.
func (c *Core) ResetQueue(n int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if n < 0 || n >= len(c.regs) || c.features>>FeatureRingReset&1 == 0 {
		c.complain("ring reset that was not negotiated")
		return
	}
	if c.active && c.queues[n] != nil {
		c.queues[n].Stop()
		c.cfg.Device.(RingResetter).ResetQueue(n)
		c.past[n] = c.past[n].Plus(c.queues[n].Counters())
		c.queues[n] = nil
	}
	size := c.regs[n].MaxSize
	c.regs[n] = QueueRegs{MaxSize: size, Size: size}
}

// Generation changes when the configuration space does (section 2.5).
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
