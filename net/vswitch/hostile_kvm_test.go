package vswitch

import (
	"net/netip"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/gureum/gureum/net/ipam"
)

func addr(s string) netip.Addr { return netip.MustParseAddr(s) }

// frames of a guest, and whether they may come through.
type trial struct {
	what  string
	frame []byte
	may   bool
}

// TestKVMHostileGuest writes raw frames into one port, and looks at another.
func TestKVMHostileGuest(t *testing.T) {
	isolate(t)
	n := testNetwork(1)
	a, b := testPort(n, 1), testPort(n, 2)
	must(t, Apply(State{Networks: []Network{n}, Ports: []Port{a, b}}))
	from, to := a.wire(t), b.wire(t)
	var list []trial
	list = append(list, etherTrials(a, b)...)
	list = append(list, arpTrials(a, b)...)
	list = append(list, ip4Trials(a, b)...)
	list = append(list, ip6Trials(a, b)...)
	list = append(list, ndTrials(n, a, b)...)
	yes, no := 0, 0
	for _, x := range list {
		if got := from.reaches(to, x.frame); got != x.may {
			t.Errorf("%s: comes through: %v, want %v", x.what, got, x.may)
		}
		if x.may {
			yes++
		} else {
			no++
		}
	}
	t.Logf("%d honest frames and %d hostile ones", yes, no)
	// Without the rules, all of what is refused comes through but what the bridge itself
	// holds back: so the trials are no tests of a wire that is cut.
	f, err := openFirewall()
	must(t, err)
	must(t, f.remove())
	must(t, f.close())
	through := 0
	for _, x := range list {
		if !x.may && from.reaches(to, x.frame) {
			through++
		}
	}
	t.Logf("without rules %d of the %d hostile ones come through", through, no)
	if through < no-3 {
		t.Errorf("%d of %d come through without rules: the trials would not notice", through, no)
	}
}

func etherTrials(a, b Port) []trial {
	payload := ip4(a.IP, b.IP, unix.IPPROTO_UDP, 0, udp(5000, 5001, []byte("hello")))
	tagged := func(kind uint16, vid byte) []byte {
		return a.eth(b.MAC, kind, append([]byte{0, vid, 8, 0}, payload...))
	}
	stp := []byte{0x42, 0x42, 3, 0, 0, 0, 0, 0, 0x80, 0, 2, 0, 0, 0, 0, 9}
	return []trial{
		{"unicast", a.eth(b.MAC, 0x0800, payload), true},
		{"another's MAC", eth(b.MAC, [6]byte{2, 0x67, 0, 0, 0, 9}, 0x0800, payload), false},
		{"the receiver's MAC", eth(b.MAC, b.MAC, 0x0800, payload), false},
		{"the gateway's MAC", eth(b.MAC, bridgeMAC(a.Network), 0x0800, payload), false},
		{"VLAN 5", tagged(0x8100, 5), false},
		{"priority tag", tagged(0x8100, 0), false},
		{"QinQ", tagged(0x88a8, 5), false},
		{"802.3 to a group", a.eth([6]byte{1, 0, 0x0c, 0xcc, 0xcc, 0xcd}, uint16(len(stp)), stp), false},
		{"spanning tree", a.eth([6]byte{1, 0x80, 0xc2, 0, 0, 0}, uint16(len(stp)), stp), false},
		{"LLDP", a.eth([6]byte{1, 0x80, 0xc2, 0, 0, 0x0e}, 0x88cc, []byte{2, 7, 4, 1, 2, 3, 4, 5, 6}), false},
		{"MPLS", a.eth(b.MAC, 0x8847, payload), false},
		{"PPPoE discovery", a.eth(broadcast, 0x8863, []byte{0x11, 9, 0, 0, 0, 0}), false},
		{"EAPOL", a.eth(b.MAC, 0x888e, []byte{1, 1, 0, 0}), false},
		{"IPv6 in an IPv4 frame", a.eth(b.MAC, 0x0800, ip6(a.IP6, b.IP6, header6{59, nil})), false},
	}
}

func arpTrials(a, b Port) []trial {
	none, gw := netip.IPv4Unspecified(), addr("10.88.1.1")
	zero := [6]byte{}
	one := func(what string, dst [6]byte, body []byte, may bool) trial {
		return trial{what, a.eth(dst, 0x0806, body), may}
	}
	edit := func(i int, v byte) []byte {
		body := arp(1, a.MAC, a.IP, zero, b.IP)
		body[i] = v
		return body
	}
	return []trial{
		one("ARP request", broadcast, arp(1, a.MAC, a.IP, zero, b.IP), true),
		one("ARP reply", b.MAC, arp(2, a.MAC, a.IP, b.MAC, b.IP), true),
		one("gratuitous ARP", broadcast, arp(1, a.MAC, a.IP, zero, a.IP), true),
		one("ARP probe", broadcast, arp(1, a.MAC, none, zero, a.IP), true),
		one("ARP probe for another's address", broadcast, arp(1, a.MAC, none, zero, b.IP), false),
		one("ARP reply from nobody", b.MAC, arp(2, a.MAC, none, b.MAC, a.IP), false),
		one("ARP for the gateway", b.MAC, arp(2, a.MAC, gw, b.MAC, b.IP), false),
		one("ARP for the receiver", broadcast, arp(1, a.MAC, b.IP, zero, b.IP), false),
		one("ARP with another's MAC", b.MAC, arp(2, bridgeMAC(a.Network), a.IP, b.MAC, b.IP), false),
		one("RARP operation", broadcast, arp(3, a.MAC, a.IP, zero, b.IP), false),
		one("ARP of another hardware", broadcast, edit(1, 6), false),
		one("ARP of another protocol", broadcast, edit(3, 1), false),
		one("ARP with longer addresses", broadcast, edit(4, 8), false),
		one("ARP that is cut", broadcast, arp(1, a.MAC, gw, zero, b.IP)[:20], false),
	}
}

func ip4Trials(a, b Port) []trial {
	all, none, group := addr("255.255.255.255"), netip.IPv4Unspecified(), addr("224.0.0.251")
	mdns := [6]byte{1, 0, 0x5e, 0, 0, 0xfb}
	hello := udp(5000, 5001, []byte("hello"))
	server := udp(67, 68, make([]byte, 300))
	discover := udp(68, 67, make([]byte, 300))
	one := func(what string, dst [6]byte, body []byte, may bool) trial {
		return trial{what, a.eth(dst, 0x0800, body), may}
	}
	cut := ip4(a.IP, b.IP, unix.IPPROTO_UDP, 0, server)
	cut[3]++ // longer than the frame is
	cut[2]++
	options := ip4(a.IP, b.IP, unix.IPPROTO_UDP, 0, append(make([]byte, 4), server...))
	options[0] = 0x46
	return []trial{
		one("IPv4", b.MAC, ip4(a.IP, b.IP, unix.IPPROTO_UDP, 0, hello), true),
		one("IPv4 TCP", b.MAC, ip4(a.IP, b.IP, unix.IPPROTO_TCP, 0, make([]byte, 20)), true),
		one("ping", b.MAC, ip4(a.IP, b.IP, unix.IPPROTO_ICMP, 0, []byte{8, 0, 0, 0, 0, 1, 0, 1}), true),
		one("mDNS", mdns, ip4(a.IP, group, unix.IPPROTO_UDP, 0, udp(5353, 5353, []byte("who"))), true),
		one("IGMP report", mdns, ip4(a.IP, group, unix.IPPROTO_IGMP, 0, []byte{0x16, 0, 0, 0, 224, 0, 0, 251}), true),
		one("first fragment", b.MAC, ip4(a.IP, b.IP, unix.IPPROTO_UDP, 0x2000, hello[:8]), true),
		one("second fragment", b.MAC, ip4(a.IP, b.IP, unix.IPPROTO_UDP, 1, hello[8:]), true),
		one("another's IPv4", b.MAC, ip4(addr("10.88.1.77"), b.IP, unix.IPPROTO_UDP, 0, hello), false),
		one("the gateway's IPv4", b.MAC, ip4(addr("10.88.1.1"), b.IP, unix.IPPROTO_UDP, 0, hello), false),
		one("the receiver's IPv4", b.MAC, ip4(b.IP, b.IP, unix.IPPROTO_UDP, 0, hello), false),
		one("an outside IPv4", b.MAC, ip4(addr("8.8.8.8"), b.IP, unix.IPPROTO_TCP, 0, make([]byte, 20)), false),
		one("another's IPv4 in a later fragment", b.MAC, ip4(addr("10.88.1.77"), b.IP, unix.IPPROTO_UDP, 1, hello[8:]), false),
		one("nobody's IPv4", b.MAC, ip4(none, b.IP, unix.IPPROTO_UDP, 0, hello), false),
		one("nobody's IPv4 to all", broadcast, ip4(none, all, unix.IPPROTO_UDP, 0, hello), false),
		one("to loopback", b.MAC, ip4(a.IP, addr("127.0.0.1"), unix.IPPROTO_UDP, 0, hello), false),
		one("DHCP server", broadcast, ip4(a.IP, all, unix.IPPROTO_UDP, 0, server), false),
		one("DHCP server to one", b.MAC, ip4(a.IP, b.IP, unix.IPPROTO_UDP, 0, server), false),
		one("DHCP server from another port", b.MAC, ip4(a.IP, b.IP, unix.IPPROTO_UDP, 0, udp(7, 68, make([]byte, 300))), false),
		one("DHCP server, first fragment", b.MAC, ip4(a.IP, b.IP, unix.IPPROTO_UDP, 0x2000, server[:64]), false),
		one("DHCP server behind options", b.MAC, options, false),
		one("DHCP server of the wrong length", b.MAC, cut, false),
		one("UDP ports in two fragments", b.MAC, ip4(a.IP, b.IP, unix.IPPROTO_UDP, 0x2000, server[:2])[:22], false),
		one("DHCP discover to guests", broadcast, ip4(none, all, unix.IPPROTO_UDP, 0, discover), false),
		one("DHCP request to a guest", b.MAC, ip4(a.IP, b.IP, unix.IPPROTO_UDP, 0, discover), false),
		one("ICMP redirect", b.MAC, ip4(a.IP, b.IP, unix.IPPROTO_ICMP, 0, append([]byte{5, 1, 0, 0}, make([]byte, 32)...)), false),
		one("ICMP router advertisement", broadcast, ip4(a.IP, all, unix.IPPROTO_ICMP, 0, []byte{9, 0, 0, 0, 1, 2, 0, 9, 10, 88, 1, 9, 0, 0, 0, 0}), false),
		one("IGMP query", mdns, ip4(a.IP, addr("224.0.0.1"), unix.IPPROTO_IGMP, 0, []byte{0x11, 0, 0, 0, 0, 0, 0, 0}), false),
		one("an IPv4 header of 4 bytes", b.MAC, append([]byte{0x41}, ip4(a.IP, b.IP, unix.IPPROTO_UDP, 0, hello)[1:]...), false),
	}
}

// Extension headers (RFC 8200, 4): next header, length in 8 bytes without the first.
func hopByHop() header6 { return header6{0, []byte{0, 0, 1, 4, 0, 0, 0, 0}} }
func destOpts() header6 { return header6{60, []byte{0, 0, 1, 4, 0, 0, 0, 0}} }
func routing() header6  { return header6{43, []byte{0, 0, 4, 0, 0, 0, 0, 0}} }

func fragmentOf(offset uint16, more bool) header6 {
	v := offset << 3
	if more {
		v |= 1
	}
	return header6{44, []byte{0, 0, byte(v >> 8), byte(v), 1, 2, 3, 4}}
}

func ip6Trials(a, b Port) []trial {
	hello := header6{17, udp(5000, 5001, []byte("hello"))}
	server := header6{17, udp(547, 546, make([]byte, 80))}
	mdns := addr("ff02::fb")
	ll := ipam.LinkLocal(a.MAC)
	one := func(what string, may bool, src, dst netip.Addr, chain ...header6) trial {
		mac := b.MAC
		if d := dst.As16(); dst.IsMulticast() {
			mac = [6]byte{0x33, 0x33, d[12], d[13], d[14], d[15]}
		}
		return trial{what, a.eth(mac, 0x86dd, ip6(src, dst, chain...)), may}
	}
	longer := header6{60, []byte{0, 3, 1, 4, 0, 0, 0, 0}} // the rest of it is in the next fragment
	return []trial{
		one("IPv6", true, a.IP6, b.IP6, hello),
		one("IPv6 link-local", true, ll, ipam.LinkLocal(b.MAC), hello),
		one("IPv6 mDNS", true, a.IP6, mdns, header6{17, udp(5353, 5353, []byte("who"))}),
		one("IPv6 TCP", true, a.IP6, b.IP6, header6{6, make([]byte, 20)}),
		one("IPv6 ping", true, a.IP6, b.IP6, icmp6(a.IP6, b.IP6, 128, []byte{0, 1, 0, 1})),
		one("behind a hop-by-hop header", true, a.IP6, b.IP6, hopByHop(), hello),
		one("first fragment of IPv6", true, a.IP6, b.IP6, fragmentOf(0, true), hello),
		one("later fragment of IPv6", true, a.IP6, b.IP6, fragmentOf(1, false), header6{17, []byte("hello...")}),
		one("another's IPv6", false, addr("fd00:0:0:1::77"), b.IP6, hello),
		one("the gateway's IPv6", false, addr("fd00:0:0:1::1"), b.IP6, hello),
		one("another's link-local", false, ipam.LinkLocal(b.MAC), ipam.LinkLocal(b.MAC), hello),
		one("an outside IPv6", false, addr("2001:db8::7"), b.IP6, hello),
		one("another's IPv6 in a later fragment", false, addr("fd00:0:0:1::77"), b.IP6, fragmentOf(1, false), header6{17, []byte("hello...")}),
		one("nobody's IPv6", false, netip.IPv6Unspecified(), b.IP6, hello),
		one("DHCPv6 server", false, ll, ipam.LinkLocal(b.MAC), server),
		one("DHCPv6 server behind headers", false, ll, ipam.LinkLocal(b.MAC), hopByHop(), destOpts(), server),
		one("DHCPv6 server in a fragment", false, ll, ipam.LinkLocal(b.MAC), fragmentOf(0, true), server),
		one("DHCPv6 server behind what the next fragment ends", false, ll, ipam.LinkLocal(b.MAC), fragmentOf(0, true), longer, header6{17, udp(547, 546, nil)}),
		one("DHCPv6 solicitation to guests", false, ll, addr("ff02::1:2"), header6{17, udp(546, 547, make([]byte, 40))}),
		one("a mobility header", false, a.IP6, b.IP6, header6{135, []byte{58, 0, 0, 0, 0, 0, 0, 0, 134, 0, 0, 0}}),
	}
}

func ndTrials(n Network, a, b Port) []trial {
	ll, every, gw := ipam.LinkLocal(a.MAC), addr("ff02::1"), ipam.Gateway(n.Subnet6)
	target := func(t netip.Addr, more ...byte) []byte {
		return append(append(make([]byte, 4), t.AsSlice()...), more...)
	}
	ra := icmp6(ll, every, 134, make([]byte, 12))
	na := func(t netip.Addr) header6 { return icmp6(ll, every, 136, target(t)) }
	ns := func(src, dst, t netip.Addr) header6 { return icmp6(src, dst, 135, target(t)) }
	solicited := func(t netip.Addr) netip.Addr {
		x := t.As16()
		return netip.AddrFrom16([16]byte{0xff, 2, 11: 1, 12: 0xff, 13: x[13], 14: x[14], 15: x[15]})
	}
	none := netip.IPv6Unspecified()
	one := func(what string, may bool, src, dst netip.Addr, chain ...header6) trial {
		d := dst.As16()
		mac := [6]byte{0x33, 0x33, d[12], d[13], d[14], d[15]}
		return trial{what, a.eth(mac, 0x86dd, ip6(src, dst, chain...)), may}
	}
	longer := header6{60, []byte{0, 3, 1, 4, 0, 0, 0, 0}}
	return []trial{
		one("neighbour solicitation", true, a.IP6, solicited(b.IP6), ns(a.IP6, solicited(b.IP6), b.IP6)),
		one("neighbour advertisement", true, ll, every, na(a.IP6)),
		one("neighbour advertisement of the link-local address", true, ll, every, na(ll)),
		one("DAD", true, none, solicited(a.IP6), ns(none, solicited(a.IP6), a.IP6)),
		one("MLD report", true, ll, addr("ff02::16"), hopByHop(), icmp6(ll, addr("ff02::16"), 143, make([]byte, 4))),
		one("neighbour advertisement for the gateway", false, ll, every, na(gw)),
		one("neighbour advertisement for the receiver", false, ll, every, na(b.IP6)),
		one("neighbour advertisement for the receiver, behind headers", false, ll, every, hopByHop(), destOpts(), na(b.IP6)),
		one("neighbour advertisement in a fragment", false, ll, every, fragmentOf(0, true), na(a.IP6)),
		one("neighbour advertisement without a target", false, ll, every, icmp6(ll, every, 136, nil)),
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
		one("router advertisement from nobody", false, none, every, icmp6(none, every, 134, make([]byte, 12))),
		one("redirect", false, ll, ipam.LinkLocal(b.MAC), icmp6(ll, ipam.LinkLocal(b.MAC), 137, make([]byte, 36))),
		one("MLD query", false, ll, every, hopByHop(), icmp6(ll, every, 130, make([]byte, 20))),
		one("router solicitation to guests", false, ll, addr("ff02::2"), icmp6(ll, addr("ff02::2"), 133, make([]byte, 4))),
		one("node information", false, ll, every, icmp6(ll, every, 139, make([]byte, 12))),
	}
}
