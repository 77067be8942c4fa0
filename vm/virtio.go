package vm

import (
	"errors"
	"fmt"
	"strconv"

	"github.com/gureum/gureum/guest/acpi"
	"github.com/gureum/gureum/guest/boot"
	"github.com/gureum/gureum/kvm"
	"github.com/gureum/gureum/virtio"
	"github.com/gureum/gureum/virtio/queue"
)

// A kind of virtio device takes four things:
//
//   - vm/KIND.go: its part of Config as a type of its own, with a check method that
//     checkDevices below calls, and a constructor, func (m *Machine) newKIND()
//     ([]virtio.Device, error), which gives as many devices as the Config asks for;
//   - a line in virtioDevices, and one in checkDevices;
//   - cmd/gureum/cli/KIND.go: func (o *runOptions) addKINDFlags(*pflag.FlagSet),
//     called by newRunCommand, and if need be a check that runOptions.check calls.
//
// Nothing else here knows what a device does. vm/rng.go is the model.
//
// A constructor runs before KVM is opened. It opens what the user named, so that
// its errors are *InputError, and starts nothing. What the machine's methods need
// of a device later is kept in a field of Machine. A device that needs the VM (for
// memory slots, say) has a method AttachVM, see vmAttacher.

// virtioDevices makes the devices that the Config asks for, in the order in which
// the guest finds them. After an error nothing is left open.
func (m *Machine) virtioDevices() ([]virtio.Device, error) {
	var devices []virtio.Device
	for _, kind := range [...]func() ([]virtio.Device, error){
		m.newRNG,
		m.newDisks,
		m.newPMEM,
		m.newShares,
		m.newBalloon,
		m.newConsole,
		m.newNICs,
		m.newVsock,
	} {
		made, err := kind()
		devices = append(devices, made...)
		if err != nil {
			return nil, errors.Join(err, closeDevices(devices))
		}
	}
	return devices, nil
}

// checkDevices checks what the Config says of virtio devices, and fills in
// defaults.
func (c *Config) checkDevices() error {
	if err := c.Transport.check(); err != nil {
		return err
	}
	if err := checkDisks(c); err != nil {
		return err
	}
	if err := checkShares(c); err != nil {
		return err
	}
	if err := checkPMEM(c); err != nil {
		return err
	}
	if err := c.Vsock.check(); err != nil {
		return err
	}
	if err := checkNICs(c); err != nil {
		return err
	}
	if err := c.Terminal.check(); err != nil {
		return err
	}
	if err := c.Balloon.check(c); err != nil {
		return err
	}
	return c.RNG.check()
}

// vmAttacher is a device that needs the VM itself. AttachVM is called once, after
// guest memory has been attached and before any transport exists.
type vmAttacher interface {
	AttachVM(*kvm.VM) error
}

// carrier is a device on its transport.
type carrier interface {
	// Core is where the device's status and counters are.
	Core() *virtio.Core
	// Stop resets the device; nothing of it touches guest memory any more.
	Stop()
	// Close closes the device and gives back what wires it to KVM.
	Close() error
}

// virtioSet is all virtio devices of a machine.
type virtioSet struct {
	devices  []virtio.Device
	layout   virtioLayout
	carriers []carrier // one a device, once attached
}

// virtioLayout is where a transport puts devices. The guest is told of it before
// the transports exist.
type virtioLayout interface {
	// describe adds the devices to the tables for the guest.
	describe(*acpi.Config)
	// cmdline has the words for the kernel command line.
	cmdline() []string
	// reserved is guest memory that is no RAM and that no device may be put to.
	reserved() []boot.Range
	// attach makes the transports and puts them on the buses. What it made is
	// returned also on error.
	attach(*Machine, []virtio.Device) ([]carrier, error)
}

// createDevices makes the devices and decides where they go.
func (m *Machine) createDevices() error {
	var err error
	if m.virtio.devices, err = m.virtioDevices(); err != nil {
		return err
	}
	m.virtio.layout, err = newLayout(&m.config, len(m.virtio.devices))
	return err
}

// attachDevices joins the devices to the VM and seals the buses.
func (m *Machine) attachDevices() error {
	for _, d := range m.virtio.devices {
		a, ok := d.(vmAttacher)
		if !ok {
			continue
		}
		if err := a.AttachVM(m.kvm); err != nil {
			return &HostError{err}
		}
	}
	var err error
	m.virtio.carriers, err = m.virtio.layout.attach(m, m.virtio.devices)
	if err != nil {
		return &HostError{err}
	}
	m.platform.seal()
	return nil
}

// stop resets all devices: when it returns, guest memory is left alone.
func (s *virtioSet) stop() {
	for _, c := range s.carriers {
		c.Stop()
	}
}

// Close closes all devices, also those that never got a transport.
func (s *virtioSet) Close() error {
	var errs []error
	for _, c := range s.carriers {
		errs = append(errs, c.Close())
	}
	errs = append(errs, closeDevices(s.devices[len(s.carriers):]))
	return errors.Join(errs...)
}

func closeDevices(devices []virtio.Device) error {
	var errs []error
	for _, d := range devices {
		errs = append(errs, d.Close())
	}
	return errors.Join(errs...)
}

// DeviceCounters is what happened on the queues of one virtio device.
type DeviceCounters struct {
	// Name is the device's kind and its number among those of its kind: "net0".
	Name string
	// Queues has an entry for each queue, in the order of the specification.
	Queues []queue.Counters
}

// Counters counts what happened on the queues of the virtio devices, in the order
// in which the guest finds them. It may be called at any time until Close.
func (m *Machine) Counters() []DeviceCounters {
	out := make([]DeviceCounters, 0, len(m.virtio.carriers))
	seen := map[uint32]int{}
	for i, c := range m.virtio.carriers {
		kind := m.virtio.devices[i].Type()
		out = append(out, DeviceCounters{Name: kindName(kind) + strconv.Itoa(seen[kind]), Queues: c.Core().Counters()})
		seen[kind]++
	}
	return out
}

// kindName is a device's kind in a word.
func kindName(kind uint32) string {
	switch kind {
	case virtio.TypeNet:
		return "net"
	case virtio.TypeBlock:
		return "disk"
	case virtio.TypeConsole:
		return "console"
	case virtio.TypeRNG:
		return "rng"
	case virtio.TypeBalloon:
		return "balloon"
	case virtio.TypeVsock:
		return "vsock"
	case virtio.TypeFS:
		return "fs"
	case virtio.TypePMEM:
		return "pmem"
	}
	return fmt.Sprintf("virtio%d-", kind)
}
