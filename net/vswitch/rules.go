package vswitch

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"

	"github.com/google/nftables"
	"github.com/google/nftables/expr"
	"golang.org/x/sys/unix"
)

// chain is one of a table, with its rules. Their number does not depend on the ports.
type chain struct {
	name     string
	hook     *nftables.ChainHook // nil: others go to it
	kind     nftables.ChainType
	priority nftables.ChainPriority
	rules    []rule
}

type rule struct {
	why  string // a comment in the kernel
	then match
}

// Priorities (linux/netfilter_bridge.h, linux/netfilter_ipv4.h).
const (
	priorityBridgeNAT = -300 // before br_netfilter lends packets to the IP hooks, at 0
	priorityBridge    = -200
)

func filter(name string, hook *nftables.ChainHook, priority nftables.ChainPriority, rules ...rule) chain {
	return chain{name: name, hook: hook, kind: nftables.ChainTypeFilter, priority: priority, rules: rules}
}

func nat(name string, hook *nftables.ChainHook, priority *nftables.ChainPriority, rules ...rule) chain {
	return chain{name: name, hook: hook, kind: nftables.ChainTypeNAT, priority: *priority, rules: rules}
}

// digest identifies the rules of this version of the program.
func digest(chains []chain) string {
	h := sha256.New()
	for _, c := range chains {
		fmt.Fprintln(h, c.name, c.kind, c.priority)
		for _, r := range c.rules {
			fmt.Fprintln(h, r.why)
			for _, e := range r.then {
				fmt.Fprintf(h, "%T %+v\n", e, e)
			}
		}
	}
	return hex.EncodeToString(h.Sum(nil)[:6])
}

// bridgeChains are what a port may send, and what reaches one.
func bridgeChains() []chain {
	return []chain{
		{name: "from4", rules: from4()},
		{name: "from6", rules: from6()},
		{name: "fromarp", rules: fromARP()},
		filter("prerouting", nftables.ChainHookPrerouting, priorityBridgeNAT,
			rule{"not from a port", notFromUs().and(accept())},
			rule{"source MAC is not the port's", iif().and(ll(6, 6, reg2), notIn(setMACs), drop())},
			rule{"ARP", etherType(0x08, 0x06).and(jump("fromarp"))},
			rule{"IPv4", etherType(0x08, 0x00).and(jump("from4"))},
			rule{"IPv6", etherType(0x86, 0xdd).and(jump("from6"))},
			rule{"VLAN, 802.3, anything else", drop()},
		),
		// Frames to 01:80:c2:00:00:0X go from the port to the host's stack, past the hook
		// above (br_handle_frame).
		filter("input", nftables.ChainHookInput, priorityBridge,
			rule{"control frame to the host", fromUs().and(ll(0, 5, reg1), eq(0x01, 0x80, 0xc2, 0, 0), drop())},
		),
		filter("forward", nftables.ChainHookForward, priorityBridge,
			rule{"DHCP request to a port", between46(unix.IPPROTO_UDP, 0x08, 0x00).and(th(2, 2, reg1), eq(0, 67), drop())},
			rule{"DHCPv6 request to a port", between46(unix.IPPROTO_UDP, 0x86, 0xdd).and(th(2, 2, reg1), eq(0x02, 0x23), drop())},
			rule{"router solicitation to a port", between46(unix.IPPROTO_ICMPV6, 0x86, 0xdd).and(th(0, 1, reg1), eq(133), drop())},
		),
	}
}

// between46 is from one port to another, of an Ethernet type and a protocol above.
func between46(p, hi, lo byte) match {
	return all(fromUs(), toUs(), etherType(hi, lo), proto(p))
}

// fromARP is ARP for IPv4 on Ethernet (RFC 826), requests and replies.
func fromARP() []rule {
	own := iif()
	return []rule{
		{"own MAC and IPv4", all(
			nh(0, 6, reg1), eq(0, 1, 8, 0, 6, 4), nh(6, 1, reg1), eq(0), nh(7, 1, reg1), between(1, 2),
			own, nh(8, 6, reg2), nh(14, 4, reg32+6), in(setARP), accept())},
		// The target of a probe is what the sender wants to have (RFC 5227, 2.1.1).
		{"probe for own IPv4", all(
			nh(0, 8, reg1), eq(0, 1, 8, 0, 6, 4, 0, 1), nh(14, 4, reg1), eq(0, 0, 0, 0),
			own, nh(8, 6, reg2), nh(24, 4, reg32+6), in(setARP), accept())},
		{"other ARP", drop()},
	}
}

// from4 is IPv4 of a port. Only the first fragment has a transport header; what is in
// it is looked at there, and without it the others are nothing.
func from4() []rule {
	whole := nh(6, 2, reg1).and(mask(0x3f, 0xff), eq(0, 0))
	later := nh(6, 2, reg1).and(mask(0x1f, 0xff), neq(0, 0))
	valid := meta(expr.MetaKeyL4PROTO, reg1) // not there when lengths are wrong
	return []rule{
		{"to loopback", nh(16, 1, reg1).and(eq(127), drop())},
		{"DHCP without an address", all(
			nh(12, 8, reg1), eq(0, 0, 0, 0, 255, 255, 255, 255), whole,
			proto(unix.IPPROTO_UDP), th(0, 4, reg1), eq(0, 68, 0, 67), accept())},
		{"source is not the port's IPv4", iif().and(nh(12, 4, reg2), notIn(setIP4), drop())},
		{"later fragment", valid.and(later, accept())},
		{"UDP but a DHCP server's", proto(unix.IPPROTO_UDP).and(th(0, 2, reg1), neq(0, 67), th(2, 2, reg1), neq(0, 68), accept())},
		// Redirect and router advertisement (RFC 792, RFC 1256).
		{"ICMP but a router's", proto(unix.IPPROTO_ICMP).and(th(0, 1, reg1), neq(5), neq(9), accept())},
		{"IGMP but a querier's", proto(unix.IPPROTO_IGMP).and(th(0, 1, reg1), neq(0x11), accept())},
		{"other protocol", valid.and(neq(unix.IPPROTO_UDP), neq(unix.IPPROTO_ICMP), neq(unix.IPPROTO_IGMP), accept())},
		{"all else", drop()},
	}
}

// ICMPv6 types (RFC 4443, RFC 4861, RFC 3810).
const (
	icmpMLDReport1, icmpMLDDone  = 131, 132
	icmpRouterSolicitation       = 133
	icmpNeighborSolicitation     = 135
	icmpNeighborAdvertisement    = 136
	icmpMLDReport2               = 143
	protoMobility, protoHIP      = 135, 139
	protoShim6, protoExperiment1 = 140, 253
	protoExperiment2             = 254
)

// from6 is IPv6 of a port. The kernel looks for the transport header behind all
// extension headers that it knows.
func from6() []rule {
	own := iif()
	icmp := func(types ...match) match {
		return proto(unix.IPPROTO_ICMPV6).and(th(0, 1, reg1)).and(types...)
	}
	list := []rule{
		// RFC 4862, 5.4.2. To a solicited-node address, from one hop away.
		{"DAD for own IPv6", all(
			nh(8, 16, reg1), eq(make([]byte, 16)...), nh(7, 1, reg1), eq(255),
			nh(24, 13, reg1), eq(0xff, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0xff), whole6(),
			proto(unix.IPPROTO_ICMPV6), th(0, 2, reg1), eq(icmpNeighborSolicitation, 0),
			own, th(8, 16, reg2), in(setIP6), accept())},
		{"source is not the port's IPv6", own.and(nh(8, 16, reg2), notIn(setIP6), drop())},
		{"later fragment", meta(expr.MetaKeyL4PROTO, reg1).and(later6(), accept())},
	}
	list = append(list, neighbors("neighbour advertisement for own IPv6", icmpNeighborAdvertisement, 24, optionTarget, own.and(th(8, 16, reg2), in(setIP6)))...)
	list = append(list, neighbors("neighbour solicitation", icmpNeighborSolicitation, 24, optionSource, nil)...)
	list = append(list, neighbors("router solicitation", icmpRouterSolicitation, 8, optionSource, nil)...)
	return append(list, []rule{
		{"multicast listener", icmp(between(icmpMLDReport1, icmpMLDDone), whole6(), accept())},
		{"multicast listener, version 2", icmp(eq(icmpMLDReport2), whole6(), accept())},
		{"ICMPv6 errors", icmp(between(1, 4), accept())},
		{"ICMPv6 echo", icmp(between(128, 129), accept())},
		{"UDP but a DHCPv6 server's", proto(unix.IPPROTO_UDP).and(th(0, 2, reg1), neq(0x02, 0x23), th(2, 2, reg1), neq(0x02, 0x22), accept())},
		// Headers that another stack may look behind and this one does not.
		{"other protocol", meta(expr.MetaKeyL4PROTO, reg1).and(
			neq(unix.IPPROTO_UDP), neq(unix.IPPROTO_ICMPV6), neq(protoMobility), neq(protoHIP),
			neq(protoShim6), neq(protoExperiment1), neq(protoExperiment2), accept())},
		{"all else", drop()},
	}...)
}

// Options of neighbour discovery (RFC 4861, 4.6.1) that say at which link-layer address the
// sender, or the target, is. They have the length 8.
const (
	optionSource = 1
	optionTarget = 2
)

// neighbors are a message of neighbour discovery by itself, of so many bytes, and one with an
// option that says the port's own MAC address. Other options and more of them are nothing
// that a host needs, and the receiver might believe the last one.
func neighbors(what string, kind byte, length uint32, option byte, and match) []rule {
	message := func(n uint32, more match) match {
		return all(
			proto(unix.IPPROTO_ICMPV6), th(0, 1, reg1), eq(kind), whole6(),
			nh(4, 2, reg1), eq(0, byte(n)), and, more, accept())
	}
	own := all(th(length, 2, reg1), eq(option, 1), iif(), th(length+2, 6, reg2), in(setMACs))
	return []rule{
		{what, message(length, nil)},
		{what + ", own MAC", message(length+8, own)},
	}
}
