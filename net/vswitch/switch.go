package vswitch

import (
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"slices"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// step is called after each change to the kernel. Tests end the process there.
var step = func(string) {}

// host is the kernel, while nobody else of us changes it.
type host struct {
	links
	fire *firewall
	lock *os.File
}

// open connects to the kernel and waits for its turn.
func open() (h *host, err error) {
	if err := os.MkdirAll(runDir, 0o755); err != nil {
		return nil, fmt.Errorf("the switch needs root: %w", err)
	}
	h = &host{}
	defer func() {
		if err != nil {
			err = errors.Join(err, h.close())
		}
	}()
	if h.lock, err = os.OpenFile(filepath.Join(runDir, "switch.lock"), os.O_CREATE|os.O_RDWR, 0o600); err != nil {
		return h, fmt.Errorf("the switch needs root: %w", err)
	}
	if err := flock(h.lock); err != nil {
		return h, fmt.Errorf("wait for the switch: %w", err)
	}
	if h.links, err = openLinks(); err != nil {
		return h, err
	}
	h.fire, err = openFirewall()
	return h, err
}

func flock(f *os.File) error {
	for {
		if err := unix.Flock(int(f.Fd()), unix.LOCK_EX); !errors.Is(err, unix.EINTR) {
			return err
		}
	}
}

func (h *host) close() error {
	var errs []error
	if h.Handle != nil {
		h.Close()
	}
	if h.fire != nil {
		errs = append(errs, h.fire.close())
	}
	if h.lock != nil {
		errs = append(errs, h.lock.Close())
	}
	return errors.Join(errs...)
}

// with runs f with the kernel at hand.
func with(f func(*host) error) error {
	h, err := open()
	if err != nil {
		return err
	}
	return errors.Join(f(h), h.close())
}

// Apply makes everything of ours in the kernel exactly this. What is there and fits is
// adopted, and carries on undisturbed; what is ours and not wanted goes. The rules change
// in one transaction. It may be killed at any point, and called again.
func Apply(s State) error {
	byID, err := s.check()
	if err != nil {
		return err
	}
	return with(func(h *host) error {
		if len(s.Networks) == 0 {
			return h.clear(s)
		}
		if err := h.fire.replace(s.elements(byID)); err != nil {
			return err
		}
		step("rules replaced")
		if err := h.removeOthers(s); err != nil {
			return err
		}
		var errs []error
		for _, n := range s.Networks {
			errs = append(errs, h.startNetwork(n))
		}
		for _, p := range s.Ports {
			errs = append(errs, h.startPort(byID[p.Network], p))
		}
		for _, name := range s.Unplugged {
			errs = append(errs, h.pull(name))
		}
		return errors.Join(errs...)
	})
}

// clear removes everything of ours but for taps that are kept.
func (h *host) clear(s State) error {
	errs := []error{h.removeOthers(s)}
	for _, name := range s.Unplugged {
		errs = append(errs, h.pull(name))
	}
	if err := errors.Join(errs...); err != nil {
		return err
	}
	return h.removeTables()
}

// removeTables is for when there is no network any more.
func (h *host) removeTables() error {
	if err := h.fire.remove(); err != nil {
		return err
	}
	step("rules removed")
	return restoreForwarding(h.fire)
}

// removeOthers removes the interfaces of ours that are not of a state.
func (h *host) removeOthers(s State) error {
	list, err := h.ours()
	if err != nil {
		return err
	}
	var errs []error
	for _, link := range list {
		name := link.Attrs().Name
		wanted := slices.ContainsFunc(s.Networks, func(n Network) bool { return BridgeName(n.ID) == name }) ||
			slices.ContainsFunc(s.Ports, func(p Port) bool { return p.Tap == name }) || slices.Contains(s.Unplugged, name)
		if !wanted {
			errs = append(errs, h.delete(name))
			step("link deleted")
		}
	}
	return errors.Join(errs...)
}

// startNetwork brings a network up whose rules are there.
func (h *host) startNetwork(n Network) error {
	link, err := h.makeBridge(n)
	if err != nil {
		return err
	}
	for _, s := range n.sysctls() {
		if err := writeSysctl(s[0], s[1]); err != nil {
			return err
		}
	}
	if err := h.startBridge(link, n); err != nil || n.Internal {
		return err
	}
	return forwarding(n.Subnet6.IsValid())
}

// startPort brings a port up whose rules are there.
func (h *host) startPort(n Network, p Port) error {
	bridge, err := h.find(BridgeName(n.ID))
	if err != nil {
		return err
	}
	if bridge == nil {
		return fmt.Errorf("port %s: network %s has no bridge on this host", p.Tap, n.Name)
	}
	link, made, err := h.ensureTap(p)
	if err == nil && !made {
		err = h.unpin(link.Attrs().Index, p.MAC)
	}
	if err == nil {
		err = h.plug(link, p, n, bridge.Attrs().Index)
	}
	if err != nil && made {
		err = errors.Join(err, h.delete(p.Tap))
	}
	return err
}

// AddNetwork makes a network's bridge and rules, or mends them.
func AddNetwork(n Network) error {
	if err := n.Validate(); err != nil {
		return err
	}
	return with(func(h *host) error {
		link, err := h.find(BridgeName(n.ID))
		if err != nil {
			return err
		}
		err = h.addNetwork(n)
		if err != nil && link == nil {
			err = errors.Join(err, h.removeNetwork(n.ID))
		}
		return err
	})
}

func (h *host) addNetwork(n Network) error {
	if err := h.fire.ensure(); err != nil {
		return err
	}
	step("rules made")
	have, err := h.fire.haveAll()
	if err != nil {
		return err
	}
	// The members are the ports'.
	old := slices.DeleteFunc(ofBridge(have, BridgeName(n.ID)), element.member)
	want := n.elements()
	if err := h.fire.change(without(old, want), without(want, old)); err != nil {
		return err
	}
	step("network in the rules")
	return h.startNetwork(n)
}

func (e element) member() bool { return e.set == setMembers4 || e.set == setMembers6 }

// RemoveNetwork removes a network and the ports that are left on it. One that is not
// there is removed.
func RemoveNetwork(id string) error {
	if err := (Network{ID: id, Subnet: netip.MustParsePrefix("0.0.0.0/0")}).Validate(); err != nil {
		return err
	}
	return with(func(h *host) error { return h.removeNetwork(id) })
}

func (h *host) removeNetwork(id string) error {
	list, err := h.ours()
	if err != nil {
		return err
	}
	name, others := BridgeName(id), false
	index := slices.IndexFunc(list, func(l netlink.Link) bool { return l.Attrs().Name == name })
	for _, link := range list {
		if index >= 0 && link.Attrs().MasterIndex == list[index].Attrs().Index {
			if err := h.removePort(link.Attrs().Name); err != nil {
				return err
			}
			continue
		}
		others = others || link.Type() == "bridge" && link.Attrs().Name != name
	}
	if err := h.delete(name); err != nil {
		return err
	}
	step("bridge deleted")
	if !others {
		return h.removeTables()
	}
	return h.forget(func(have []element) []element { return ofBridge(have, name) })
}

// forget removes elements, if there are tables.
func (h *host) forget(which func(have []element) []element) error {
	current, err := h.fire.quick()
	if err != nil || !current {
		return err // what is missing or of another version is made anew by Apply
	}
	have, err := h.fire.haveAll()
	if err != nil {
		return err
	}
	if gone := which(have); len(gone) > 0 {
		return h.fire.change(gone, nil)
	}
	return nil
}

// AddPort makes a port of a network that is there. One that exists is adopted, with its
// addresses as given here. When it fails, nothing that was not there before is left.
func AddPort(n Network, p Port) error {
	if err := errors.Join(n.Validate(), p.validate(n)); err != nil {
		return err
	}
	return with(func(h *host) error {
		before, err := h.find(p.Tap)
		if err != nil {
			return err
		}
		err = h.addPort(n, p)
		if err != nil && before == nil {
			err = errors.Join(err, h.removePort(p.Tap))
		}
		return err
	})
}

func (h *host) addPort(n Network, p Port) error {
	if err := h.fire.ensure(); err != nil {
		return err
	}
	var old []element
	ports, err := h.fire.have(false, setPorts)
	if err != nil {
		return err
	}
	if slices.ContainsFunc(ports, element{set: setPorts, key: key(p.Tap)}.same) {
		have, err := h.fire.haveAll()
		if err != nil {
			return err
		}
		old, _ = ofPort(have, p.Tap)
	}
	want := p.elements(n)
	if err := h.fire.change(without(old, want), without(want, old)); err != nil {
		return fmt.Errorf("port %s: %w", p.Tap, err)
	}
	step("port in the rules")
	return h.startPort(n, p)
}

// Unplug takes a port off its network at once, and leaves its tap to whoever is attached
// to it, switched off and in no bridge. AddPort plugs it in again. What is missing is no
// error.
func Unplug(tap string) error {
	if err := validateTap(tap); err != nil {
		return err
	}
	return with(func(h *host) error {
		addresses, err := h.forgetPort(tap)
		err = errors.Join(err, h.pull(tap))
		return errors.Join(err, forgetConnections(addresses))
	})
}

// pull switches a tap off and takes it out of its bridge.
func (h *host) pull(tap string) error {
	link, err := h.find(tap)
	if err != nil || link == nil {
		return err
	}
	err = pull(link.Attrs().Index)
	step("port pulled")
	if err != nil && !errors.Is(err, unix.ENODEV) {
		return fmt.Errorf("port %s: take it off its network: %w", tap, err)
	}
	return nil
}

// RemovePort removes a port; what is missing of it is no error.
func RemovePort(tap string) error {
	return with(func(h *host) error { return h.removePort(tap) })
}

func (h *host) removePort(tap string) error {
	addresses, err := h.forgetPort(tap)
	err = errors.Join(err, h.delete(tap))
	step("port deleted")
	return errors.Join(err, forgetConnections(addresses))
}

// forgetPort takes a port out of the rules, and gives the addresses that it had.
func (h *host) forgetPort(tap string) (addresses []netip.Addr, err error) {
	err = h.forget(func(have []element) (gone []element) {
		gone, addresses = ofPort(have, tap)
		return gone
	})
	step("port out of the rules")
	return addresses, err
}
