package fleet

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"slices"

	"github.com/gureum/gureum/fleet/state"
	"github.com/gureum/gureum/net/ipam"
	"github.com/gureum/gureum/net/service"
)

// tellServices tells the services of all networks that are up which machines there are.
func (f *Fleet) tellServices(ctx context.Context) error {
	networks, _ := f.Dirs.Networks() // those that can be read
	if !privileged() || !slices.ContainsFunc(networks, f.served) {
		return nil
	}
	return f.switched(ctx, func() error { return f.writeHosts("") })
}

// served tells whether a network's service lives, or is to be started again.
func (f *Fleet) served(n *state.Network) bool {
	_, err := os.Stat(f.Dirs.ServiceAlive(n.ID))
	return err == nil
}

// writeHosts tells the services of networks which machines are on them: of those that are
// up, since a machine may be on several, and of one that is about to be. The switch's lock
// is held.
func (f *Fleet) writeHosts(id string) error {
	vms, _, err := f.readable()
	if err != nil {
		return err
	}
	networks, _ := f.Dirs.Networks() // those that can be read
	hosts, err := hostsOf(vms)
	if err != nil {
		return err
	}
	var errs []error
	for _, n := range networks {
		if n.ID != id && !f.served(n) {
			continue
		}
		err := service.WriteHosts(f.Dirs.Hosts(n.ID), hosts.on[n.ID], hosts.others(n.ID, networks)...)
		if !errors.Is(err, fs.ErrNotExist) { // another command takes it down
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}

// hosts are the machines of all networks.
type hosts struct {
	on map[string][]service.Host
	// askers are the cards on one network, the first, of machines that are on another one.
	askers map[[2]string][][6]byte
}

func hostsOf(vms []*state.VM) (hosts, error) {
	h := hosts{map[string][]service.Host{}, map[[2]string][][6]byte{}}
	for _, record := range vms {
		on := map[string]bool{}
		for _, port := range record.Ports {
			on[port.Network] = true
		}
		for _, port := range record.Ports {
			mac, err := ipam.ParseMAC(port.MAC)
			if err != nil {
				return h, err
			}
			h.on[port.Network] = append(h.on[port.Network], service.Host{Name: record.Name, MAC: mac, IP: port.IP, IP6: port.IP6})
			for other := range on {
				if key := [2]string{port.Network, other}; other != port.Network {
					h.askers[key] = append(h.askers[key], mac)
				}
			}
		}
	}
	return h, nil
}

// others are the networks that machines of one network are on as well.
func (h hosts) others(id string, networks []*state.Network) (out []service.Other) {
	for _, n := range networks {
		if askers := h.askers[[2]string{id, n.ID}]; len(askers) > 0 {
			out = append(out, service.Other{Name: n.Name, Subnet: n.Subnet, Subnet6: n.Subnet6, Hosts: h.on[n.ID], Askers: askers})
		}
	}
	return out
}
