// Package ipam decides which addresses networks and their ports get: subnets that
// collide with nothing, IPv4 addresses in them, and MAC addresses from which the IPv6
// ones follow.
//
// The commands that make networks and machines call it, with what is taken, and keep
// what it answers in their state; the switch (net/vswitch) enforces the result and the
// network service (net/service) tells the guests.
//
// The package is pure: it never looks at the host, keeps no state and knows no files.
// Random bytes for new IPv6 prefixes are the only thing that it takes from outside.
package ipam

import (
	"errors"
	"fmt"
	"net/netip"
)

// Errors that a caller decides on. They come wrapped, with the address or subnet in
// the message.
var (
	// ErrTaken says that an address or subnet was asked for that another has.
	ErrTaken = errors.New("taken already")
	// ErrFull says that nothing is left to choose from.
	ErrFull = errors.New("no free address")
)

// Sizes of IPv4 subnets, in bits of the prefix.
const (
	minBits = 8  // 10.0.0.0/8 is the largest private block
	maxBits = 30 // the gateway and one machine
	// autoBits is the size of a subnet that FreeSubnet gives: 253 machines.
	autoBits = 24
	// bits6 is the only size of an IPv6 subnet with which machines can make their
	// own addresses (RFC 4862, RFC 7421).
	bits6 = 64
)

// ParseSubnet reads an IPv4 subnet such as 10.88.3.0/24 and checks it as
// [CheckSubnet] does.
func ParseSubnet(s string) (netip.Prefix, error) {
	p, err := netip.ParsePrefix(s)
	if err != nil {
		return netip.Prefix{}, fmt.Errorf("subnet %q: not of the form 10.88.3.0/24", s)
	}
	return p, CheckSubnet(p)
}

// ParseSubnet6 reads an IPv6 subnet such as fd12:3456:789a:1::/64 and checks it as
// [CheckSubnet6] does.
func ParseSubnet6(s string) (netip.Prefix, error) {
	p, err := netip.ParsePrefix(s)
	if err != nil {
		return netip.Prefix{}, fmt.Errorf("subnet %q: not of the form fd12:3456:789a:1::/64", s)
	}
	return p, CheckSubnet6(p)
}

// CheckSubnet tells whether a network can have that IPv4 subnet: /8 to /30, no bits set
// behind the prefix, and addresses that are for ordinary hosts (RFC 6890).
func CheckSubnet(p netip.Prefix) error {
	switch {
	case !p.IsValid():
		return errors.New("no subnet")
	case !p.Addr().Is4():
		return fmt.Errorf("subnet %s: not IPv4", p)
	case p.Bits() < minBits || p.Bits() > maxBits:
		return fmt.Errorf("subnet %s: the prefix must have %d to %d bits", p, minBits, maxBits)
	case p != p.Masked():
		return fmt.Errorf("subnet %s: bits are set behind the prefix: do you mean %s?", p, p.Masked())
	}
	for _, bad := range [...]struct{ block, why string }{
		{"0.0.0.0/8", "stands for this host"},
		{"127.0.0.0/8", "is the host's loopback"},
		{"169.254.0.0/16", "is link-local"},
		{"224.0.0.0/4", "is multicast"},
		{"240.0.0.0/4", "is reserved"},
	} {
		if block := netip.MustParsePrefix(bad.block); block.Overlaps(p) {
			return fmt.Errorf("subnet %s: %s %s: take one of 10.0.0.0/8, 172.16.0.0/12 or 192.168.0.0/16", p, block, bad.why)
		}
	}
	return nil
}

// CheckSubnet6 tells whether a network can have that IPv6 subnet: a /64 of unique local
// (fc00::/7) or global unicast addresses (2000::/3).
func CheckSubnet6(p netip.Prefix) error {
	switch {
	case !p.IsValid():
		return errors.New("no subnet")
	case !p.Addr().Is6() || p.Addr().Is4In6():
		return fmt.Errorf("subnet %s: not IPv6", p)
	case p.Bits() != bits6:
		return fmt.Errorf("subnet %s: the prefix must have %d bits, or machines cannot make their addresses", p, bits6)
	case p != p.Masked():
		return fmt.Errorf("subnet %s: bits are set behind the prefix: do you mean %s?", p, p.Masked())
	}
	first := p.Addr().As16()[0]
	if first&0xfe != 0xfc && first&0xe0 != 0x20 {
		return fmt.Errorf("subnet %s: neither unique local (fd00::/8) nor global unicast (2000::/3)", p)
	}
	return nil
}

// Gateway is the first address behind a subnet's own: the bridge has it. It is meant
// for both families.
func Gateway(subnet netip.Prefix) netip.Addr { return subnet.Masked().Addr().Next() }

// Broadcast is the last address of an IPv4 subnet.
func Broadcast(subnet netip.Prefix) netip.Addr {
	b := subnet.Masked().Addr().As4()
	for bit := subnet.Bits(); bit < 32; bit++ {
		b[bit/8] |= 0x80 >> (bit % 8)
	}
	return netip.AddrFrom4(b)
}

// CheckAddress tells whether a machine can have that IPv4 address in that subnet.
func CheckAddress(subnet netip.Prefix, addr netip.Addr) error {
	switch {
	case !addr.Is4():
		return fmt.Errorf("address %s: not IPv4", addr)
	case !subnet.Contains(addr):
		return fmt.Errorf("address %s: outside the network's subnet %s", addr, subnet)
	case addr == subnet.Masked().Addr():
		return fmt.Errorf("address %s: is that of the subnet %s itself", addr, subnet)
	case addr == Gateway(subnet):
		return fmt.Errorf("address %s: is that of the network's gateway", addr)
	case addr == Broadcast(subnet):
		return fmt.Errorf("address %s: is the broadcast address of the subnet %s", addr, subnet)
	}
	return nil
}

// Allocate chooses the IPv4 address of a port: the one wished for or an error; else the
// one that it had before, if that is still possible; else the lowest that is free. A
// zero want or previous is none. The errors are ErrTaken, ErrFull, and those of
// [CheckAddress] for a wish.
//
// It never gives the subnet's own address, the gateway's or the broadcast address.
func Allocate(subnet netip.Prefix, taken map[netip.Addr]bool, want, previous netip.Addr) (netip.Addr, error) {
	if err := CheckSubnet(subnet); err != nil {
		return netip.Addr{}, err
	}
	if want.IsValid() {
		if err := CheckAddress(subnet, want); err != nil {
			return netip.Addr{}, err
		}
		if taken[want] {
			return netip.Addr{}, fmt.Errorf("address %s: %w", want, ErrTaken)
		}
		return want, nil
	}
	if previous.IsValid() && CheckAddress(subnet, previous) == nil && !taken[previous] {
		return previous, nil
	}
	// At most len(taken)+1 addresses are looked at.
	last := Broadcast(subnet)
	for addr := Gateway(subnet).Next(); addr != last; addr = addr.Next() {
		if !taken[addr] {
			return addr, nil
		}
	}
	return netip.Addr{}, fmt.Errorf("subnet %s: %w: remove machines, or make a network with a larger --subnet", subnet, ErrFull)
}
