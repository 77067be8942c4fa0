package pci

import (
	"encoding/binary"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"

	"github.com/gureum/gureum/devices/pci"
	"github.com/gureum/gureum/guest/memory"
	"github.com/gureum/gureum/kvm"
	"github.com/gureum/gureum/virtio"
)

// Config says what a transport carries.
type Config struct {
	// Device is what the transport carries. It belongs to the transport, which
	// closes it.
	Device virtio.Device
	// Memory is the guest's RAM.
	Memory *memory.Memory
	// VM is where doorbells are wired, Router where interrupts are.
	VM     VM
	Router *pci.Router
	// Log hears of drivers that break rules; nil is slog.Default.
	Log *slog.Logger
}

// VM is what a transport asks of KVM; *kvm.VM is one.
type VM interface {
	IOEventFD(kvm.IOEventFD) error
	RemoveIOEventFD(kvm.IOEventFD) error
}

// Transport is one device as a PCI function. It is the function's pci.Handler.
type Transport struct {
	cfg      Config
	core     *virtio.Core
	function *pci.Function
	msix     *pci.MSIX
	kicks    []*kvm.EventFD
	sink     *kvm.EventFD // what raises no interrupt
	window   int          // offset of the PCI access capability

	// doorbells are the ioeventfds that are installed. The Host orders access.
	doorbells []kvm.IOEventFD

	// Read whenever an interrupt is raised, so without a lock.
	isr          atomic.Uint32
	configVector atomic.Uint32
	queueVectors []atomic.Uint32

	mu        sync.Mutex // guards what follows, and orders writes of registers
	deviceSel uint32
	driverSel uint32
	queueSel  uint16
}

// New makes a transport. On error nothing is left, but the device is not closed.
func New(cfg Config) (*Transport, error) {
	queues := len(cfg.Device.QueueSizes())
	t := &Transport{cfg: cfg, queueVectors: make([]atomic.Uint32, queues)}
	if queues > maxQueues {
		return nil, fmt.Errorf("virtio-pci device with %d queues: at most %d are possible", queues, maxQueues)
	}
	if err := t.make(queues); err != nil {
		return nil, errors.Join(fmt.Errorf("virtio-pci device: %w", err), t.free())
	}
	t.core = virtio.NewCore(virtio.CoreConfig{
		Device: cfg.Device, Memory: cfg.Memory, Kicks: t.kicks, Interrupt: interrupt{t}, Log: cfg.Log,
	})
	t.clear()
	return t, nil
}

// make makes eventfds, the function and its capabilities.
func (t *Transport) make(queues int) error {
	var err error
	if t.sink, err = kvm.NewEventFD(); err != nil {
		return err
	}
	for range queues {
		kick, err := kvm.NewEventFD()
		if err != nil {
			return err
		}
		t.kicks = append(t.kicks, kick)
	}
	kind := t.cfg.Device.Type()
	t.function, err = pci.NewFunction(pci.Identity{
		VendorID: vendorID, DeviceID: uint16(deviceIDBase + kind), Revision: revision, Class: class(kind),
		SubsysVendor: vendorID, SubsysID: subsysID,
	}, [...]pci.BAR{bar: {Size: barSize}, 5: {}}, t)
	if err != nil {
		return err
	}
	t.msix, err = pci.NewMSIX(t.function, t.cfg.Router, queues+1, bar, tableAt, pendingAt, t.cfg.Log)
	if err != nil {
		return err
	}
	return t.addCapabilities(queues)
}

// class is the PCI class code that fits best; drivers go by the device ID.
func class(kind uint32) uint32 {
	switch kind {
	case virtio.TypeNet:
		return 0x020000 // Ethernet controller
	case virtio.TypeBlock, virtio.TypeFS:
		return 0x018000 // mass storage controller
	case virtio.TypeConsole:
		return 0x078000 // communication controller
	case virtio.TypePMEM:
		return 0x058000 // memory controller
	}
	return 0xFF0000 // none of the classes
}

// addCapabilities adds the vendor capabilities (section 4.1.4).
func (t *Transport) addCapabilities(queues int) error {
	var stride [4]byte
	binary.LittleEndian.PutUint32(stride[:], notifyStride)
	for _, c := range [...]struct {
		kind       byte
		at, length uint32
		more       []byte
	}{
		{typeCommon, commonAt, commonSize, nil},
		{typeNotify, notifyAt, uint32(max(queues, 1) * notifyStride), stride[:]},
		{typeISR, isrAt, isrSize, nil},
		{typeDevice, deviceAt, deviceSize, nil},
	} {
		if _, err := t.function.AddCapability(pci.CapVendor, capability(c.kind, c.at, c.length, c.more), nil); err != nil {
			return err
		}
	}
	// The guest chooses place and length, and accesses the data behind them.
	writable := capability(0, 1<<32-1, 1<<32-1, []byte{0xFF, 0xFF, 0xFF, 0xFF})
	writable[0], writable[capBAR-vendorHeader] = 0, 0xFF
	var err error
	t.window, err = t.function.AddCapability(pci.CapVendor, capability(typePCIConfig, 0, 0, make([]byte, capDataSize)), writable)
	return err
}

// capability is struct virtio_pci_cap without its first two bytes.
func capability(kind byte, at, length uint32, more []byte) []byte {
	b := make([]byte, capSize-vendorHeader, capSize-vendorHeader+len(more))
	b[0], b[1], b[capBAR-vendorHeader] = byte(capSize+len(more)), kind, bar
	binary.LittleEndian.PutUint32(b[capOffset-vendorHeader:], at)
	binary.LittleEndian.PutUint32(b[capLength-vendorHeader:], length)
	return append(b, more...)
}

// clear puts the transport's own registers to their values after a reset.
func (t *Transport) clear() {
	t.deviceSel, t.driverSel, t.queueSel = 0, 0, 0
	t.isr.Store(0)
	t.configVector.Store(noVector)
	for i := range t.queueVectors {
		t.queueVectors[i].Store(noVector)
	}
}

// free undoes what make did, in whole or in part.
func (t *Transport) free() error {
	errs := []error{t.silence()}
	if t.msix != nil {
		errs = append(errs, t.msix.Close())
	}
	for _, kick := range t.kicks {
		errs = append(errs, kick.Close())
	}
	if t.sink != nil {
		errs = append(errs, t.sink.Close())
	}
	return errors.Join(errs...)
}

// Function is what is added to the host bridge.
func (t *Transport) Function() *pci.Function { return t.function }

// Core is the half of the transport that all transports share.
func (t *Transport) Core() *virtio.Core { return t.core }

// Stop ends the device's work: nothing touches guest memory when it returns. The
// virtual CPUs have stopped.
func (t *Transport) Stop() { t.core.Stop() }

// Close stops and closes the device, and takes doorbells and interrupts back. The
// virtual CPUs have stopped.
func (t *Transport) Close() error {
	return errors.Join(t.core.Close(), t.free())
}
