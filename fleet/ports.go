package fleet

import (
	"fmt"
	"net/netip"

	"github.com/gureum/gureum/fleet/spec"
	"github.com/gureum/gureum/fleet/state"
	"github.com/gureum/gureum/net/ipam"
	"github.com/gureum/gureum/vm"
)

// taken is what the machines that there are have already.
type taken struct {
	macs      map[[6]byte]string // and whose they are
	addresses map[string]map[netip.Addr]bool
	published map[published]string
}

// published is a port of the host that is led into a guest. An address that is not
// valid is any.
type published struct {
	ip   netip.Addr
	port uint16
	udp  bool
}

// taken looks at all machines but one, whose addresses are given anew.
func (f *Fleet) taken(except string) (*taken, error) {
	vms, err := f.Dirs.VMs()
	if err != nil {
		return nil, err
	}
	t := &taken{map[[6]byte]string{}, map[string]map[netip.Addr]bool{}, map[published]string{}}
	for _, record := range vms {
		if record.ID == except {
			continue
		}
		ports, err := f.portsHeld(record)
		if err != nil {
			return nil, err
		}
		for _, port := range ports {
			mac, err := ipam.ParseMAC(port.MAC)
			if err != nil {
				return nil, fmt.Errorf("machine %s: %w", record.Name, err)
			}
			t.macs[mac] = record.Name
			if t.addresses[port.Network] == nil {
				t.addresses[port.Network] = map[netip.Addr]bool{}
			}
			t.addresses[port.Network][port.IP] = true
		}
		plan, err := record.Spec.Plan()
		if err != nil {
			return nil, fmt.Errorf("machine %s: %w", record.Name, err)
		}
		for _, p := range plan.Publish {
			t.published[published{p.HostIP, p.HostPort, p.UDP}] = record.Name
		}
	}
	return t, nil
}

// allocate gives a machine its interfaces' addresses, those that it had where it can. The
// fleet's lock is held.
func (f *Fleet) allocate(record *state.VM, plan *spec.Plan, previous []state.Port) error {
	t, err := f.taken(record.ID)
	if err != nil {
		return err
	}
	for _, p := range plan.Publish {
		if err := t.checkPublish(p); err != nil {
			return err
		}
	}
	for _, want := range plan.Ports {
		port, err := f.allocatePort(record, t, want, &plan.Config.NICs[want.NIC], previous)
		if err != nil {
			return err
		}
		record.Ports = append(record.Ports, port)
	}
	return nil
}

// checkPublish refuses a port of the host that leads somewhere already. One of all
// addresses collides with one of any.
func (t *taken) checkPublish(p spec.Publish) error {
	for other, name := range t.published {
		same := !other.ip.IsValid() || !p.HostIP.IsValid() || other.ip == p.HostIP
		if same && other.port == p.HostPort && other.udp == p.UDP {
			return inputErrorf("publish %s: the port leads to machine %s already", p, name)
		}
	}
	t.published[published{p.HostIP, p.HostPort, p.UDP}] = "itself"
	return nil
}

func (f *Fleet) allocatePort(record *state.VM, t *taken, want spec.Port, nic *vm.NIC, previous []state.Port) (state.Port, error) {
	port := state.Port{NIC: want.NIC, Queues: max(1, nic.Queues)}
	n, err := f.findNetwork(want.Network)
	if err != nil {
		return port, err
	}
	if nic.MTU > n.MTU {
		return port, inputErrorf("network %s: MTU %d: the network's is %d", n.Name, nic.MTU, n.MTU)
	}
	port.Network, port.MTU = n.ID, n.MTU
	if nic.MTU != 0 {
		port.MTU = nic.MTU
	}
	mac, before := nic.MAC, t.before(previous, n.ID)
	if mac == [6]byte{} {
		mac = before.mac
	}
	if mac == [6]byte{} {
		mac = ipam.MAC(record.ID, want.NIC, func(mac [6]byte) bool { return t.macs[mac] != "" })
	} else if err := ipam.CheckMAC(mac); err != nil {
		return port, &vm.InputError{Err: err}
	}
	if owner := t.macs[mac]; owner != "" {
		return port, inputErrorf("MAC address %s: machine %s has it", ipam.FormatMAC(mac), owner)
	}
	t.macs[mac] = record.Name
	if port.IP, err = ipam.Allocate(n.Subnet, t.addresses[n.ID], want.IP, before.ip); err != nil {
		return port, inputErrorf("network %s: %w", n.Name, err)
	}
	if t.addresses[n.ID] == nil {
		t.addresses[n.ID] = map[netip.Addr]bool{}
	}
	t.addresses[n.ID][port.IP] = true
	if n.Subnet6.IsValid() {
		port.IP6 = ipam.EUI64(n.Subnet6, mac)
	}
	port.MAC = ipam.FormatMAC(mac)
	port.Tap = tapName(record.ID, want.NIC)
	return port, nil
}
