package fleet

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"time"

	"github.com/gureum/gureum/fleet/state"
	"github.com/gureum/gureum/net/ipam"
	"github.com/gureum/gureum/net/vswitch"
	"github.com/gureum/gureum/vm"
)

// DefaultNetwork is the network that is there without being made.
const DefaultNetwork = "default"

// defaultMTU is Ethernet's, in bytes (IEEE 802.3, clause 3.2.7).
const defaultMTU = 1500

// NetworkSpec is what a user says of a network to be made.
type NetworkSpec struct {
	Name string
	// Subnet is its IPv4 subnet; "" takes a free one. Subnet6 is its IPv6 subnet, of 64
	// bits; "" makes one up (RFC 4193), "none" has it do without.
	Subnet, Subnet6 string
	// MTU in bytes; 0 is Ethernet's.
	MTU int
	// Internal, Isolated, HostAccess and Shielded are as in state.Network.
	Internal, Isolated, HostAccess, Shielded bool
}

// CreateNetwork makes a network. On the host there is nothing of it until a machine on
// it runs. Errors in what the user asked for are *vm.InputError.
func (f *Fleet) CreateNetwork(ctx context.Context, s NetworkSpec) (n *state.Network, err error) {
	err = f.locked(ctx, func() error {
		n, err = f.createNetwork(s)
		return err
	})
	return n, err
}

// createNetwork is CreateNetwork with the fleet's lock held.
func (f *Fleet) createNetwork(s NetworkSpec) (*state.Network, error) {
	if err := state.CheckName("network", s.Name); err != nil {
		return nil, &vm.InputError{Err: err}
	}
	if s.Name == "user" || s.Name == "none" || s.Name == "host" {
		return nil, inputErrorf("network name %q: it has a meaning of its own: give another", s.Name)
	}
	others, err := f.Dirs.Networks()
	if err != nil {
		return nil, err
	}
	n := &state.Network{
		ID: state.NewID(state.NetworkIDLength), Name: s.Name, Created: time.Now().UTC(), MTU: s.MTU,
		Internal: s.Internal, Isolated: s.Isolated, HostAccess: s.HostAccess, Shielded: s.Shielded,
	}
	taken, err := hostPrefixes()
	if err != nil {
		return nil, err
	}
	for _, other := range others {
		if other.Name == s.Name {
			return nil, inputErrorf("network name %q: %w: give another, or remove that network: gureum network rm %s", s.Name, state.ErrExists, s.Name)
		}
		taken = append(taken, other.Subnet)
		if other.Subnet6.IsValid() {
			taken = append(taken, other.Subnet6)
		}
	}
	if err := setSubnets(n, s, taken); err != nil {
		return nil, err
	}
	return n, f.Dirs.PutNetwork(n)
}

// setSubnets gives a network its addresses and its MTU.
func setSubnets(n *state.Network, s NetworkSpec, taken []netip.Prefix) (err error) {
	if n.Subnet, err = subnet(s.Subnet, taken, ipam.ParseSubnet, ipam.FreeSubnet); err != nil {
		return err
	}
	if s.Subnet6 != "none" {
		if n.Subnet6, err = subnet(s.Subnet6, taken, ipam.ParseSubnet6, ipam.FreeSubnet6); err != nil {
			return err
		}
	}
	if n.MTU == 0 {
		n.MTU = defaultMTU
	}
	if err := switchNetwork(n).Validate(); err != nil {
		return &vm.InputError{Err: err}
	}
	return nil
}

// subnet reads the one that the user wants, or finds a free one.
func subnet(text string, taken []netip.Prefix, parse func(string) (netip.Prefix, error), free func([]netip.Prefix) (netip.Prefix, error)) (netip.Prefix, error) {
	if text == "" {
		return free(taken)
	}
	p, err := parse(text)
	if err == nil {
		err = ipam.CheckFree(p, taken)
	}
	if err != nil {
		return p, &vm.InputError{Err: err}
	}
	return p, nil
}

// RemoveNetwork removes a network that no machine is on.
func (f *Fleet) RemoveNetwork(ctx context.Context, ref string) error {
	return f.locked(ctx, func() error {
		n, err := f.Dirs.FindNetwork(ref)
		if err != nil && f.Dirs.IsDamagedNetwork(ref) {
			n, err = &state.Network{ID: ref, Name: ref}, nil // its id is all that is needed
		}
		if err != nil {
			return err
		}
		view, err := f.viewNetwork(n)
		if err != nil {
			return err
		}
		if len(view.Machines) > 0 {
			name := view.Machines[0].Name
			return fmt.Errorf("network %[1]s: machine %[2]s is on it: take it off first, or remove it: gureum network disconnect %[1]s %[2]s, or gureum rm %[2]s", view.Name, name)
		}
		if err := f.takeDown(ctx, view.Network); err != nil {
			return err
		}
		return f.Dirs.RemoveNetwork(view.ID)
	})
}

// Networks gives all networks, with the default one among them. It is made when it is
// not there, so that it is the same for all.
func (f *Fleet) Networks(ctx context.Context) (networks []*state.Network, err error) {
	err = f.locked(ctx, func() error {
		if _, err := f.findNetwork(DefaultNetwork); err != nil {
			return err
		}
		networks, err = f.Dirs.Networks()
		return err
	})
	return networks, err
}

// findNetwork is state's, but makes the default network when it is not there. The
// fleet's lock is held.
func (f *Fleet) findNetwork(ref string) (*state.Network, error) {
	n, err := f.Dirs.FindNetwork(ref)
	if errors.Is(err, state.ErrNoNetwork) && ref == DefaultNetwork {
		return f.createNetwork(NetworkSpec{Name: DefaultNetwork})
	}
	if errors.Is(err, state.ErrNoNetwork) {
		return nil, &vm.InputError{Err: err}
	}
	return n, err
}

func inputErrorf(format string, args ...any) error {
	return &vm.InputError{Err: fmt.Errorf(format, args...)}
}

// NetworkView is a network and who is on it.
type NetworkView struct {
	*state.Network
	Gateway  netip.Addr `json:"gateway"`
	Gateway6 netip.Addr `json:"gateway6,omitzero"`
	// Bridge is its interface on the host, which is there while a machine on it runs; ""
	// without privilege.
	Bridge   string         `json:"bridge,omitempty"`
	Machines []NetworkGuest `json:"machines"`
}

// NetworkGuest is a machine's interface on a network.
type NetworkGuest struct {
	ID   string     `json:"id"`
	Name string     `json:"name"`
	MAC  string     `json:"mac"`
	IP   netip.Addr `json:"ip"`
	IP6  netip.Addr `json:"ip6,omitzero"`
}

// InspectNetwork tells what is known of a network. The default one is made when it is not
// there.
func (f *Fleet) InspectNetwork(ctx context.Context, ref string) (*NetworkView, error) {
	n, err := f.Dirs.FindNetwork(ref)
	if errors.Is(err, state.ErrNoNetwork) && ref == DefaultNetwork {
		err = f.locked(ctx, func() error {
			n, err = f.findNetwork(ref)
			return err
		})
	}
	if err != nil {
		return nil, err
	}
	return f.viewNetwork(n)
}

func (f *Fleet) viewNetwork(n *state.Network) (*NetworkView, error) {
	view := &NetworkView{Network: n, Gateway: ipam.Gateway(n.Subnet), Machines: []NetworkGuest{}}
	if n.Subnet6.IsValid() {
		view.Gateway6 = ipam.Gateway(n.Subnet6)
	}
	if privileged() {
		view.Bridge = vswitch.BridgeName(n.ID)
	}
	vms, err := f.Dirs.VMs()
	for _, record := range vms {
		for _, port := range record.Ports {
			if port.Network == n.ID {
				view.Machines = append(view.Machines, NetworkGuest{record.ID, record.Name, port.MAC, port.IP, port.IP6})
			}
		}
	}
	return view, err
}

// HostAdvice finds what of the host keeps networks from working. Without privilege there
// is nothing to look at.
func HostAdvice() ([]vswitch.Obstacle, error) {
	if !privileged() {
		return nil, nil
	}
	return vswitch.Advice()
}
