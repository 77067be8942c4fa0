package fleet

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/netip"
	"slices"

	"github.com/gureum/gureum/fleet/api"
	"github.com/gureum/gureum/fleet/state"
	"github.com/gureum/gureum/net/ipam"
	"github.com/gureum/gureum/net/vswitch"
	"github.com/gureum/gureum/vm"
)

// Machines are connected to networks and disconnected from them here, after they were made.
//
// A machine's interfaces are devices on its bus, which are there when it starts or not at
// all. So the definition changes at once, and the devices with the next start; what can be
// done to a machine that runs is to pull the cable of an interface that it has, and to plug
// it in again.

// Address is what a machine is to have on a network that it is connected to. What is empty
// is chosen.
type Address struct {
	// IP is the IPv4 address, IP6 the IPv6 one, which the MAC address follows from, and MAC
	// that itself.
	IP, IP6, MAC string
}

// wish is an Address that was understood.
type wish struct {
	ip  netip.Addr
	mac [6]byte
}

// ConnectNetwork puts a machine on a network and gives the interface that it has there. One that
// runs must have been disconnected from that network since its start; else the error is
// ErrRunning. Errors in what the user asked for are *vm.InputError.
func (f *Fleet) ConnectNetwork(ctx context.Context, network, ref string, a Address) (port state.Port, err error) {
	err = f.locked(ctx, func() error {
		n, err := f.findNetwork(network)
		if err != nil {
			return err
		}
		w, err := a.parse(n)
		if err != nil {
			return &vm.InputError{Err: fmt.Errorf("network %s: %w", n.Name, err)}
		}
		return f.withMachine(ctx, ref, func(m *Machine) error {
			switch {
			case onNetwork(m.Ports, n.ID) >= 0:
				err = f.finishPlugging(ctx, m, n)
			case alive(m.Status):
				err = f.plugAgain(ctx, m, n, w)
			default:
				err = f.join(ctx, m.VM, n, w)
			}
			if err == nil {
				port = m.Ports[onNetwork(m.Ports, n.ID)]
			}
			return err
		})
	})
	return port, err
}

// DisconnectNetwork takes a machine off a network: at once, and for its later starts. The
// interface of one that runs stays, as one whose cable is out, until it ends.
func (f *Fleet) DisconnectNetwork(ctx context.Context, network, ref string) error {
	return f.locked(ctx, func() error {
		n, err := f.findNetwork(network)
		if err != nil {
			return err
		}
		return f.withMachine(ctx, ref, func(m *Machine) error {
			if onNetwork(m.Ports, n.ID) < 0 {
				return inputErrorf("%s: the machine is not on network %s", m.Name, n.Name)
			}
			if alive(m.Status) {
				return f.pull(ctx, m, n)
			}
			return f.leave(ctx, m.VM, n)
		})
	})
}

// onNetwork finds a machine's first interface on a network; -1 is none.
func onNetwork(ports []state.Port, network string) int {
	return slices.IndexFunc(ports, func(p state.Port) bool { return p.Network == network })
}

func (a Address) parse(n *state.Network) (w wish, err error) {
	if a.IP != "" {
		if w.ip, err = netip.ParseAddr(a.IP); err != nil || !w.ip.Is4() {
			return w, fmt.Errorf("ip: %q is no IPv4 address", a.IP)
		}
	}
	if a.MAC != "" {
		if w.mac, err = ipam.ParseMAC(a.MAC); err != nil {
			return w, err
		}
	}
	if a.IP6 == "" {
		return w, nil
	}
	ip6, err := netip.ParseAddr(a.IP6)
	switch mac, ok := ipam.MACOf(ip6); {
	case err != nil || !ip6.Is6():
		return w, fmt.Errorf("ip6: %q is no IPv6 address", a.IP6)
	case !n.Subnet6.IsValid():
		return w, errors.New("ip6: the network has no IPv6 subnet")
	case !n.Subnet6.Contains(ip6):
		return w, fmt.Errorf("ip6: %s is not in %s", ip6, n.Subnet6)
	case !ok || a.MAC != "" && mac != w.mac:
		return w, fmt.Errorf("ip6: %s does not follow from a MAC address, as all of a machine's do: give --mac instead, and see docs/network.md", ip6)
	default:
		w.mac = mac
		return w, ipam.CheckMAC(mac)
	}
}

// text is how --net has it.
func (w wish) text(n *state.Network) string {
	text := n.Name
	if w.ip.IsValid() {
		text += ",ip=" + w.ip.String()
	}
	if w.mac != [6]byte{} {
		text += ",mac=" + ipam.FormatMAC(w.mac)
	}
	return text
}

// join gives a machine that does not run another interface, behind those that it has.
func (f *Fleet) join(ctx context.Context, record *state.VM, n *state.Network, w wish) error {
	s := record.Spec
	s.Net = append(slices.Clone(s.Net), w.text(n))
	plan, err := s.Plan()
	if err != nil {
		return &vm.InputError{Err: err}
	}
	if err := plan.Check(); err != nil {
		return err
	}
	previous, err := f.settle(ctx, record)
	if err != nil {
		return err
	}
	record.Spec, record.Ports = s, nil
	if err := f.allocate(record, plan, previous); err != nil {
		return err
	}
	return errors.Join(f.Dirs.PutVM(record), f.tellServices(ctx))
}

// leave takes from a machine that does not run its interfaces on a network.
func (f *Fleet) leave(ctx context.Context, record *state.VM, n *state.Network) error {
	if _, err := f.settle(ctx, record); err != nil {
		return err
	}
	detach(record, n.ID)
	if err := number(record); err != nil {
		return err
	}
	return errors.Join(f.Dirs.PutVM(record), f.tellServices(ctx))
}

// pull pulls the cables of a machine that runs to a network.
func (f *Fleet) pull(ctx context.Context, m *Machine, n *state.Network) error {
	if _, err := planned(m.VM); err != nil {
		return err
	}
	changed := *m.VM
	gone := detach(&changed, n.ID)
	changed.Unplugged = append(slices.Clone(m.Unplugged), gone...)
	if !privileged() {
		// There is no switch: the machine's own process is all that can do it.
		if err := f.setLinks(ctx, m, gone, false); err != nil {
			return err
		}
		return f.Dirs.PutVM(&changed)
	}
	err := f.switched(ctx, func() error {
		for _, u := range gone {
			if err := vswitch.Unplug(u.Tap); err != nil {
				return err
			}
		}
		if err := f.Dirs.PutVM(&changed); err != nil {
			return err
		}
		return errors.Join(f.publishAnew(ctx, m.VM, &changed), f.takeDownIdle(ctx, ""), f.writeHosts(""))
	})
	if err != nil {
		return err
	}
	if err := f.setLinks(ctx, m, gone, false); err != nil {
		// It is off the network all the same; it only learns of it by the silence.
		slog.Warn("a guest was not told that its cable is out", "name", m.Name, "error", err)
	}
	return nil
}

// plugAgain plugs in a cable that was pulled.
func (f *Fleet) plugAgain(ctx context.Context, m *Machine, n *state.Network, w wish) error {
	changed := *m.VM
	again, err := reattach(&changed, n, w)
	if err != nil {
		return err
	}
	if privileged() {
		err = f.switched(ctx, func() error {
			if err := f.plugOn(ctx, m.VM, &changed, n.ID); err != nil {
				return err
			}
			return errors.Join(f.Dirs.PutVM(&changed), f.writeHosts(""))
		})
	}
	if err == nil {
		err = f.setLinks(ctx, m, again, true)
	}
	var status *api.StatusError
	if privileged() && errors.As(err, &status) && status.Status == http.StatusBadRequest {
		err = nil // a process of an older release, which never learned that the cable was out
	}
	if err == nil && !privileged() {
		err = f.Dirs.PutVM(&changed)
	}
	if err == nil {
		*m.VM = changed
	}
	return err
}

// finishPlugging is for a machine that is on the network already, which is an error but when
// a command was killed before it told the guest.
func (f *Fleet) finishPlugging(ctx context.Context, m *Machine, n *state.Network) error {
	already := inputErrorf("%s: the machine is on network %s already", m.Name, n.Name)
	if !alive(m.Status) {
		return already
	}
	var info *api.Info
	err := f.request(ctx, m.ID, func(ctx context.Context, c *api.Client) (err error) {
		info, err = c.Info(ctx)
		return err
	})
	if err != nil {
		return m.failed(err)
	}
	var out []state.Unplugged
	for _, port := range m.Ports {
		if port.Network == n.ID && port.NIC < len(info.NICs) && !info.NICs[port.NIC].Up {
			out = append(out, state.Unplugged{Port: port})
		}
	}
	if len(out) == 0 {
		return already
	}
	return f.setLinks(ctx, m, out, true)
}

// plugOn makes a machine's ports on a network that it was not on before. The switch's lock
// is held.
func (f *Fleet) plugOn(ctx context.Context, before, now *state.VM, network string) error {
	plan, err := planned(now)
	if err != nil {
		return err
	}
	publisher, err := f.publisher(now)
	if err != nil {
		return err
	}
	was, err := f.publisher(before)
	if err != nil {
		return err
	}
	if was >= 0 && before.Ports[was] != now.Ports[publisher] {
		// A published port leads to one interface only.
		if err := f.plugPort(ctx, now, before.Ports[was], plan.Publish, false); err != nil {
			return err
		}
	}
	for i, port := range now.Ports {
		if port.Network != network {
			continue
		}
		if err := f.plugPort(ctx, now, port, plan.Publish, i == publisher); err != nil {
			return err
		}
	}
	return nil
}

// setLinks tells a machine's process, and that the guest, which cables are in.
func (f *Fleet) setLinks(ctx context.Context, m *Machine, of []state.Unplugged, up bool) error {
	var u api.Update
	for _, x := range of {
		u.Links = append(u.Links, api.Link{NIC: x.NIC, Up: up})
	}
	return m.failed(f.request(ctx, m.ID, func(ctx context.Context, c *api.Client) error { return c.Update(ctx, u) }))
}

// publishAnew leads a machine's published ports elsewhere if the interface that they led
// to is another now.
func (f *Fleet) publishAnew(ctx context.Context, before, now *state.VM) error {
	plan, err := now.Spec.Plan()
	if err != nil || len(plan.Publish) == 0 {
		return err
	}
	was, err := f.publisher(before)
	if err != nil {
		return err
	}
	is, err := f.publisher(now)
	if err != nil || is < 0 || was >= 0 && before.Ports[was] == now.Ports[is] {
		return err
	}
	return f.plugPort(ctx, now, now.Ports[is], plan.Publish, true)
}
