package vswitch

import (
	"github.com/google/nftables"
	"github.com/google/nftables/expr"
	"golang.org/x/sys/unix"
)

const (
	v4 = unix.NFPROTO_IPV4
	v6 = unix.NFPROTO_IPV6
)

// inetChains are what guests reach of the host, where a network leads, and address
// translation. What has nothing to do with our interfaces passes untouched.
func inetChains() []chain {
	return []chain{
		{name: "fromguest", rules: fromGuest()},
		{name: "toguest", rules: toGuest()},
		{name: "tohost", rules: toHost()},
		{name: "fromhost", rules: fromHost()},
		{name: "publish", rules: publish()},
		filter("early", nftables.ChainHookPrerouting, *nftables.ChainPriorityRaw,
			// See the bridge's input chain. With br_netfilter, what is bridged comes by here
			// from the bridge.
			rule{"not from a bridge of ours", fromUs().and(notIn(setBridges), drop())},
		),
		filter("input", nftables.ChainHookInput, *nftables.ChainPriorityFilter,
			rule{"from a guest", fromUs().and(jump("tohost"))},
		),
		filter("forward", nftables.ChainHookForward, *nftables.ChainPriorityFilter,
			rule{"from a guest", fromUs().and(jump("fromguest"))},
			rule{"to a guest", toUs().and(jump("toguest"))},
		),
		filter("hostoutput", nftables.ChainHookOutput, *nftables.ChainPriorityFilter,
			rule{"to a guest", toUs().and(jump("fromhost"))},
		),
		nat("prerouting", nftables.ChainHookPrerouting, nftables.ChainPriorityNATDest,
			rule{"the network's own services, TCP", all(services(v4, unix.IPPROTO_TCP), accept())},
			rule{"the network's own services, UDP", all(services(v4, unix.IPPROTO_UDP), accept())},
			rule{"the network's own services, TCP on IPv6", all(services(v6, unix.IPPROTO_TCP), accept())},
			rule{"the network's own services, UDP on IPv6", all(services(v6, unix.IPPROTO_UDP), accept())},
			rule{"to this host", local().and(jump("publish"))},
		),
		nat("output", nftables.ChainHookOutput, nftables.ChainPriorityRef(-100),
			rule{"to this host", local().and(jump("publish"))},
		),
		nat("postrouting", nftables.ChainHookPostrouting, nftables.ChainPriorityNATSource, leave()...),
	}
}

func daddr(f byte, reg uint32) match {
	if f == v4 {
		return nh(16, 4, reg)
	}
	return nh(24, 16, reg)
}

func saddr(f byte, reg uint32) match {
	if f == v4 {
		return nh(12, 4, reg)
	}
	return nh(8, 16, reg)
}

func pick(f byte, four, six string) string {
	if f == v4 {
		return four
	}
	return six
}

// toGateway is for the gateway of the guest's own network.
func toGateway(f byte) match {
	return all(family(f), iif(), daddr(f, reg2), in(pick(f, setGateways4, setGateways6)))
}

// services is DNS on the gateway.
func services(f, p byte) match {
	return all(fromUs(), toGateway(f), proto(p), th(2, 2, reg1), eq(0, 53))
}

// toHost is what a guest may send to this host.
func toHost() []rule {
	udp := func(f byte, hi, lo byte) match {
		return all(family(f), proto(unix.IPPROTO_UDP), th(2, 2, reg1), eq(hi, lo), accept())
	}
	nd := func(low, high byte) match {
		return all(family(v6), proto(unix.IPPROTO_ICMPV6), th(0, 1, reg1), between(low, high), accept())
	}
	echo := func(f, p, t byte) match {
		return all(toGateway(f), proto(p), th(0, 1, reg1), eq(t), accept())
	}
	return []rule{
		{"not from a bridge of ours", iif().and(notIn(setBridges), drop())},
		{"answers to this host", known().and(accept())},
		// Such packets are let in on the bridges for what is published on 127.0.0.1.
		{"to loopback", all(family(v4), nh(16, 1, reg1), eq(127), drop())},
		{"DHCP", udp(v4, 0, 67)},
		{"DHCPv6", udp(v6, 0x02, 0x23)},
		{"router solicitation", nd(icmpRouterSolicitation, icmpRouterSolicitation)},
		{"neighbours", nd(icmpNeighborSolicitation, icmpNeighborAdvertisement)},
		{"DNS by UDP", services(v4, unix.IPPROTO_UDP).and(accept())},
		{"DNS by TCP", services(v4, unix.IPPROTO_TCP).and(accept())},
		{"DNS by UDP on IPv6", services(v6, unix.IPPROTO_UDP).and(accept())},
		{"DNS by TCP on IPv6", services(v6, unix.IPPROTO_TCP).and(accept())},
		{"echo", echo(v4, unix.IPPROTO_ICMP, 8)},
		{"ICMPv6 echo", echo(v6, unix.IPPROTO_ICMPV6, 128)},
		{"the host is open to this network", iif().and(in(setHostAccess), accept())},
		{"all else", drop()},
	}
}

// fromHost is what programs of this host may send to a guest. What leads to a guest by a
// published port was sent to an address of the host, and does not come by here: the hook
// goes on with the interface of that address, lo, after the destination was translated.
func fromHost() []rule {
	icmp := func(low, high byte) match {
		return all(family(v6), proto(unix.IPPROTO_ICMPV6), th(0, 1, reg1), between(low, high), accept())
	}
	return []rule{
		{"a network that the host reaches", oif(reg1).and(notIn(setShielded), accept())},
		{"answers to a guest", known().and(accept())},
		{"neighbours", icmp(icmpNeighborSolicitation, icmpNeighborAdvertisement)},
		{"multicast listener", icmp(icmpMLDReport1, icmpMLDDone)},
		{"multicast listener, version 2", icmp(icmpMLDReport2, icmpMLDReport2)},
		{"all else", drop()},
	}
}

// fromGuest is what this host forwards for a guest.
func fromGuest() []rule {
	return []rule{
		{"not from a bridge of ours", iif().and(notIn(setBridges), drop())},
		{"in the same network", iif().and(oif(reg2), in(setPeers), accept())},
		{"an internal network", iif().and(in(setInternal), drop())},
		{"what another guest published", all(toUs(), translated(), accept())},
		{"to another network", all(toUs(), drop())},
		{"outside", accept()},
	}
}

// toGuest is what this host forwards to a guest from elsewhere.
func toGuest() []rule {
	return []rule{
		{"an internal network", oif(reg1).and(in(setInternal), drop())},
		{"answers to a guest", known().and(accept())},
		{"published", translated().and(accept())},
		{"all else", drop()},
	}
}

// publish sends what comes to a published port to its guest.
func publish() []rule {
	var rules []rule
	for _, f := range []byte{v4, v6} {
		words := uint32(1) // of an address
		if f == v6 {
			words = 4
		}
		// Key: protocol . address . port. Data: address . port.
		l4 := meta(expr.MetaKeyL4PROTO, reg32)
		to := func(set string) match {
			return match{
				&expr.Lookup{SourceRegister: reg32, DestRegister: reg32, IsDestRegSet: true, SetName: set},
				&expr.NAT{Type: expr.NATTypeDestNAT, Family: uint32(f), RegAddrMin: reg32, RegProtoMin: reg32 + words, Specified: true},
			}
		}
		transport := family(f).and(meta(expr.MetaKeyL4PROTO, reg1))
		for _, p := range []byte{unix.IPPROTO_TCP, unix.IPPROTO_UDP} {
			what := map[byte]string{unix.IPPROTO_TCP: "TCP", unix.IPPROTO_UDP: "UDP"}[p] + pick(f, "", " on IPv6")
			only := transport.and(eq(p))
			rules = append(rules,
				rule{"published on an address, " + what, all(only, l4, daddr(f, reg32+1), th(2, 2, reg32+1+words), to(pick(f, mapPublish4, mapPublish6)))},
				rule{"published, " + what, all(only, l4, th(2, 2, reg32+1), to(pick(f, mapPublishAny4, mapPublishAny6)))})
		}
	}
	return rules
}

// leave translates sources, for answers to come back this way.
func leave() []rule {
	masquerade := match{&expr.Masq{}}
	return []rule{
		{"from loopback to a guest", all(toUs(), family(v4), nh(12, 1, reg1), eq(127), masquerade)},
		{"between guests of a network, by the host", all(
			toUs(), translated(), family(v4), oif(reg1), saddr(v4, reg2), in(setMembers4), masquerade)},
		{"between guests of a network, by the host, on IPv6", all(
			toUs(), translated(), family(v6), oif(reg1), saddr(v6, reg2), in(setMembers6), masquerade)},
		{"outside", all(notToUs(), family(v4), saddr(v4, reg1), in(setGuests4), masquerade)},
		{"outside, on IPv6", all(notToUs(), family(v6), saddr(v6, reg1), in(setGuests6), masquerade)},
	}
}
