package vsock

import (
	"errors"
	"fmt"
	"log/slog"
	"sync"

	"golang.org/x/sys/unix"

	"github.com/gureum/gureum/kvm"
	"github.com/gureum/gureum/virtio"
	"github.com/gureum/gureum/virtio/queue"
	"github.com/gureum/gureum/virtio/vhost"
)

// DefaultVhost is the kernel's vhost-vsock device.
const DefaultVhost = "/dev/vhost-vsock"

// Requests of linux/vhost.h.
const (
	reqSetGuestCID = 0x4008af60 // VHOST_VSOCK_SET_GUEST_CID
	reqSetRunning  = 0x4004af61 // VHOST_VSOCK_SET_RUNNING
)

// vhostFeatures are those that vhost-vsock has to know of.
const vhostFeatures = 1<<virtio.FeatureIndirectDesc | 1<<virtio.FeatureEventIdx | 1<<virtio.FeatureVersion1

var errVhostRing = errors.New("vhost-vsock found the ring broken")

// kernelRings are the two packet queues in the hands of vhost-vsock. The event queue
// stays here and is never used, as nothing can happen to connections but a reset.
type kernelRings struct {
	dev    *vhost.Device
	act    virtio.Activation
	events []*kvm.EventFD // of ours
	wg     sync.WaitGroup
}

// activateKernel hands the queues over to the kernel.
func (d *Device) activateKernel(a virtio.Activation) error {
	dev, err := vhost.Open(d.cfg.VhostPath)
	if err != nil {
		return fmt.Errorf("vsock: %w: load the module vhost_vsock, or leave vhost out", err)
	}
	k := &kernelRings{dev: dev, act: a}
	if err := k.start(d.cid); err != nil {
		k.close()
		return fmt.Errorf("vsock: %w", err)
	}
	d.mu.Lock()
	d.kernel = k
	d.mu.Unlock()
	return nil
}

func (k *kernelRings) start(cid uint64) error {
	wanted := k.act.Features & vhostFeatures
	offered, err := k.dev.Features()
	if err != nil {
		return err
	}
	if missing := wanted &^ offered; missing != 0 {
		return fmt.Errorf("vhost-vsock lacks features %#x", missing)
	}
	if err := k.dev.SetFeatures(wanted); err != nil {
		return err
	}
	if err := k.dev.SetMemory(k.act.Memory); err != nil {
		return err
	}
	for n, q := range [...]*queue.Queue{k.act.Queues[queueRX], k.act.Queues[queueTX]} {
		call, err := k.callEvent(n)
		if err != nil {
			return err
		}
		broken, err := k.event(func() { _ = q.Fail(errVhostRing) })
		if err != nil {
			return err
		}
		if err := k.dev.SetRing(n, q, k.act.Memory, call.FD(), broken.FD()); err != nil {
			return err
		}
	}
	if err := setCID(k.dev.FD(), cid); err != nil {
		if errors.Is(err, unix.EADDRINUSE) {
			return fmt.Errorf("CID %d is another machine's: give a different one", cid)
		}
		return fmt.Errorf("VHOST_VSOCK_SET_GUEST_CID: %w", err)
	}
	return k.setRunning(1)
}

func (k *kernelRings) setRunning(on int) error {
	if err := unix.IoctlSetPointerInt(k.dev.FD(), reqSetRunning, on); err != nil {
		return fmt.Errorf("VHOST_VSOCK_SET_RUNNING: %w", err)
	}
	return nil
}

// callEvent is what the kernel signals to interrupt the driver: the transport's own
// eventfd, or one that is listened to here.
func (k *kernelRings) callEvent(n int) (*kvm.EventFD, error) {
	if t, ok := k.act.Interrupt.(virtio.EventInterrupt); ok {
		if e := t.QueueEvent(n); e != nil {
			return e, nil
		}
	}
	return k.event(func() { k.act.Interrupt.Queue(n) })
}

// event makes an eventfd and a goroutine that calls f at each signal.
func (k *kernelRings) event(f func()) (*kvm.EventFD, error) {
	e, err := kvm.NewEventFD()
	if err != nil {
		return nil, err
	}
	k.events = append(k.events, e)
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

// close takes the queues back: the kernel is done with them when it returns.
func (k *kernelRings) close() {
	err := k.setRunning(0)
	err = errors.Join(err, k.dev.Close())
	for _, e := range k.events {
		err = errors.Join(err, e.Close())
	}
	k.wg.Wait()
	if err != nil {
		slog.Warn("vsock: end vhost", "error", err)
	}
}
