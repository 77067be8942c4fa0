package vswitch

import (
	"errors"
	"fmt"
	"net/netip"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/gureum/gureum/net/dump"
)

// forgetConnections makes the kernel forget the connections of addresses, so that a
// guest that gets one of them next does not inherit them.
func forgetConnections(addresses []netip.Addr) error {
	var errs []error
	for _, a := range addresses {
		family := netlink.InetFamily(unix.AF_INET)
		if a.Is6() {
			family = unix.AF_INET6
		}
		var filters []netlink.CustomConntrackFilter
		for _, side := range []netlink.ConntrackFilterType{netlink.ConntrackOrigSrcIP, netlink.ConntrackReplySrcIP} {
			f := &netlink.ConntrackFilter{}
			if err := f.AddIP(side, a.AsSlice()); err != nil {
				return err
			}
			filters = append(filters, f)
		}
		_, err := dump.Whole(func() (uint, error) {
			return netlink.ConntrackDeleteFilters(netlink.ConntrackTable, family, filters...)
		})
		if err != nil && !errors.Is(err, unix.ENOENT) && !errors.Is(err, unix.EOPNOTSUPP) && !errors.Is(err, unix.EPROTONOSUPPORT) {
			errs = append(errs, fmt.Errorf("forget the connections of %v: %w", a, err))
		}
	}
	return errors.Join(errs...)
}
