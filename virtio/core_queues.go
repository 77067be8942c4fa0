package virtio

import (
	"fmt"

	"github.com/gureum/gureum/virtio/queue"
)

// RingResetter is a device whose queues can be reset one by one
// (VIRTIO_F_RING_RESET, section 2.6.1). The transport calls it for active devices.
type RingResetter interface {
	// ResetQueue ends the device's work on queue n, as Reset does for all: its
	// goroutine has ended when it returns, or it would take the doorbell's next
	// signal from the queue that follows.
	ResetQueue(n int)
	// EnableQueue goes on with a queue that the driver has set up anew.
	EnableQueue(n int, q *queue.Queue) error
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
	if c.Status()&StatusNeedsReset != 0 {
		ringReset = false // only a reset of the device helps (section 2.1.2)
	}
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
	if !on || !c.active {
		r.Enabled = on
		return
	}
	// After a reset of this ring alone.
	q, err := c.makeQueue(n)
	if err == nil {
		err = c.cfg.Device.(RingResetter).EnableQueue(n, q)
	}
	if err != nil {
		c.needsReset(err)
		return
	}
	c.queues[n], r.Enabled = q, true
}

// ResetQueue resets queue n alone (section 2.6.1), if that was negotiated. When it
// returns the queue's registers have their first values.
func (c *Core) ResetQueue(n int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if n < 0 || n >= len(c.regs) || c.features>>FeatureRingReset&1 == 0 || c.Status()&StatusDriverOK == 0 {
		c.complain("ring reset that was not negotiated, or before DRIVER_OK")
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

// makeQueue makes queue n of what the driver wrote into its registers. The parts of
// all queues of a device lie apart: no driver needs it otherwise, and two queues on
// the same ring would each undo what the other has checked.
func (c *Core) makeQueue(n int) (*queue.Queue, error) {
	r := &c.regs[n]
	q, err := queue.New(c.cfg.Memory, queue.Config{
		Index: n, Size: r.Size, MaxChain: r.MaxSize,
		Desc: r.Addr[PartDesc], Driver: r.Addr[PartDriver], Device: r.Addr[PartDevice],
		EventIdx: c.features>>FeatureEventIdx&1 != 0, Indirect: c.features>>FeatureIndirectDesc&1 != 0,
		Kick: c.cfg.Kicks[n], Interrupt: func() { c.cfg.Interrupt.Queue(n) }, Broken: c.needsReset,
	})
	if err != nil {
		return nil, err
	}
	for _, o := range c.queues {
		if o != nil && o.Overlaps(q) {
			return nil, &queue.Error{Queue: n, What: fmt.Sprintf("its rings overlap those of queue %d", o.Index())}
		}
	}
	return q, nil
}
