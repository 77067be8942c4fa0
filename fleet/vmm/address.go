package vmm

import (
	"net/netip"

	"github.com/gureum/gureum/guest/agent"
)

// addressText writes an address that the guest told. Those of its loopback are nobody
// else's affair.
func addressText(a agent.Address) (string, bool) {
	ip, ok := netip.AddrFromSlice(a.IP)
	if !ok || ip.IsLoopback() || a.Bits < 0 || a.Bits > ip.BitLen() {
		return "", false
	}
	return netip.PrefixFrom(ip, a.Bits).String(), true
}
