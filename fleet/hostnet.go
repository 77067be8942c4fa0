package fleet

import (
	"fmt"
	"net/netip"

	"github.com/vishvananda/netlink"

	"github.com/gureum/gureum/net/dump"
)

// hostPrefixes are the host's addresses and routes, which a network must not overlap.
func hostPrefixes() ([]netip.Prefix, error) {
	var out []netip.Prefix
	routes, err := dump.Whole(func() ([]netlink.Route, error) { return netlink.RouteList(nil, netlink.FAMILY_ALL) })
	if err != nil {
		return nil, fmt.Errorf("list the host's routes: %w", err)
	}
	for _, r := range routes {
		if r.Dst == nil {
			continue
		}
		if ip, ok := netip.AddrFromSlice(r.Dst.IP); ok {
			bits, _ := r.Dst.Mask.Size()
			out = append(out, netip.PrefixFrom(ip.Unmap(), bits).Masked())
		}
	}
	return out, nil
}
