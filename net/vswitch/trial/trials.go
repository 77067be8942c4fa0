// Package trial is what a hostile guest sends: frames that a port of the switch must not let
// through, each beside honest ones of its kind that it must. Tests send them, on the host
// and from inside guests, and look what comes out elsewhere.
package trial

import (
	"net/netip"

	"github.com/gureum/gureum/net/ipam"
)

// Trial is a frame, and whether it may come through.
type Trial struct {
	What  string
	Frame []byte
	May   bool
}

// Network is the one that both ports are on.
type Network struct {
	Subnet, Subnet6 netip.Prefix
	Bridge          [6]byte // the host's address on it
}

// stranger is an address of the network that is nobody's.
func (n Network) stranger() netip.Addr {
	a := n.Subnet.Addr().As4()
	a[3] = 177
	return netip.AddrFrom4(a)
}

func (n Network) stranger6() netip.Addr {
	a := n.Subnet6.Addr().As16()
	a[15] = 0x77
	return netip.AddrFrom16(a)
}

// Port is one on it.
type Port struct {
	MAC     [6]byte
	IP, IP6 netip.Addr
}

func (p Port) eth(dst [6]byte, kind uint16, payload []byte) []byte {
	return Eth(dst, p.MAC, kind, payload)
}

// All are those that a sends, to b and to all.
func All(n Network, a, b Port) []Trial {
	var list []Trial
	list = append(list, etherTrials(n, a, b)...)
	list = append(list, arpTrials(n, a, b)...)
	list = append(list, ip4Trials(n, a, b)...)
	list = append(list, ip6Trials(n, a, b)...)
	return append(list, ndTrials(n, a, b)...)
}

// Protocols over IP (IANA's "Protocol Numbers").
const (
	protoICMP = 1
	protoIGMP = 2
	protoTCP  = 6
	protoUDP  = 17
	icmpV6    = 58
)

func addr(s string) netip.Addr { return netip.MustParseAddr(s) }

func etherTrials(n Network, a, b Port) []Trial {
	payload := IPv4(a.IP, b.IP, protoUDP, 0, UDP(5000, 5001, []byte("hello")))
	tagged := func(kind uint16, vid byte) []byte {
		return a.eth(b.MAC, kind, append([]byte{0, vid, 8, 0}, payload...))
	}
	stp := []byte{0x42, 0x42, 3, 0, 0, 0, 0, 0, 0x80, 0, 2, 0, 0, 0, 0, 9}
	return []Trial{
		{"unicast", a.eth(b.MAC, 0x0800, payload), true},
		{"another's MAC", Eth(b.MAC, [6]byte{2, 0x67, 0, 0, 0, 9}, 0x0800, payload), false},
		{"the receiver's MAC", Eth(b.MAC, b.MAC, 0x0800, payload), false},
		{"the gateway's MAC", Eth(b.MAC, n.Bridge, 0x0800, payload), false},
		{"VLAN 5", tagged(0x8100, 5), false},
		{"priority tag", tagged(0x8100, 0), false},
		{"QinQ", tagged(0x88a8, 5), false},
		{"802.3 to a group", a.eth([6]byte{1, 0, 0x0c, 0xcc, 0xcc, 0xcd}, uint16(len(stp)), stp), false},
		{"spanning tree", a.eth([6]byte{1, 0x80, 0xc2, 0, 0, 0}, uint16(len(stp)), stp), false},
		{"LLDP", a.eth([6]byte{1, 0x80, 0xc2, 0, 0, 0x0e}, 0x88cc, []byte{2, 7, 4, 1, 2, 3, 4, 5, 6}), false},
		{"MPLS", a.eth(b.MAC, 0x8847, payload), false},
		{"PPPoE discovery", a.eth(Broadcast, 0x8863, []byte{0x11, 9, 0, 0, 0, 0}), false},
		{"EAPOL", a.eth(b.MAC, 0x888e, []byte{1, 1, 0, 0}), false},
		{"IPv6 in an IPv4 frame", a.eth(b.MAC, 0x0800, IPv6(a.IP6, b.IP6, Header6{59, nil})), false},
	}
}

func arpTrials(n Network, a, b Port) []Trial {
	none, gw := netip.IPv4Unspecified(), ipam.Gateway(n.Subnet)
	zero := [6]byte{}
	one := func(what string, dst [6]byte, body []byte, may bool) Trial {
		return Trial{what, a.eth(dst, 0x0806, body), may}
	}
	edit := func(i int, v byte) []byte {
		body := ARP(1, a.MAC, a.IP, zero, b.IP)
		body[i] = v
		return body
	}
	return []Trial{
		one("ARP request", Broadcast, ARP(1, a.MAC, a.IP, zero, b.IP), true),
		one("ARP reply", b.MAC, ARP(2, a.MAC, a.IP, b.MAC, b.IP), true),
		one("gratuitous ARP", Broadcast, ARP(1, a.MAC, a.IP, zero, a.IP), true),
		one("ARP probe", Broadcast, ARP(1, a.MAC, none, zero, a.IP), true),
		one("ARP probe for another's address", Broadcast, ARP(1, a.MAC, none, zero, b.IP), false),
		one("ARP reply from nobody", b.MAC, ARP(2, a.MAC, none, b.MAC, a.IP), false),
		one("ARP for the gateway", b.MAC, ARP(2, a.MAC, gw, b.MAC, b.IP), false),
		one("ARP for the receiver", Broadcast, ARP(1, a.MAC, b.IP, zero, b.IP), false),
		one("ARP with another's MAC", b.MAC, ARP(2, n.Bridge, a.IP, b.MAC, b.IP), false),
		one("RARP operation", Broadcast, ARP(3, a.MAC, a.IP, zero, b.IP), false),
		one("ARP of another hardware", Broadcast, edit(1, 6), false),
		one("ARP of another protocol", Broadcast, edit(3, 1), false),
		one("ARP with longer addresses", Broadcast, edit(4, 8), false),
		one("ARP that is cut", Broadcast, ARP(1, a.MAC, gw, zero, b.IP)[:20], false),
	}
}

func ip4Trials(n Network, a, b Port) []Trial {
	all, none, group := addr("255.255.255.255"), netip.IPv4Unspecified(), addr("224.0.0.251")
	mdns := [6]byte{1, 0, 0x5e, 0, 0, 0xfb}
	hello := UDP(5000, 5001, []byte("hello"))
	server := UDP(67, 68, make([]byte, 300))
	discover := UDP(68, 67, make([]byte, 300))
	one := func(what string, dst [6]byte, body []byte, may bool) Trial {
		return Trial{what, a.eth(dst, 0x0800, body), may}
	}
	cut := IPv4(a.IP, b.IP, protoUDP, 0, server)
	cut[3]++ // longer than the frame is
	cut[2]++
	options := IPv4(a.IP, b.IP, protoUDP, 0, append(make([]byte, 4), server...))
	options[0] = 0x46
	return []Trial{
		one("IPv4", b.MAC, IPv4(a.IP, b.IP, protoUDP, 0, hello), true),
		one("IPv4 TCP", b.MAC, IPv4(a.IP, b.IP, protoTCP, 0, make([]byte, 20)), true),
		one("ping", b.MAC, IPv4(a.IP, b.IP, protoICMP, 0, []byte{8, 0, 0, 0, 0, 1, 0, 1}), true),
		one("mDNS", mdns, IPv4(a.IP, group, protoUDP, 0, UDP(5353, 5353, []byte("who"))), true),
		one("IGMP report", mdns, IPv4(a.IP, group, protoIGMP, 0, []byte{0x16, 0, 0, 0, 224, 0, 0, 251}), true),
		one("first fragment", b.MAC, IPv4(a.IP, b.IP, protoUDP, 0x2000, hello[:8]), true),
		one("second fragment", b.MAC, IPv4(a.IP, b.IP, protoUDP, 1, hello[8:]), true),
		one("another's IPv4", b.MAC, IPv4(n.stranger(), b.IP, protoUDP, 0, hello), false),
		one("the gateway's IPv4", b.MAC, IPv4(ipam.Gateway(n.Subnet), b.IP, protoUDP, 0, hello), false),
		one("the receiver's IPv4", b.MAC, IPv4(b.IP, b.IP, protoUDP, 0, hello), false),
		one("an outside IPv4", b.MAC, IPv4(addr("8.8.8.8"), b.IP, protoTCP, 0, make([]byte, 20)), false),
		one("another's IPv4 in a later fragment", b.MAC, IPv4(n.stranger(), b.IP, protoUDP, 1, hello[8:]), false),
		one("nobody's IPv4", b.MAC, IPv4(none, b.IP, protoUDP, 0, hello), false),
		one("nobody's IPv4 to all", Broadcast, IPv4(none, all, protoUDP, 0, hello), false),
		one("to loopback", b.MAC, IPv4(a.IP, addr("127.0.0.1"), protoUDP, 0, hello), false),
		one("DHCP server", Broadcast, IPv4(a.IP, all, protoUDP, 0, server), false),
		one("DHCP server to one", b.MAC, IPv4(a.IP, b.IP, protoUDP, 0, server), false),
		one("DHCP server from another port", b.MAC, IPv4(a.IP, b.IP, protoUDP, 0, UDP(7, 68, make([]byte, 300))), false),
		one("DHCP server, first fragment", b.MAC, IPv4(a.IP, b.IP, protoUDP, 0x2000, server[:64]), false),
		one("DHCP server behind options", b.MAC, options, false),
		one("DHCP server of the wrong length", b.MAC, cut, false),
		one("UDP ports in two fragments", b.MAC, IPv4(a.IP, b.IP, protoUDP, 0x2000, server[:2])[:22], false),
		one("DHCP discover to guests", Broadcast, IPv4(none, all, protoUDP, 0, discover), false),
		one("DHCP request to a guest", b.MAC, IPv4(a.IP, b.IP, protoUDP, 0, discover), false),
		one("ICMP redirect", b.MAC, IPv4(a.IP, b.IP, protoICMP, 0, append([]byte{5, 1, 0, 0}, make([]byte, 32)...)), false),
		one("ICMP router advertisement", Broadcast, IPv4(a.IP, all, protoICMP, 0, []byte{9, 0, 0, 0, 1, 2, 0, 9, 10, 88, 1, 9, 0, 0, 0, 0}), false),
		one("IGMP query", mdns, IPv4(a.IP, addr("224.0.0.1"), protoIGMP, 0, []byte{0x11, 0, 0, 0, 0, 0, 0, 0}), false),
		one("an IPv4 header of 4 bytes", b.MAC, append([]byte{0x41}, IPv4(a.IP, b.IP, protoUDP, 0, hello)[1:]...), false),
	}
}

// Extension headers (RFC 8200, 4): next header, length in 8 bytes without the first.
func hopByHop() Header6 { return Header6{0, []byte{0, 0, 1, 4, 0, 0, 0, 0}} }
func destOpts() Header6 { return Header6{60, []byte{0, 0, 1, 4, 0, 0, 0, 0}} }
func routing() Header6  { return Header6{43, []byte{0, 0, 4, 0, 0, 0, 0, 0}} }

func fragmentOf(offset uint16, more bool) Header6 {
	v := offset << 3
	if more {
		v |= 1
	}
	return Header6{44, []byte{0, 0, byte(v >> 8), byte(v), 1, 2, 3, 4}}
}

func ip6Trials(n Network, a, b Port) []Trial {
	hello := Header6{17, UDP(5000, 5001, []byte("hello"))}
	server := Header6{17, UDP(547, 546, make([]byte, 80))}
	mdns := addr("ff02::fb")
	ll := ipam.LinkLocal(a.MAC)
	one := func(what string, may bool, src, dst netip.Addr, chain ...Header6) Trial {
		mac := b.MAC
		if d := dst.As16(); dst.IsMulticast() {
			mac = [6]byte{0x33, 0x33, d[12], d[13], d[14], d[15]}
		}
		return Trial{what, a.eth(mac, 0x86dd, IPv6(src, dst, chain...)), may}
	}
	longer := Header6{60, []byte{0, 3, 1, 4, 0, 0, 0, 0}} // the rest of it is in the next fragment
	return []Trial{
		one("IPv6", true, a.IP6, b.IP6, hello),
		one("IPv6 link-local", true, ll, ipam.LinkLocal(b.MAC), hello),
		one("IPv6 mDNS", true, a.IP6, mdns, Header6{17, UDP(5353, 5353, []byte("who"))}),
		one("IPv6 TCP", true, a.IP6, b.IP6, Header6{6, make([]byte, 20)}),
		one("IPv6 ping", true, a.IP6, b.IP6, ICMPv6(a.IP6, b.IP6, 128, []byte{0, 1, 0, 1})),
		one("behind a hop-by-hop header", true, a.IP6, b.IP6, hopByHop(), hello),
		one("first fragment of IPv6", true, a.IP6, b.IP6, fragmentOf(0, true), hello),
		one("later fragment of IPv6", true, a.IP6, b.IP6, fragmentOf(1, false), Header6{17, []byte("hello...")}),
		one("another's IPv6", false, n.stranger6(), b.IP6, hello),
		one("the gateway's IPv6", false, ipam.Gateway(n.Subnet6), b.IP6, hello),
		one("another's link-local", false, ipam.LinkLocal(b.MAC), ipam.LinkLocal(b.MAC), hello),
		one("an outside IPv6", false, addr("2001:db8::7"), b.IP6, hello),
		one("another's IPv6 in a later fragment", false, n.stranger6(), b.IP6, fragmentOf(1, false), Header6{17, []byte("hello...")}),
		one("nobody's IPv6", false, netip.IPv6Unspecified(), b.IP6, hello),
		one("DHCPv6 server", false, ll, ipam.LinkLocal(b.MAC), server),
		one("DHCPv6 server behind headers", false, ll, ipam.LinkLocal(b.MAC), hopByHop(), destOpts(), server),
		one("DHCPv6 server in a fragment", false, ll, ipam.LinkLocal(b.MAC), fragmentOf(0, true), server),
		one("DHCPv6 server behind what the next fragment ends", false, ll, ipam.LinkLocal(b.MAC), fragmentOf(0, true), longer, Header6{17, UDP(547, 546, nil)}),
		one("DHCPv6 solicitation to guests", false, ll, addr("ff02::1:2"), Header6{17, UDP(546, 547, make([]byte, 40))}),
		one("a mobility header", false, a.IP6, b.IP6, Header6{135, []byte{58, 0, 0, 0, 0, 0, 0, 0, 134, 0, 0, 0}}),
	}
}

func ndTrials(n Network, a, b Port) []Trial {
	ll, every, gw := ipam.LinkLocal(a.MAC), addr("ff02::1"), ipam.Gateway(n.Subnet6)
	target := func(t netip.Addr, more ...byte) []byte {
		return append(append(make([]byte, 4), t.AsSlice()...), more...)
	}
	ra := ICMPv6(ll, every, 134, make([]byte, 12))
	na := func(t netip.Addr) Header6 { return ICMPv6(ll, every, 136, target(t)) }
	ns := func(src, dst, t netip.Addr) Header6 { return ICMPv6(src, dst, 135, target(t)) }
	solicited := func(t netip.Addr) netip.Addr {
		x := t.As16()
		return netip.AddrFrom16([16]byte{0xff, 2, 11: 1, 12: 0xff, 13: x[13], 14: x[14], 15: x[15]})
	}
	none := netip.IPv6Unspecified()
	one := func(what string, may bool, src, dst netip.Addr, chain ...Header6) Trial {
		d := dst.As16()
		mac := [6]byte{0x33, 0x33, d[12], d[13], d[14], d[15]}
		return Trial{what, a.eth(mac, 0x86dd, IPv6(src, dst, chain...)), may}
	}
	longer := Header6{60, []byte{0, 3, 1, 4, 0, 0, 0, 0}}
	// Options that say where the sender, or the target, is.
	at := func(kind byte, mac [6]byte) []byte { return append([]byte{kind, 1}, mac[:]...) }
	nsAt := func(options ...byte) Header6 { return ICMPv6(a.IP6, solicited(b.IP6), 135, target(b.IP6, options...)) }
	naAt := func(options ...byte) Header6 { return ICMPv6(ll, every, 136, target(a.IP6, options...)) }
	return []Trial{
		one("neighbour solicitation with the MAC address", true, a.IP6, solicited(b.IP6), nsAt(at(1, a.MAC)...)),
		one("neighbour advertisement with the MAC address", true, ll, every, naAt(at(2, a.MAC)...)),
		one("neighbour solicitation at the receiver's MAC address", false, a.IP6, solicited(b.IP6), nsAt(at(1, b.MAC)...)),
		one("neighbour solicitation at two MAC addresses", false, a.IP6, solicited(b.IP6), nsAt(append(at(1, a.MAC), at(1, b.MAC)...)...)),
		one("neighbour solicitation with half an option", false, a.IP6, solicited(b.IP6), nsAt(at(1, a.MAC)[:6]...)),
		one("neighbour solicitation at the receiver's MAC address, behind headers", false, a.IP6, solicited(b.IP6), hopByHop(), nsAt(at(1, b.MAC)...)),
		one("neighbour advertisement at the receiver's MAC address", false, ll, every, naAt(at(2, b.MAC)...)),
		one("neighbour advertisement at two MAC addresses", false, ll, every, naAt(append(at(2, a.MAC), at(2, b.MAC)...)...)),
		one("neighbour solicitation", true, a.IP6, solicited(b.IP6), ns(a.IP6, solicited(b.IP6), b.IP6)),
		one("neighbour advertisement", true, ll, every, na(a.IP6)),
		one("neighbour advertisement of the link-local address", true, ll, every, na(ll)),
		one("DAD", true, none, solicited(a.IP6), ns(none, solicited(a.IP6), a.IP6)),
		one("MLD report", true, ll, addr("ff02::16"), hopByHop(), ICMPv6(ll, addr("ff02::16"), 143, make([]byte, 4))),
		one("neighbour advertisement for the gateway", false, ll, every, na(gw)),
		one("neighbour advertisement for the receiver", false, ll, every, na(b.IP6)),
		one("neighbour advertisement for the receiver, behind headers", false, ll, every, hopByHop(), destOpts(), na(b.IP6)),
		one("neighbour advertisement in a fragment", false, ll, every, fragmentOf(0, true), na(a.IP6)),
		one("neighbour advertisement without a target", false, ll, every, ICMPv6(ll, every, 136, nil)),
		one("DAD for the receiver", false, none, solicited(b.IP6), ns(none, solicited(b.IP6), b.IP6)),
		one("DAD from nobody to all", false, none, every, ns(none, every, a.IP6)),
		one("router advertisement", false, ll, every, ra),
		one("router advertisement behind hop-by-hop", false, ll, every, hopByHop(), ra),
		one("router advertisement behind destination options", false, ll, every, destOpts(), ra),
		one("router advertisement behind a routing header", false, ll, every, routing(), ra),
		one("router advertisement behind all", false, ll, every, hopByHop(), destOpts(), routing(), destOpts(), ra),
		one("router advertisement in a fragment", false, ll, every, fragmentOf(0, true), ra),
		one("router advertisement in an atomic fragment", false, ll, every, fragmentOf(0, false), ra),
		one("router advertisement in two fragment headers", false, ll, every, fragmentOf(0, false), fragmentOf(1, true), ra),
		one("router advertisement behind what the next fragment ends", false, ll, every, fragmentOf(0, true), longer, ra),
		one("router advertisement from nobody", false, none, every, ICMPv6(none, every, 134, make([]byte, 12))),
		one("redirect", false, ll, ipam.LinkLocal(b.MAC), ICMPv6(ll, ipam.LinkLocal(b.MAC), 137, make([]byte, 36))),
		one("MLD query", false, ll, every, hopByHop(), ICMPv6(ll, every, 130, make([]byte, 20))),
		one("router solicitation to guests", false, ll, addr("ff02::2"), ICMPv6(ll, addr("ff02::2"), 133, make([]byte, 4))),
		one("node information", false, ll, every, ICMPv6(ll, every, 139, make([]byte, 12))),
	}
}
