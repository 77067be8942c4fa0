package blk

import (
	"errors"
	"fmt"

	"github.com/gureum/gureum/virtio"
	"github.com/gureum/gureum/virtio/queue"
)

// running is what lives from Activate to Reset.
type running struct {
	d        *Device
	pool     *pool
	lanes    []*lane // one a queue; nil where the driver has none
	discard  bool    // accepted features
	zeroes   bool
	noCache  bool // the driver knows of no write cache
	switches bool // it can switch it
}

var errActive = errors.New("the device is active already")

// Activate implements virtio.Device.
func (d *Device) Activate(a virtio.Activation) error {
	run := &running{
		d:        d,
		lanes:    make([]*lane, d.queues),
		pool:     newPool(&d.backend, d.queues*int(d.queueSize)),
		discard:  a.Has(featDiscard),
		zeroes:   a.Has(featWriteZeroes),
		noCache:  !a.Has(featFlush),
		switches: a.Has(featConfigWCE),
	}
	for n, q := range a.Queues {
		if q == nil || n >= len(run.lanes) {
			continue
		}
		l, err := newLane(run, q)
		if err != nil {
			run.discardLanes()
			return fmt.Errorf("disk %s, queue %d: %w", d.name, n, err)
		}
		run.lanes[n] = l
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.running != nil {
		run.discardLanes()
		return errActive
	}
	d.running, d.interrupt = run, a.Interrupt
	for _, l := range run.lanes {
		if l != nil {
			go l.serve()
		}
	}
	return nil
}

// discardLanes gives up lanes that never served.
func (run *running) discardLanes() {
	for _, l := range run.lanes {
		if l != nil {
			l.end()
		}
	}
}

// Reset implements virtio.Device. It waits for what the disk is at, and forgets
// the rest.
func (d *Device) Reset() {
	d.mu.Lock()
	run := d.running
	d.running, d.interrupt = nil, nil
	d.mu.Unlock()
	if run == nil {
		return
	}
	for _, l := range run.lanes {
		if l != nil {
			l.stop()
		}
	}
	for _, l := range run.lanes {
		if l != nil {
			<-l.gone
		}
	}
	run.pool.stop()
	d.writeback.Store(true)
}

// ResetQueue implements virtio.RingResetter.
func (d *Device) ResetQueue(n int) {
	run := d.active()
	if run == nil || run.lanes[n] == nil {
		return
	}
	run.lanes[n].stop()
	<-run.lanes[n].gone
	run.lanes[n] = nil
}

// EnableQueue implements virtio.RingResetter.
func (d *Device) EnableQueue(n int, q *queue.Queue) error {
	run := d.active()
	if run == nil {
		return fmt.Errorf("disk %s, queue %d: the device is not active", d.name, n)
	}
	l, err := newLane(run, q)
	if err != nil {
		return fmt.Errorf("disk %s, queue %d: %w", d.name, n, err)
	}
	run.lanes[n] = l
	go l.serve()
	return nil
}

// active is what runs. The transport never calls two of Activate, Reset and those
// of a ring at a time.
func (d *Device) active() *running {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.running
}

// limits are what requests are checked against now.
func (run *running) limits() limits {
	return limits{
		capacity: run.d.Capacity(), readOnly: run.d.readOnly,
		discard: run.discard, zeroes: run.zeroes,
	}
}

// through tells that writes must be stable when they are answered: the driver
// cannot flush, or has switched the cache off.
func (run *running) through() bool {
	return run.noCache || run.switches && !run.d.writeback.Load()
}
