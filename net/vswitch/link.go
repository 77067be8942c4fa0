package vswitch

import (
	"bytes"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strings"
	"syscall"

	"github.com/songgao/water"
	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"

	"github.com/gureum/gureum/net/dump"
	"github.com/gureum/gureum/net/ipam"
)

// links is a connection to the kernel's interfaces.
type links struct {
	*netlink.Handle
	fdb *[]netlink.Neigh // read when it is first asked for: there is one for all bridges
}

func openLinks() (links, error) {
	h, err := netlink.NewHandle(unix.NETLINK_ROUTE)
	if err != nil {
		return links{}, fmt.Errorf("connect to rtnetlink: %w", err)
	}
	return links{h, new([]netlink.Neigh)}, nil
}

// find returns nil for an interface that is not there.
func (l links) find(name string) (netlink.Link, error) {
	link, err := l.LinkByName(name)
	var none netlink.LinkNotFoundError
	if errors.As(err, &none) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("interface %s: %w", name, err)
	}
	return link, nil
}

// ours lists the interfaces with our prefix.
func (l links) ours() ([]netlink.Link, error) {
	list, err := dump.Whole(l.LinkList)
	if err != nil {
		return nil, fmt.Errorf("list the interfaces: %w", err)
	}
	var out []netlink.Link
	for _, link := range list {
		if strings.HasPrefix(link.Attrs().Name, Prefix) {
			out = append(out, link)
		}
	}
	return out, nil
}

// delete removes an interface; one that is not there is fine.
func (l links) delete(name string) error {
	link, err := l.find(name)
	if err != nil || link == nil {
		return err
	}
	if err := l.LinkDel(link); err != nil && !errors.Is(err, unix.ENODEV) {
		return fmt.Errorf("delete %s: %w", name, err)
	}
	return nil
}

// makeBridge makes or mends a bridge, and leaves it as it is, up or down.
func (l links) makeBridge(n Network) (netlink.Link, error) {
	name, mac, off := BridgeName(n.ID), bridgeMAC(n.ID), false
	link, err := l.find(name)
	if err != nil {
		return nil, err
	}
	if link == nil {
		attrs := netlink.NewLinkAttrs()
		attrs.Name, attrs.MTU, attrs.HardwareAddr = name, n.mtu(), mac[:]
		// Snooping would let a guest join and leave groups, and be the querier.
		if err := l.LinkAdd(&netlink.Bridge{LinkAttrs: attrs, MulticastSnooping: &off}); err != nil {
			return nil, fmt.Errorf("make the bridge %s: %w", name, err)
		}
		step("bridge made")
		return l.find(name)
	}
	bridge, ok := link.(*netlink.Bridge)
	if !ok {
		return nil, fmt.Errorf("interface %s is a %s and not a bridge: it is in the way", name, link.Type())
	}
	if bridge.MTU != n.mtu() {
		if err := l.LinkSetMTU(link, n.mtu()); err != nil {
			return nil, fmt.Errorf("bridge %s: set the MTU: %w", name, err)
		}
	}
	if !bytes.Equal(bridge.HardwareAddr, mac[:]) {
		if err := l.LinkSetHardwareAddr(link, mac[:]); err != nil {
			return nil, fmt.Errorf("bridge %s: set the MAC address: %w", name, err)
		}
	}
	if bridge.MulticastSnooping == nil || *bridge.MulticastSnooping {
		bridge.MulticastSnooping = &off
		if err := l.LinkModify(bridge); err != nil {
			return nil, fmt.Errorf("bridge %s: switch multicast snooping off: %w", name, err)
		}
	}
	return link, nil
}

// addresses of the bridge: the gateways'.
func (n Network) addresses() []netip.Prefix {
	list := []netip.Prefix{netip.PrefixFrom(ipam.Gateway(n.Subnet), n.Subnet.Bits())}
	if n.Subnet6.IsValid() {
		list = append(list, netip.PrefixFrom(ipam.Gateway(n.Subnet6), n.Subnet6.Bits()))
	}
	return list
}

// startBridge gives a bridge its addresses and switches it on.
func (l links) startBridge(link netlink.Link, n Network) error {
	name := link.Attrs().Name
	have, err := dump.Whole(func() ([]netlink.Addr, error) { return l.AddrList(link, netlink.FAMILY_ALL) })
	if err != nil {
		return fmt.Errorf("bridge %s: list the addresses: %w", name, err)
	}
	for i := range have {
		p := prefixOf(have[i].IPNet)
		if p.Addr().IsLinkLocalUnicast() || contains(n.addresses(), p) {
			continue
		}
		if err := l.AddrDel(link, &have[i]); err != nil {
			return fmt.Errorf("bridge %s: remove %v: %w", name, p, err)
		}
	}
	for _, p := range n.addresses() {
		a := &netlink.Addr{IPNet: &net.IPNet{IP: p.Addr().AsSlice(), Mask: net.CIDRMask(p.Bits(), p.Addr().BitLen())}}
		if p.Addr().Is6() {
			a.Flags = unix.IFA_F_NODAD // nobody else can have it
		}
		if err := l.AddrReplace(link, a); err != nil {
			return fmt.Errorf("bridge %s: add %v: %w", name, p, err)
		}
		step("bridge address")
	}
	if link.Attrs().Flags&net.FlagUp == 0 {
		if err := l.LinkSetUp(link); err != nil {
			return fmt.Errorf("bridge %s: switch on: %w", name, err)
		}
	}
	return nil
}

func prefixOf(n *net.IPNet) netip.Prefix {
	a, _ := netip.AddrFromSlice(n.IP)
	bits, _ := n.Mask.Size()
	return netip.PrefixFrom(a.Unmap(), bits)
}

func contains(list []netip.Prefix, p netip.Prefix) bool {
	for _, x := range list {
		if x == p {
			return true
		}
	}
	return false
}

// makeTap makes a persistent tap, which its owner can attach to.
//
// The library opens /dev/net/tun without close-on-exec. A process that is started
// meanwhile would have the guest's wire, so none is: the lock is the one that os/exec
// takes.
func makeTap(p Port) error {
	syscall.ForkLock.RLock()
	defer syscall.ForkLock.RUnlock()
	made, err := water.New(water.Config{
		DeviceType: water.TAP,
		PlatformSpecificParams: water.PlatformSpecificParams{
			Name: p.Tap, Persist: true, MultiQueue: p.Queues > 1,
			Permissions: &water.DevicePermissions{Owner: uint(p.UID), Group: uint(p.GID)},
		},
	})
	if err != nil {
		return fmt.Errorf("make the tap %s: %w", p.Tap, err)
	}
	return made.Close()
}

// fits tells whether a tap that exists is as it shall be. Its owner and number of
// queues cannot be told to change while it is attached to.
func fits(link netlink.Link, p Port) bool {
	t, ok := link.(*netlink.Tuntap)
	return ok && t.Mode == netlink.TUNTAP_MODE_TAP && !t.NonPersist && int(t.Owner) == p.UID && int(t.Group) == p.GID &&
		(t.Flags&netlink.TUNTAP_MULTI_QUEUE != 0) == (p.Queues > 1)
}

// ensureTap adopts a tap or makes it. It tells whether it was made.
func (l links) ensureTap(p Port) (link netlink.Link, made bool, err error) {
	link, err = l.find(p.Tap)
	if err != nil {
		return nil, false, err
	}
	if link != nil && !fits(link, p) {
		if err := l.delete(p.Tap); err != nil {
			return nil, false, err
		}
		link = nil
	}
	if link == nil {
		if err := makeTap(p); err != nil {
			return nil, false, err
		}
		made = true
		step("tap made")
		if link, err = l.find(p.Tap); err == nil && link == nil {
			err = fmt.Errorf("tap %s: it vanished", p.Tap)
		}
	}
	return link, made, err
}

// plug puts a tap into its bridge, with what a bridge enforces itself, and switches it
// on.
func (l links) plug(link netlink.Link, p Port, n Network, bridge int) error {
	name, index := p.Tap, link.Attrs().Index
	// The host has no addresses there, and says nothing to the guest from there.
	if err := quiet(name); err != nil {
		return err
	}
	if err := set(index, bridge, n.mtu(), false); err != nil {
		return fmt.Errorf("port %s: put into %s: %w", name, BridgeName(n.ID), err)
	}
	step("port in bridge")
	if err := setPort(index, n.Isolated); err != nil {
		return fmt.Errorf("port %s: set what it may: %w", name, err)
	}
	step("port set")
	if err := l.pin(index, p.MAC); err != nil {
		return fmt.Errorf("port %s: %w", name, err)
	}
	step("port pinned")
	if err := set(index, bridge, n.mtu(), true); err != nil {
		return fmt.Errorf("port %s: switch on: %w", name, err)
	}
	return nil
}

// set gives an interface its bridge and MTU and, if up, switches it on, in one message.
func set(index, bridge, mtu int, up bool) error {
	req := nl.NewNetlinkRequest(unix.RTM_NEWLINK, unix.NLM_F_ACK)
	msg := nl.NewIfInfomsg(unix.AF_UNSPEC)
	msg.Index = int32(index)
	req.AddData(msg)
	if up {
		msg.Change, msg.Flags = unix.IFF_UP, unix.IFF_UP
	} else {
		req.AddData(nl.NewRtAttr(unix.IFLA_MTU, nl.Uint32Attr(uint32(mtu))))
		req.AddData(nl.NewRtAttr(unix.IFLA_MASTER, nl.Uint32Attr(uint32(bridge))))
	}
	_, err := req.Execute(unix.NETLINK_ROUTE, 0)
	return err
}

// pull switches an interface off and takes it out of its bridge, in one message.
func pull(index int) error {
	req := nl.NewNetlinkRequest(unix.RTM_NEWLINK, unix.NLM_F_ACK)
	msg := nl.NewIfInfomsg(unix.AF_UNSPEC)
	msg.Index, msg.Change = int32(index), unix.IFF_UP
	req.AddData(msg)
	req.AddData(nl.NewRtAttr(unix.IFLA_MASTER, nl.Uint32Attr(0)))
	_, err := req.Execute(unix.NETLINK_ROUTE, 0)
	return err
}

// setPort sets a bridge port's flags in one message. Nothing is learned from it, frames
// for MAC addresses that nobody has do not come to it, and it takes no part in spanning
// trees.
func setPort(index int, isolated bool) error {
	req := nl.NewNetlinkRequest(unix.RTM_SETLINK, unix.NLM_F_ACK)
	msg := nl.NewIfInfomsg(unix.AF_BRIDGE)
	msg.Index = int32(index)
	req.AddData(msg)
	info := nl.NewRtAttr(unix.IFLA_PROTINFO|unix.NLA_F_NESTED, nil)
	flag := func(attr int, on bool) {
		v := byte(0)
		if on {
			v = 1
		}
		info.AddRtAttr(attr, []byte{v})
	}
	flag(nl.IFLA_BRPORT_LEARNING, false)
	flag(nl.IFLA_BRPORT_UNICAST_FLOOD, false)
	flag(nl.IFLA_BRPORT_GUARD, true)
	flag(nl.IFLA_BRPORT_PROTECT, true) // root block
	flag(nl.IFLA_BRPORT_ISOLATED, isolated)
	req.AddData(info)
	_, err := req.Execute(unix.NETLINK_ROUTE, 0)
	return err
}

// forwardingOf lists where a port is in the forwarding database.
func (l links) forwardingOf(index int) ([]netlink.Neigh, error) {
	if *l.fdb == nil {
		list, err := dump.Whole(func() ([]netlink.Neigh, error) { return l.NeighList(0, unix.AF_BRIDGE) })
		if err != nil {
			return nil, fmt.Errorf("list the forwarding database: %w", err)
		}
		*l.fdb = list
	}
	var out []netlink.Neigh
	for _, e := range *l.fdb {
		if e.LinkIndex == index {
			out = append(out, e)
		}
	}
	return out, nil
}

// unpin removes what an earlier guest of a port left, but for the port's own entries,
// which are permanent.
func (l links) unpin(index int, mac [6]byte) error {
	old, err := l.forwardingOf(index)
	if err != nil {
		return err
	}
	for _, e := range old {
		if e.State&netlink.NUD_PERMANENT != 0 || bytes.Equal(e.HardwareAddr, mac[:]) {
			continue
		}
		e.Flags |= netlink.NTF_MASTER
		if err := l.NeighDel(&e); err != nil && !errors.Is(err, unix.ENOENT) {
			return fmt.Errorf("remove %v from the forwarding database: %w", e.HardwareAddr, err)
		}
	}
	return nil
}

// pin says where a MAC address is, for good.
func (l links) pin(index int, mac [6]byte) error {
	err := l.NeighSet(&netlink.Neigh{
		LinkIndex: index, Family: unix.AF_BRIDGE, State: netlink.NUD_NOARP, Flags: netlink.NTF_MASTER, HardwareAddr: mac[:],
	})
	if err != nil {
		return fmt.Errorf("add %v to the forwarding database: %w", net.HardwareAddr(mac[:]), err)
	}
	return nil
}
