package vswitch

import (
	"fmt"
	"net"
	"slices"
	"strings"

	"github.com/google/nftables"
	"github.com/vishvananda/netlink"

	"github.com/gureum/gureum/net/dump"
)

// Check says what of a state is missing or was changed, in words. Nothing is left to do
// when it says nothing; otherwise Apply does it.
func Check(s State) (found []string, err error) {
	byID, err := s.check()
	if err != nil {
		return nil, err
	}
	err = with(func(h *host) error {
		list, err := h.ours()
		if err != nil {
			return err
		}
		there := map[string]netlink.Link{}
		for _, l := range list {
			there[l.Attrs().Name] = l
		}
		for _, n := range s.Networks {
			found = append(found, h.checkNetwork(n, there)...)
		}
		for _, p := range s.Ports {
			found = append(found, h.checkPort(byID[p.Network], p, there)...)
		}
		for _, name := range s.Unplugged {
			found = append(found, checkUnplugged(name, there)...)
		}
		for name := range there {
			found = append(found, "interface "+name+" is of nobody")
		}
		rules, err := h.checkRules(s.elements(byID))
		found = append(found, rules...)
		return err
	})
	slices.Sort(found)
	return found, err
}

// checkNetwork takes what it finds out of the map.
func (h *host) checkNetwork(n Network, there map[string]netlink.Link) []string {
	name, mac := BridgeName(n.ID), bridgeMAC(n.ID)
	link, ok := there[name]
	delete(there, name)
	if !ok {
		return []string{"bridge " + name + " is missing"}
	}
	var found []string
	bridge, ok := link.(*netlink.Bridge)
	if !ok || bridge.MTU != n.mtu() || bridge.HardwareAddr.String() != net.HardwareAddr(mac[:]).String() ||
		bridge.MulticastSnooping != nil && *bridge.MulticastSnooping || bridge.Flags&net.FlagUp == 0 {
		found = append(found, "bridge "+name+" was changed or switched off")
	}
	addresses, err := dump.Whole(func() ([]netlink.Addr, error) { return h.AddrList(link, netlink.FAMILY_ALL) })
	for _, want := range n.addresses() {
		if err != nil || !slices.ContainsFunc(addresses, func(a netlink.Addr) bool { return prefixOf(a.IPNet) == want }) {
			found = append(found, fmt.Sprintf("bridge %s has no address %v", name, want))
		}
	}
	sysctls := n.sysctls()
	if !n.Internal {
		for _, s := range wantForwarding(n.Subnet6.IsValid()) {
			sysctls = append(sysctls, [2]string{s, "1"})
		}
	}
	for _, s := range sysctls {
		if have, err := readSysctl(s[0]); err != nil || have != s[1] {
			found = append(found, fmt.Sprintf("net.%s is %s, not %s", strings.ReplaceAll(s[0], "/", "."), have, s[1]))
		}
	}
	return found
}

func (h *host) checkPort(n Network, p Port, there map[string]netlink.Link) []string {
	link, ok := there[p.Tap]
	delete(there, p.Tap)
	if !ok {
		return []string{"port " + p.Tap + " is missing"}
	}
	var found []string
	attrs := link.Attrs()
	bridge, err := h.find(BridgeName(n.ID))
	if err != nil || bridge == nil || attrs.MasterIndex != bridge.Attrs().Index {
		return append(found, "port "+p.Tap+" is not in its bridge")
	}
	if !fits(link, p) || attrs.Flags&net.FlagUp == 0 || attrs.MTU != n.mtu() {
		found = append(found, "port "+p.Tap+" was changed or switched off")
	}
	info, err := h.LinkGetProtinfo(link)
	if err != nil || info.Learning || info.Flood || !info.Guard || !info.RootBlock || info.Isolated != n.Isolated {
		found = append(found, "what port "+p.Tap+" may was changed")
	}
	fdb, err := h.forwardingOf(attrs.Index)
	pinned := func(e netlink.Neigh) bool {
		return e.State&netlink.NUD_NOARP != 0 && e.HardwareAddr.String() == net.HardwareAddr(p.MAC[:]).String()
	}
	if err != nil || !slices.ContainsFunc(fdb, pinned) {
		found = append(found, "port "+p.Tap+" is not in the forwarding database")
	}
	return found
}

func checkUnplugged(name string, there map[string]netlink.Link) []string {
	link, ok := there[name]
	delete(there, name)
	if ok && (link.Attrs().MasterIndex != 0 || link.Attrs().Flags&net.FlagUp != 0) {
		return []string{"port " + name + " is plugged in"}
	}
	return nil
}

func (h *host) checkRules(want []element) ([]string, error) {
	there, err := h.fire.exists()
	if err != nil {
		return nil, err
	}
	if len(want) == 0 {
		if slices.Contains(there, true) {
			return []string{"there are rules for no network"}, nil
		}
		return nil, nil
	}
	current, err := h.fire.current()
	if err != nil {
		return nil, err
	}
	if !current {
		return []string{"the rules are missing or were changed"}, nil
	}
	have, err := h.fire.haveAll()
	if err != nil {
		return nil, err
	}
	var found []string
	if n := len(without(want, have)); n > 0 {
		found = append(found, fmt.Sprintf("%d entries of the rules are missing", n))
	}
	if n := len(without(have, want)); n > 0 {
		found = append(found, fmt.Sprintf("%d entries of the rules are of nobody", n))
	}
	return found, nil
}

// Leftovers names the interfaces with our prefix and our tables, whatever they are for.
func Leftovers() (found []string, err error) {
	err = with(func(h *host) error {
		list, err := h.ours()
		if err != nil {
			return err
		}
		for _, l := range list {
			found = append(found, "interface "+l.Attrs().Name)
		}
		there, err := h.fire.exists()
		for i, t := range there {
			if t {
				family := map[nftables.TableFamily]string{nftables.TableFamilyBridge: "bridge", nftables.TableFamilyINet: "inet"}
				found = append(found, "table "+family[h.fire.tables[i].Family]+" "+tableName)
			}
		}
		return err
	})
	return found, err
}
