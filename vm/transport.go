package vm

// Transport is how virtio devices reach the guest.
type Transport string

// The transports.
const (
	// TransportAuto is the default: MMIO, or PCI for more devices than MMIO has
	// interrupts for. A boot with MMIO takes fewer exits, as there is no bus to be
	// searched, and neither transport exits to user space on the data path; see
	// docs/virtio-transports.md.
	TransportAuto Transport = "auto"
	TransportPCI  Transport = "pci"
	TransportMMIO Transport = "mmio"
)

// check refuses names that there are not.
func (t Transport) check() error {
	switch t {
	case "", TransportAuto, TransportMMIO, TransportPCI:
		return nil
	}
	return inputErrorf("transport %q: give auto, pci or mmio", string(t))
}

// newLayout decides where so many devices go.
func newLayout(c *Config, devices int) (virtioLayout, error) {
	transport := c.Transport
	if transport == "" || transport == TransportAuto {
		transport = TransportMMIO
		if devices > len(mmioGSIs) {
			transport = TransportPCI
		}
	}
	if transport == TransportPCI {
		return newPCILayout(devices)
	}
	return newMMIOLayout(devices, c)
}
