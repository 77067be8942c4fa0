package net

import (
	"sync"
	"sync/atomic"
	"time"

	"github.com/gureum/gureum/virtio"
	"github.com/gureum/gureum/virtio/queue"
)

// running is a device between Activate and Reset.
type running struct {
	d        *Device
	act      virtio.Activation
	kernel   *kernelPairs // nil if the frames go through here
	warnOnce [3]sync.Once

	mu     sync.Mutex
	owners []*owner // by the queue's number; nil without one
}

// Activate starts a goroutine for each queue that the driver enabled.
func (d *Device) Activate(a virtio.Activation) error {
	r := &running{d: d, act: a, owners: make([]*owner, len(d.sizes))}
	if err := d.cfg.Backend.SetPairs(1); err != nil {
		return err
	}
	if err := d.setOffloads(guestOffloads(a.Features)); err != nil {
		return err
	}
	if err := d.cfg.Backend.SetFilter(Filter{All: true}); err != nil {
		return err
	}
	d.active.Store(1)
	// SetLink and Announce see a device that runs wholly or not at all.
	d.mu.Lock()
	defer d.mu.Unlock()
	if err := r.accelerate(); err != nil {
		return err
	}
	d.running = r
	for n, q := range a.Queues {
		if q != nil {
			r.own(n, q)
		}
	}
	return nil
}

// setOffloads says what frames to the guest may make use of.
func (d *Device) setOffloads(offloads uint32) error {
	return d.cfg.Backend.SetOffloads(offloads)
}

// pairCount is the number of pairs that the driver knows: without MQ the control
// queue follows the first (section 5.1.2).
func (r *running) pairCount() int {
	if !r.act.Has(FeatureMQ) {
		return 1
	}
	return r.d.pairs
}

// own starts the goroutine of queue n, unless the kernel has it.
func (r *running) own(n int, q *queue.Queue) {
	o := &owner{running: r, pair: n / 2, q: q}
	var work func()
	switch control := 2 * r.pairCount(); {
	case n == control && r.act.Has(FeatureCtrlVQ):
		work = newController(o).run
	case n >= control || r.kernel != nil:
		return
	case n%2 == 0:
		work = newReceiver(o).run
	default:
		work = newTransmitter(o).run
	}
	r.mu.Lock()
	r.owners[n] = o
	r.mu.Unlock()
	o.done.Go(work)
}

// disown ends the goroutine of queue n.
func (r *running) disown(n int) {
	r.mu.Lock()
	o := r.owners[n]
	r.owners[n] = nil
	r.mu.Unlock()
	if o == nil {
		return
	}
	o.stopped.Store(true)
	o.q.Stop()
	if n < 2*r.d.pairs {
		r.d.cfg.Backend.Wake(n / 2)
	}
	o.done.Wait()
}

// Reset ends the goroutines; frames that were under way are lost.
func (d *Device) Reset() {
	d.mu.Lock()
	r := d.running
	d.running, d.announce, d.mac = nil, false, d.cfg.MAC
	d.mu.Unlock()
	if r == nil {
		return
	}
	if r.kernel != nil {
		if err := r.kernel.close(); err != nil {
			d.log.Warn("stop vhost-net", "error", err)
		}
	}
	for n := range r.owners {
		r.disown(n)
	}
}

// ResetQueue ends the work on one queue (section 2.6.1).
func (d *Device) ResetQueue(n int) {
	d.mu.Lock()
	r := d.running
	d.mu.Unlock()
	if r == nil {
		return
	}
	r.disown(n)
	d.mu.Lock()
	defer d.mu.Unlock()
	if r.kernel != nil {
		r.kernel.resetRing(n)
	}
}

// EnableQueue goes on with a queue that was reset.
func (d *Device) EnableQueue(n int, q *queue.Queue) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	r := d.running
	if r == nil {
		return nil
	}
	if r.kernel != nil && n < 2*r.pairCount() {
		return r.kernel.enableRing(n, q)
	}
	r.own(n, q)
	return nil
}

// wake makes the owners of receive and transmit queues look at open again.
func (r *running) wake() {
	for i := range r.d.pairs {
		r.d.cfg.Backend.Wake(i)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, o := range r.owners[:2*r.d.pairs] {
		if o != nil {
			o.q.Kick()
		}
	}
}

func (r *running) linkChanged(up bool) {
	if r.kernel == nil {
		r.wake()
		return
	}
	if err := r.kernel.setLink(up); err != nil {
		r.d.log.Warn("switch the link of vhost-net", "up", up, "error", err)
	}
}

// Kinds of warnings, each of which is given once between two resets: a guest
// must not fill the log.
const (
	warnReceive = iota
	warnSend
	warnHeader
)

func (r *running) warn(kind int, what string, q *queue.Queue, err error) {
	r.warnOnce[kind].Do(func() { r.d.log.Warn(what, "queue", q.Index(), "error", err) })
}

// owner is what the owners of all queues have in common.
type owner struct {
	*running
	pair    int
	q       *queue.Queue
	stopped atomic.Bool
	done    sync.WaitGroup
	timer   *time.Timer // made by the first pause
}

// open tells whether frames may pass.
func (o *owner) open() bool {
	return !o.stopped.Load() && o.d.link.Load() && o.pair < int(o.d.active.Load())
}

// serve calls step until the queue is stopped: again at once, or when step says
// so after the next kick.
func (o *owner) serve(step func() (park bool)) {
	for !step() || o.q.Wait() == nil {
	}
	if o.timer != nil {
		o.timer.Stop()
	}
}

// pause makes a kick come after d, for a goroutine that parks now.
func (o *owner) pause(d time.Duration) {
	if o.timer == nil {
		o.timer = time.AfterFunc(d, o.q.Kick)
		return
	}
	o.timer.Reset(d)
}

// retry is how long a queue rests when the backend fails, as it does when the
// host's interface is gone.
const retry = time.Second
