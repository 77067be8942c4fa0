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
	// Pages is the GPA of the Stride bytes that are the transport's, page aligned.
	// The registers begin Offset bytes in.
	Pages uint64
	// Slot is the number of a KVM memory slot that nobody else uses.
	Slot uint32
	// GSI is the device's own interrupt, edge triggered.
	GSI uint32
	// Log hears of drivers that break rules; nil is slog.Default.
	Log *slog.Logger
}

// VM is what a transport asks of KVM; *kvm.VM is one.
type VM interface {
	IOEventFD(kvm.IOEventFD) error
	RemoveIOEventFD(kvm.IOEventFD) error
	SetMemoryRegion(kvm.MemoryRegion) error
	DeleteMemoryRegion(slot uint32) error
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
	wired     bool         // the irqfd is installed
	acks      *kvm.EventFD // counts acknowledgements, for nobody

	// image holds what the guest reads from the registers, word by word. It is
	// brought up to date by whatever changes it, so that a read needs neither a lock
	// nor an exit: the guest has it as read-only memory, if shown.
	image []atomic.Uint32
	page  *page
	shown bool

	mu        sync.Mutex // guards what follows, and orders writes of registers
	deviceSel uint32
	driverSel uint32
	queueSel  uint32
}

// New makes a transport with its doorbells and its interrupt. On error nothing is
// left, but the device is not closed.
func New(cfg Config) (*Transport, error) {
	t := &Transport{cfg: cfg}
	if err := t.wire(); err != nil {
		return nil, errors.Join(fmt.Errorf("virtio-mmio device at %#x: %w", cfg.Pages, err), t.unwire())
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
	t.show()
	return t, nil
}

// show gives the guest the image as memory. Writes to it still come here. Where KVM
// cannot do that, reads come here as well and are slower.
func (t *Transport) show() {
	err := t.cfg.VM.SetMemoryRegion(kvm.MemoryRegion{
		Slot: t.cfg.Slot, Flags: kvm.MemReadOnly, GPA: t.cfg.Pages, Size: pageSize, HostAddr: t.page.host(),
	})
	t.shown = err == nil
}

// wire makes the eventfds and binds them to KVM.
func (t *Transport) wire() error {
	var err error
	if t.page, err = newPage(); err != nil {
		return fmt.Errorf("map a page: %w", err)
	}
	t.image = t.page.words
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
		if err := t.addDoorbell(kick, regQueueNotify, uint64(n)); err != nil {
			return err
		}
	}
	// A driver acknowledges each interrupt. There is nothing to be done about used
	// buffers, so KVM shall swallow those writes; only changes of the configuration
	// come to Write.
	if t.acks, err = kvm.NewEventFD(); err != nil {
		return err
	}
	return t.addDoorbell(t.acks, regInterruptACK, interruptQueue)
}

// addDoorbell has KVM signal an eventfd when the guest writes value to a register.
func (t *Transport) addDoorbell(e *kvm.EventFD, reg, value uint64) error {
	bell := kvm.IOEventFD{Event: e, Addr: t.cfg.Pages + Offset + reg, Len: 4, Match: true, Data: value}
	if err := t.cfg.VM.IOEventFD(bell); err != nil {
		return err
	}
	t.doorbells = append(t.doorbells, bell)
	return nil
}

// unwire undoes what wire did, in whole or in part.
func (t *Transport) unwire() error {
	var errs []error
	if t.shown {
		errs = append(errs, t.cfg.VM.DeleteMemoryRegion(t.cfg.Slot))
	}
	for _, bell := range t.doorbells {
		errs = append(errs, t.cfg.VM.RemoveIOEventFD(bell))
	}
	if t.wired {
		errs = append(errs, t.cfg.VM.RemoveIRQFD(t.irq, t.cfg.GSI))
	}
	for _, kick := range t.kicks {
		errs = append(errs, kick.Close())
	}
	for _, e := range [...]*kvm.EventFD{t.irq, t.acks} {
		if e != nil {
			errs = append(errs, e.Close())
		}
	}
	if t.page != nil {
		errs = append(errs, t.page.free())
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
