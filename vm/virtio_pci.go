package vm

import (
	"github.com/gureum/gureum/devices"
	devpci "github.com/gureum/gureum/devices/pci"
	"github.com/gureum/gureum/guest/acpi"
	"github.com/gureum/gureum/guest/boot"
	"github.com/gureum/gureum/guest/memory"
	"github.com/gureum/gureum/virtio"
	"github.com/gureum/gureum/virtio/pci"
)

// pciLayout is one PCI bus with a function for each device. The guest finds them by
// itself, given the bridge.
type pciLayout struct{}

func newPCILayout(n int) (*pciLayout, error) {
	if n > devpci.MaxFunctions {
		return nil, inputErrorf("%d virtio devices: the PCI bus has room for %d", n, devpci.MaxFunctions)
	}
	return &pciLayout{}, nil
}

func (l *pciLayout) describe(c *acpi.Config) {
	c.Devices = append(c.Devices, acpi.PCIHost(0, memory.PCIWindow, memory.PCIWindowEnd-1))
	c.Tables = append(c.Tables, acpi.MCFG(memory.PCIECAM, 0, 0, 0))
}

func (l *pciLayout) cmdline() []string { return nil }

// reserved has the configuration space, without which Linux would not trust MCFG.
func (l *pciLayout) reserved() []boot.Range {
	return []boot.Range{{Start: memory.PCIECAM, End: memory.PCIECAM + devpci.ECAMBusSize}}
}

func (l *pciLayout) attach(m *Machine, list []virtio.Device) ([]carrier, error) {
	host, err := devpci.NewHost(devpci.Window{First: memory.PCIWindow, Last: memory.PCIWindowEnd - 1})
	if err != nil {
		return nil, err
	}
	router := devpci.NewRouter(m.kvm)
	var made []carrier
	for _, d := range list {
		t, err := pci.New(pci.Config{Device: d, Memory: m.memory, VM: m.kvm, Router: router})
		if err != nil {
			return made, err
		}
		made = append(made, t)
		if _, err := host.Add(t.Function()); err != nil {
			return made, err
		}
	}
	return made, m.platform.addPCI(host)
}

// addPCI puts a host bridge on the buses.
func (p *platform) addPCI(host *devpci.Host) error {
	for _, part := range [...]struct {
		bus        *devices.Bus
		base, size uint64
		device     devices.Device
	}{
		{p.pio, devpci.PortsBase, devpci.PortsSize, host.Ports()},
		{p.mmio, memory.PCIECAM, devpci.ECAMBusSize, host.ECAM()},
		{p.mmio, memory.PCIWindow, memory.PCIWindowEnd - memory.PCIWindow, host.Memory()},
	} {
		if err := part.bus.Register(part.base, part.size, part.device); err != nil {
			return err
		}
	}
	return nil
}
