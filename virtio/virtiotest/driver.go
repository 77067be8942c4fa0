// Package virtiotest is the driver's side of virtio for tests of devices: guest
// memory, negotiation, rings, buffers and interrupts, without a machine. It can
// keep the rules, and break each of them.
//
//	d := virtiotest.New(t, device)
//	d.Start(virtiotest.AllFeatures)
//	q := d.Queue(0)
//	r := q.Submit([][]byte{header}, 512, 1) // readable parts, lengths of writable ones
//	q.Kick()
//	written := q.Wait(r)
//	status := r.Writable(1)
//
// Only tests import it.
package virtiotest

import (
	"io"
	"log/slog"
	"sync/atomic"
	"testing"
	"time"

	"github.com/gureum/gureum/guest/memory"
	"github.com/gureum/gureum/kvm"
	"github.com/gureum/gureum/virtio"
)

// AllFeatures accepts whatever the device offers.
const AllFeatures = ^uint64(0)

// Timeout is how long waits last before the test fails: long enough for a machine
// that is busy with other things.
const Timeout = 30 * time.Second

// memorySize of the guest in bytes.
const memorySize = 64 << 20

// Where things lie in the guest's memory.
const (
	ringBase   = 1 << 20
	bufferBase = 8 << 20
)

// Driver drives one device through virtio.Core, as a transport and a guest would.
type Driver struct {
	// Memory is the guest's RAM; a test may write anything anywhere.
	Memory *memory.Memory
	// Core is the device's transport half; a test may call it in any order.
	Core *virtio.Core

	t       testing.TB
	device  virtio.Device
	kicks   []*kvm.EventFD
	queues  []*Queue
	irq     *interrupts
	nextBuf uint64
	closed  bool
}

// New makes a driver for a device that has been reset. The device is stopped and
// closed at the end of the test.
func New(t testing.TB, device virtio.Device) *Driver {
	t.Helper()
	return NewLogged(t, device, io.Discard)
}

// NewLogged is New, with the Core's log lines going to w.
func NewLogged(t testing.TB, device virtio.Device, w io.Writer) *Driver {
	t.Helper()
	d, err := build(device, slog.New(slog.NewTextHandler(w, nil)))
	if err != nil {
		t.Fatal(err)
	}
	d.t = t
	t.Cleanup(d.Close)
	return d
}

// build makes a driver without a test, for Hammer.
func build(device virtio.Device, log *slog.Logger) (*Driver, error) {
	m, err := memory.New(memory.Config{Size: memorySize})
	if err != nil {
		return nil, err
	}
	n := len(device.QueueSizes())
	d := &Driver{Memory: m, device: device, nextBuf: bufferBase}
	d.irq = &interrupts{queues: make([]atomic.Int64, n), events: make([]*kvm.EventFD, n), wake: make(chan struct{}, 1)}
	for i := range n {
		kick, err := kvm.NewEventFD()
		if err != nil {
			return nil, err
		}
		d.kicks = append(d.kicks, kick)
		if d.irq.events[i], err = kvm.NewEventFD(); err != nil {
			return nil, err
		}
	}
	d.Core = virtio.NewCore(virtio.CoreConfig{Device: device, Memory: m, Kicks: d.kicks, Interrupt: d.irq, Log: log})
	return d, nil
}

// Close stops and closes the device. The test's end does it as well.
func (d *Driver) Close() {
	if d.closed {
		return
	}
	d.closed = true
	if err := d.Core.Close(); err != nil && d.t != nil {
		d.t.Errorf("close the device: %v", err)
	}
	for i := range d.kicks {
		_ = d.kicks[i].Close()
		_ = d.irq.events[i].Close()
	}
	if err := d.Memory.Close(); err != nil && d.t != nil {
		d.t.Errorf("close guest memory: %v", err)
	}
}

// Start negotiates those of features that the device offers, sets up all queues at
// their largest size, and goes to DRIVER_OK.
func (d *Driver) Start(features uint64) {
	d.t.Helper()
	d.Negotiate(features)
	d.SetUpQueues()
	d.Core.SetStatus(d.Core.Status() | virtio.StatusDriverOK)
	if s := d.Core.Status(); s&virtio.StatusDriverOK == 0 || s&virtio.StatusNeedsReset != 0 {
		d.t.Fatalf("device status is %#x after DRIVER_OK", s)
	}
}

// Negotiate resets the device and goes as far as FEATURES_OK. VIRTIO_F_VERSION_1 is
// always accepted.
func (d *Driver) Negotiate(features uint64) {
	d.Core.SetStatus(0)
	d.Core.SetStatus(virtio.StatusAcknowledge)
	d.Core.SetStatus(virtio.StatusAcknowledge | virtio.StatusDriver)
	features |= 1 << virtio.FeatureVersion1
	for sel := range uint32(2) {
		d.Core.SetDriverFeatures(sel, uint32(features>>(32*sel))&d.Core.DeviceFeatures(sel))
	}
	d.Core.SetStatus(virtio.StatusAcknowledge | virtio.StatusDriver | virtio.StatusFeaturesOK)
}

// SetUpQueues gives each queue fresh rings and enables it.
func (d *Driver) SetUpQueues() {
	d.queues = nil
	base := uint64(ringBase)
	for n := range d.Core.NumQueues() {
		q := newQueue(d, n, d.Core.Queue(n).MaxSize, base)
		base = q.end
		q.enable()
		d.queues = append(d.queues, q)
	}
}

// RenewQueue gives queue n fresh rings and enables it, as after a reset of this
// ring alone.
func (d *Driver) RenewQueue(n int) {
	q := newQueue(d, n, d.Core.Queue(n).MaxSize, d.queues[n].Desc)
	q.enable()
	d.queues[n] = q
}

// Reset resets the device, as a driver does that is unloaded.
func (d *Driver) Reset() { d.Core.SetStatus(0) }

// Queue is the driver's side of queue n, once Start or SetUpQueues has been called.
func (d *Driver) Queue(n int) *Queue { return d.queues[n] }

// Alloc gives n bytes of guest memory, zeroed, that nothing else uses, and their
// GPA. When the memory is used up it begins again from the start.
func (d *Driver) Alloc(n int) (uint64, []byte) {
	const align = 16
	size := (uint64(n) + align - 1) &^ (align - 1)
	if d.nextBuf+size > memorySize {
		d.nextBuf = bufferBase
	}
	gpa := d.nextBuf
	d.nextBuf += size
	view, err := d.Memory.Slice(gpa, uint64(n))
	if err != nil {
		d.t.Fatalf("guest buffer of %d bytes: %v", n, err)
	}
	clear(view)
	return gpa, view
}

// ConfigInterrupts is how often the device told the driver of a changed
// configuration.
func (d *Driver) ConfigInterrupts() int { return int(d.irq.config.Load()) }

// Interrupts is how often queue n raised its interrupt.
func (d *Driver) Interrupts(n int) int { return int(d.irq.queues[n].Load()) }

// Eventually waits until cond holds and fails the test if it never does.
func (d *Driver) Eventually(what string, cond func() bool) {
	d.t.Helper()
	for end := time.Now().Add(Timeout); !cond(); {
		if time.Now().After(end) {
			d.t.Fatalf("waited %s in vain: %s", Timeout, what)
		}
		time.Sleep(100 * time.Microsecond)
	}
}

// interrupts counts; it implements virtio.EventInterrupt.
type interrupts struct {
	config atomic.Int64
	queues []atomic.Int64
	events []*kvm.EventFD
	wake   chan struct{} // has a token after an interrupt
}

func (i *interrupts) Config() { i.config.Add(1) }

func (i *interrupts) Queue(n int) {
	i.queues[n].Add(1)
	select {
	case i.wake <- struct{}{}:
	default:
	}
}

func (i *interrupts) QueueEvent(n int) *kvm.EventFD { return i.events[n] }
