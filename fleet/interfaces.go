package fleet

import (
	"context"
	"fmt"
	"net/netip"
	"slices"

	"github.com/gureum/gureum/fleet/spec"
	"github.com/gureum/gureum/fleet/state"
	"github.com/gureum/gureum/net/ipam"
)

// A machine's record has its interfaces on networks in the order of its definition. Their
// numbers are those of the run: when one was unplugged the others keep theirs, and their
// taps, until the machine ends.

// detach takes a machine's interfaces on a network out of its record and definition, and
// gives them.
func detach(record *state.VM, network string) (gone []state.Unplugged) {
	var net []string
	var kept []state.Port
	at := 0 // among its interfaces on networks, which are in the definition's order
	for _, text := range record.Spec.Net {
		if !spec.OnNetwork(text) {
			net = append(net, text)
			continue
		}
		if port := record.Ports[at]; port.Network == network {
			gone = append(gone, state.Unplugged{Port: port, Net: text})
		} else {
			net, kept = append(net, text), append(kept, port)
		}
		at++
	}
	record.Spec.Net, record.Ports = net, kept
	return gone
}

// number gives a machine's interfaces on networks the numbers that they have in its
// definition. Those of one that runs may be others.
func number(record *state.VM) error {
	plan, err := planned(record)
	if err != nil {
		return err
	}
	for i, p := range plan.Ports {
		record.Ports[i].NIC, record.Ports[i].Tap = p.NIC, tapName(record.ID, p.NIC)
	}
	return nil
}

// planned is the plan of a machine, whose interfaces on networks are those of its record.
func planned(record *state.VM) (*spec.Plan, error) {
	plan, err := record.Spec.Plan()
	if err == nil && len(plan.Ports) != len(record.Ports) {
		err = fmt.Errorf("machine %s: the record has %d interfaces on networks, and the definition %d: remove the machine and make it again",
			record.Name, len(record.Ports), len(plan.Ports))
	}
	return plan, err
}

func tapName(id string, nic int) string { return fmt.Sprintf("gur-%s-%d", id[:8], nic) }

// settle makes the interfaces of a machine that does not run those of its definition, when
// its last run left others. It gives all that it had then.
func (f *Fleet) settle(ctx context.Context, record *state.VM) (previous []state.Port, err error) {
	previous = slices.Clone(record.Ports)
	for _, u := range record.Unplugged {
		previous = append(previous, u.Port)
	}
	old := *record
	old.Ports = slices.Clone(record.Ports)
	if err := number(record); err != nil {
		return nil, err
	}
	if len(record.Unplugged) == 0 && slices.Equal(old.Ports, record.Ports) {
		return previous, nil
	}
	if err := f.unplug(ctx, &old); err != nil {
		return nil, err
	}
	record.Unplugged = nil
	return previous, f.Dirs.PutVM(record)
}

// reattach puts interfaces that were unplugged back into a machine's record and definition,
// where they were.
func reattach(record *state.VM, n *state.Network, w wish) (again []state.Unplugged, err error) {
	record.Ports, record.Spec.Net = slices.Clone(record.Ports), slices.Clone(record.Spec.Net)
	var still []state.Unplugged
	for _, u := range record.Unplugged {
		if u.Network != n.ID {
			still = append(still, u)
			continue
		}
		if w.ip.IsValid() && w.ip != u.IP || w.mac != [6]byte{} && ipam.FormatMAC(w.mac) != u.MAC {
			return nil, fmt.Errorf("%s: %w, and its interface on network %s has %s and %s: stop it first to give it others", record.Name, ErrRunning, n.Name, u.IP, u.MAC)
		}
		again = append(again, u)
	}
	if again == nil {
		return nil, fmt.Errorf("%s: %w, and has no interface that was disconnected from network %s: stop it first, or give the network when the machine is made (--net %s)",
			record.Name, ErrRunning, n.Name, n.Name)
	}
	slices.SortFunc(again, func(a, b state.Unplugged) int { return a.NIC - b.NIC })
	for _, u := range again {
		// Those before it in the definition are those with lower numbers that are plugged in.
		at := u.NIC
		for _, x := range still {
			if x.NIC < u.NIC {
				at--
			}
		}
		behind := slices.IndexFunc(record.Ports, func(p state.Port) bool { return p.NIC > u.NIC })
		if behind < 0 {
			behind = len(record.Ports)
		}
		record.Ports = slices.Insert(record.Ports, behind, u.Port)
		record.Spec.Net = slices.Insert(record.Spec.Net, min(at, len(record.Spec.Net)), u.Net)
	}
	record.Unplugged = still
	return again, nil
}

// publisher finds the interface to which a machine's published ports lead: the first on a
// network that the outside can get at. -1 is none. The switch's lock need not be held.
func (f *Fleet) publisher(record *state.VM) (int, error) {
	for i, port := range record.Ports {
		n, err := f.Dirs.FindNetwork(port.Network)
		if err != nil {
			return -1, err
		}
		if !n.Internal {
			return i, nil
		}
	}
	return -1, nil
}

// portsHeld are the interfaces whose addresses a machine has: with those that were
// unplugged, which its guest still takes for its own.
func (f *Fleet) portsHeld(record *state.VM) ([]state.Port, error) {
	ports := slices.Clone(record.Ports)
	if len(record.Unplugged) == 0 {
		return ports, nil
	}
	lives, err := state.Held(f.Dirs.Alive(record.ID))
	if err != nil || !lives {
		return ports, err
	}
	for _, u := range record.Unplugged {
		ports = append(ports, u.Port)
	}
	return ports, nil
}

// formerly is what a machine had on a network.
type formerly struct {
	ip  netip.Addr
	mac [6]byte
}

// before finds what a machine had on a network and nobody has taken since.
func (t *taken) before(previous []state.Port, network string) (had formerly) {
	for _, port := range previous {
		mac, err := ipam.ParseMAC(port.MAC)
		if err == nil && port.Network == network && !t.addresses[network][port.IP] && t.macs[mac] == "" {
			return formerly{port.IP, mac}
		}
	}
	return had
}

// checkPublisher refuses to publish from internal networks alone.
func (f *Fleet) checkPublisher(record *state.VM, plan *spec.Plan) error {
	if len(plan.Publish) == 0 {
		return nil
	}
	if at, err := f.publisher(record); err != nil || at >= 0 {
		return err
	}
	return inputErrorf("publish: all networks of the machine are internal: give one that is not, or leave publish out")
}
