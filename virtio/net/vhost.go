package net

import (
	"errors"
	"fmt"
	"sync"
	"sync/atomic"

	"github.com/gureum/gureum/kvm"
	"github.com/gureum/gureum/virtio"
	"github.com/gureum/gureum/virtio/queue"
	"github.com/gureum/gureum/virtio/vhost"
)

// VhostMode says whether the kernel is to move the frames.
type VhostMode int

// The modes. What the guest sees is the same in each.
const (
	VhostAuto VhostMode = iota // when the device opens and the backend is a tap
	VhostOff                   // never
	VhostOn                    // or else the device does not start
)

// DefaultVhost is the kernel's vhost-net device.
const DefaultVhost = "/dev/vhost-net"

// vhostFeatures are those that vhost-net has to know of; it refuses the others,
// which are this device's or the tap's affair.
const vhostFeatures = 1<<FeatureMergeableRX | 1<<virtio.FeatureIndirectDesc |
	1<<virtio.FeatureEventIdx | 1<<virtio.FeatureVersion1

// kernelPairs are a device's pairs in the hands of vhost-net.
type kernelPairs struct {
	r     *running
	wg    sync.WaitGroup
	pairs []*kernelPair // nil where the driver enabled no queues
	up    bool
}

// kernelPair is one vhost-net device: rings 0 and 1 are receive and transmit.
type kernelPair struct {
	dev   *vhost.Device
	tap   int // descriptor
	rings [2]kernelRing
}

type kernelRing struct {
	q      atomic.Pointer[queue.Queue] // nil while it is reset
	call   *kvm.EventFD                // interrupts, if they come by way of us
	broken *kvm.EventFD
}

var (
	errNoTap     = errors.New("the backend is no tap")
	errVhostRing = errors.New("vhost-net found the ring broken")
)

// accelerate hands the pairs over to the kernel if it is to have them and can.
func (r *running) accelerate() error {
	mode := r.d.cfg.Vhost
	if mode == VhostOff || r.d.rxLimit.on() || r.d.txLimit.on() {
		return nil
	}
	err := r.handOver()
	if err == nil || mode == VhostOn {
		return err
	}
	r.d.log.Debug("frames are moved without vhost-net", "reason", err)
	return nil
}

func (r *running) handOver() error {
	taps, ok := r.d.cfg.Backend.(descriptors)
	if !ok {
		return errNoTap
	}
	k := &kernelPairs{r: r, pairs: make([]*kernelPair, r.pairCount())}
	for i := range k.pairs {
		rx, tx := r.act.Queues[2*i], r.act.Queues[2*i+1]
		if rx == nil || tx == nil {
			continue // vhost-net wants both
		}
		if err := k.add(i, rx, tx, taps.FD(i)); err != nil {
			return errors.Join(err, k.close())
		}
	}
	if err := k.setLink(r.d.link.Load()); err != nil {
		return errors.Join(err, k.close())
	}
	r.kernel = k
	return nil
}

// add prepares one pair.
func (k *kernelPairs) add(i int, rx, tx *queue.Queue, tap int) error {
	dev, err := vhost.Open(k.r.d.cfg.VhostPath)
	if err != nil {
		return err
	}
	p := &kernelPair{dev: dev, tap: tap}
	k.pairs[i] = p
	offered, err := dev.Features()
	if err != nil {
		return err
	}
	wanted := k.r.act.Features & vhostFeatures
	if missing := wanted &^ offered; missing != 0 {
		return fmt.Errorf("vhost-net lacks features %#x", missing)
	}
	if err := dev.SetFeatures(wanted); err != nil {
		return err
	}
	if err := dev.SetMemory(k.r.act.Memory); err != nil {
		return err
	}
	for n, q := range [...]*queue.Queue{rx, tx} {
		if err := k.setRing(p, n, q); err != nil {
			return err
		}
	}
	return nil
}

// setRing gives the kernel a ring, with the eventfds that the ring had before.
func (k *kernelPairs) setRing(p *kernelPair, n int, q *queue.Queue) error {
	ring := &p.rings[n]
	ring.q.Store(q)
	call, err := k.callEvent(ring, q.Index())
	if err != nil {
		return err
	}
	if ring.broken == nil {
		ring.broken, err = k.event(func() {
			if q := ring.q.Load(); q != nil {
				_ = q.Fail(errVhostRing)
			}
		})
		if err != nil {
			return err
		}
	}
	return p.dev.SetRing(n, q, k.r.act.Memory, call.FD(), ring.broken.FD())
}

// callEvent is what the kernel signals to interrupt the driver: the transport's
// own eventfd, or one that is listened to here.
func (k *kernelPairs) callEvent(ring *kernelRing, index int) (*kvm.EventFD, error) {
	if t, ok := k.r.act.Interrupt.(virtio.EventInterrupt); ok {
		if e := t.QueueEvent(index); e != nil {
			return e, nil
		}
	}
	if ring.call != nil {
		return ring.call, nil
	}
	e, err := k.event(func() { k.r.act.Interrupt.Queue(index) })
	ring.call = e
	return e, err
}

// event makes an eventfd and a goroutine that calls f at each signal.
func (k *kernelPairs) event(f func()) (*kvm.EventFD, error) {
	e, err := kvm.NewEventFD()
	if err != nil {
		return nil, err
	}
	k.wg.Go(func() {
		for {
			if _, err := e.Read(); err != nil {
				return
			}
			f()
		}
	})
	return e, nil
}

// setLink starts or stops the kernel's work.
func (k *kernelPairs) setLink(up bool) error {
	k.up = up
	for _, p := range k.pairs {
		if p == nil {
			continue
		}
		for n := range p.rings {
			if err := p.start(n, up); err != nil {
				return err
			}
		}
	}
	return nil
}

func (p *kernelPair) start(ring int, on bool) error {
	fd := -1
	if on && p.rings[ring].q.Load() != nil {
		fd = p.tap
	}
	return p.dev.SetBackend(ring, fd)
}

// resetRing takes ring n of the device back.
func (k *kernelPairs) resetRing(n int) {
	if n/2 >= len(k.pairs) || k.pairs[n/2] == nil {
		return
	}
	p := k.pairs[n/2]
	p.rings[n%2].q.Store(nil)
	if err := p.start(n%2, false); err != nil {
		k.r.d.log.Warn("reset a ring of vhost-net", "queue", n, "error", err)
	}
}

// enableRing gives ring n to the kernel again.
func (k *kernelPairs) enableRing(n int, q *queue.Queue) error {
	p := k.pairs[n/2]
	if p == nil {
		return nil
	}
	if err := k.setRing(p, n%2, q); err != nil {
		return err
	}
	return p.start(n%2, k.up)
}

// close takes the rings back; the kernel is done with them when it returns.
func (k *kernelPairs) close() error {
	var errs []error
	for _, p := range k.pairs {
		if p == nil {
			continue
		}
		for n := range p.rings {
			errs = append(errs, p.dev.SetBackend(n, -1))
		}
		errs = append(errs, p.dev.Close())
		for n := range p.rings {
			for _, e := range [...]*kvm.EventFD{p.rings[n].call, p.rings[n].broken} {
				if e != nil {
					errs = append(errs, e.Close())
				}
			}
		}
	}
	k.wg.Wait()
	return errors.Join(errs...)
}
