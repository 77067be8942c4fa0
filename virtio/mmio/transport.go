package mmio

import (
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"

	"github.com/gureum/gureum/guest/memory"
	"github.com/gureum/gureum/kvm"
	"github.com/gureum/gureum/virtio"
)

// Config says what a transport carries and where the guest finds it.
type Config struct {
	// Device is what the transport carries. It belongs to the transport, which
	// closes it.
	Device virtio.Device
	// Memory is the guest's RAM.
	Memory *memory.Memory
	// VM is where doorbells and interrupts are wired.
	VM VM
	// Base is the GPA of the registers, a multiple of 256.
	Base uint64
	// GSI is the device's own interrupt, edge triggered.
	GSI uint32
	// Log hears of drivers that break rules; nil is slog.Default.
	Log *slog.Logger
}

// VM is what a transport asks of KVM; *kvm.VM is one.
type VM interface {
	IOEventFD(kvm.IOEventFD) error
	RemoveIOEventFD(kvm.IOEventFD) error
	IRQFD(e *kvm.EventFD, gsi uint32) error
	RemoveIRQFD(e *kvm.EventFD, gsi uint32) error
}

// Transport is one device's registers. Read and Write are for the MMIO bus.
type Transport struct {
	cfg   Config
	core  *virtio.Core
	kicks []*kvm.EventFD
	irq   *kvm.EventFD
	// doorbells are the ioeventfds that are installed.
	doorbells []kvm.IOEventFD
	wired     bool // the irqfd is installed

	// image holds what the guest reads from the registers, word by word. It is
	// brought up to date by whatever changes it, so that a read needs no lock.
	image []atomic.Uint32

	mu        sync.Mutex // guards what follows, and orders writes of registers
	deviceSel uint32
	driverSel uint32
	queueSel  uint32
}

// New makes a transport with its doorbells and its interrupt. On error nothing is
// left, but the device is not closed.
func New(cfg Config) (*Transport, error) {
	t := &Transport{cfg: cfg, image: make([]atomic.Uint32, regConfig/4)}
	if err := t.wire(); err != nil {
		return nil, errors.Join(fmt.Errorf("virtio-mmio device at %#x: %w", cfg.Base, err), t.unwire())
	}
	t.core = virtio.NewCore(virtio.CoreConfig{
		Device: cfg.Device, Memory: cfg.Memory, Kicks: t.kicks, Interrupt: interrupt{t}, Log: cfg.Log,
	})
	t.image[regMagic/4].Store(magic)
	t.image[regVersion/4].Store(version)
	t.image[regDeviceID/4].Store(cfg.Device.Type())
	t.image[regVendorID/4].Store(vendorID)
	// There is no shared memory region: lengths and addresses of all ones (4.2.2).
	for _, reg := range [...]int{regSHMLenLow, regSHMLenHigh, regSHMBaseLow, regSHMBaseHigh} {
		t.image[reg/4].Store(1<<32 - 1)
	}
	// Each interrupt may be about used buffers, and a driver that finds none loses
	// little. So nobody has to set the bit when an interrupt is raised, which lets
	// an irqfd or vhost raise it alone.
	t.image[regInterruptStatus/4].Store(interruptQueue)
	t.refresh()
	return t, nil
}

// wire makes the eventfds and binds them to KVM.
func (t *Transport) wire() error {
	var err error
	if t.irq, err = kvm.NewEventFD(); err != nil {
		return err
	}
	if err := t.cfg.VM.IRQFD(t.irq, t.cfg.GSI); err != nil {
		return err
	}
	t.wired = true
	for n := range t.cfg.Device.QueueSizes() {
		kick, err := kvm.NewEventFD()
		if err != nil {
			return err
		}
		t.kicks = append(t.kicks, kick)
		bell := kvm.IOEventFD{Event: kick, Addr: t.cfg.Base + regQueueNotify, Len: 4, Match: true, Data: uint64(n)}
		if err := t.cfg.VM.IOEventFD(bell); err != nil {
			return err
		}
		t.doorbells = append(t.doorbells, bell)
	}
	return nil
}

// unwire undoes what wire did, in whole or in part.
func (t *Transport) unwire() error {
	var errs []error
	for _, bell := range t.doorbells {
		errs = append(errs, t.cfg.VM.RemoveIOEventFD(bell))
	}
	if t.wired {
		errs = append(errs, t.cfg.VM.RemoveIRQFD(t.irq, t.cfg.GSI))
	}
	for _, kick := range t.kicks {
		errs = append(errs, kick.Close())
	}
	if t.irq != nil {
		errs = append(errs, t.irq.Close())
	}
	return errors.Join(errs...)
}

// Name is the device's name in messages of the bus.
func (t *Transport) Name() string { return "virtio-mmio" }

// Core is the half of the transport that all transports share.
func (t *Transport) Core() *virtio.Core { return t.core }

// Stop ends the device's work: nothing touches guest memory when it returns. The
// virtual CPUs have stopped.
func (t *Transport) Stop() { t.core.Stop() }

// Close stops and closes the device, and takes doorbells and interrupt back.
func (t *Transport) Close() error {
	return errors.Join(t.core.Close(), t.unwire())
}

// interrupt is how the device reaches the driver.
type interrupt struct{ t *Transport }

// Config implements virtio.Interrupt. It takes no lock: it may be called by a
// device that a register write waits for.
func (i interrupt) Config() {
	i.t.refreshShared()
	i.t.image[regInterruptStatus/4].Or(interruptConfig)
	i.signal()
}

// Queue implements virtio.Interrupt.
func (i interrupt) Queue(int) { i.signal() }

// QueueEvent implements virtio.EventInterrupt.
func (i interrupt) QueueEvent(int) *kvm.EventFD { return i.t.irq }

// signal raises the interrupt. It fails only once the eventfd is closed, when
// there is no guest any more.
func (i interrupt) signal() { _ = i.t.irq.Signal() }
