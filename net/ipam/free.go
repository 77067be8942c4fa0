package ipam

import (
	"crypto/rand"
	"encoding/binary"
	"fmt"
	"io"
	"net/netip"
)

// Sizes below which a route is not taken for a use of its addresses: a default route,
// or the halves and quarters of one that VPNs set to go before it.
const (
	catchAll  = 8
	catchAll6 = 16
)

// tries bounds the search for what has so many random bits that the second try is hardly
// ever needed.
const tries = 1000

// FreeSubnet gives a /24 that overlaps nothing that is taken: the caller's networks and
// the host's addresses and routes. Routes of less than 8 bits, such as the default
// route, do not count (nor IPv6 ones of less than 16). It looks through 10.88.0.0/16 first, then the rest of
// 10.88.0.0/13, then 172.24.0.0/14 and 192.168.0.0/16, the latter from its end: its
// beginning is what home routers use.
func FreeSubnet(taken []netip.Prefix) (netip.Prefix, error) {
	for _, pool := range [...]struct {
		block   string
		fromEnd bool
	}{{"10.88.0.0/13", false}, {"172.24.0.0/14", false}, {"192.168.0.0/16", true}} {
		if p, ok := freeIn(netip.MustParsePrefix(pool.block), pool.fromEnd, taken); ok {
			return p, nil
		}
	}
	return netip.Prefix{}, fmt.Errorf("subnet: %w: all of 10.88.0.0/13, 172.24.0.0/14 and 192.168.0.0/16 is in use on this host: name a free one with --subnet", ErrFull)
}

func freeIn(pool netip.Prefix, fromEnd bool, taken []netip.Prefix) (netip.Prefix, bool) {
	base := pool.Addr().As4()
	first := binary.BigEndian.Uint32(base[:])
	count := uint32(1) << (autoBits - pool.Bits())
	for i := range count {
		if fromEnd {
			i = count - 1 - i
		}
		var a [4]byte
		binary.BigEndian.PutUint32(a[:], first+i<<(32-autoBits))
		p := netip.PrefixFrom(netip.AddrFrom4(a), autoBits)
		if !overlaps(p, taken) {
			return p, true
		}
	}
	return netip.Prefix{}, false
}

// CheckFree tells which of the prefixes that are taken a subnet overlaps, as
// [FreeSubnet] counts it. The error is ErrTaken.
func CheckFree(p netip.Prefix, taken []netip.Prefix) error {
	for _, t := range taken {
		if clash(p, t) {
			return fmt.Errorf("subnet %s: overlaps %s: %w", p, t, ErrTaken)
		}
	}
	return nil
}

func overlaps(p netip.Prefix, taken []netip.Prefix) bool {
	for _, t := range taken {
		if clash(p, t) {
			return true
		}
	}
	return false
}

// clash tells whether a subnet cannot be beside a prefix that is taken.
func clash(p, taken netip.Prefix) bool {
	least := catchAll
	if p.Addr().Is6() {
		least = catchAll6
	}
	return taken.IsValid() && taken.Bits() >= least && p.Overlaps(taken)
}

// FreeSubnet6 gives a /64 of a new unique local prefix (RFC 4193, section 3.2): fd00::/8,
// 40 random bits, subnet 0, that overlaps nothing that is taken.
func FreeSubnet6(taken []netip.Prefix) (netip.Prefix, error) {
	return freeSubnet6(rand.Reader, taken)
}

func freeSubnet6(random io.Reader, taken []netip.Prefix) (netip.Prefix, error) {
	for range tries {
		a := [16]byte{0xfd}
		if _, err := io.ReadFull(random, a[1:6]); err != nil {
			return netip.Prefix{}, fmt.Errorf("IPv6 subnet: random bytes: %w", err)
		}
		p := netip.PrefixFrom(netip.AddrFrom16(a), bits6)
		if !overlaps(p, taken) {
			return p, nil
		}
	}
	return netip.Prefix{}, fmt.Errorf("IPv6 subnet: %w in fd00::/8: name one with --ipv6", ErrFull)
}
