package ipam

import (
	"bytes"
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"testing"
)

func TestParseSubnet(t *testing.T) {
	for _, c := range []struct{ in, err string }{
		{"10.88.3.0/24", ""},
		{"10.0.0.0/8", ""},
		{"192.168.7.4/30", ""},
		{"203.0.113.0/24", ""}, // somebody's own public block
		{"", "not of the form"},
		{"10.88.3.0", "not of the form"},
		{"10.88.3.0/33", "not of the form"},
		{"10.88.3.0/024", "not of the form"},
		{"10.88.3.1/24", "do you mean 10.88.3.0/24?"},
		{"10.88.3.0/31", "must have 8 to 30 bits"},
		{"8.0.0.0/7", "must have 8 to 30 bits"},
		{"0.0.0.0/0", "must have 8 to 30 bits"},
		{"0.1.0.0/24", "stands for this host"},
		{"127.3.0.0/24", "is the host's loopback"},
		{"169.254.1.0/24", "is link-local"},
		{"224.0.0.0/24", "is multicast"},
		{"255.255.255.0/24", "is reserved"},
		{"fd00::/64", "not IPv4"},
		{"::ffff:10.88.3.0/120", "not IPv4"},
	} {
		p, err := ParseSubnet(c.in)
		checkError(t, c.in, err, c.err)
		if err == nil && p.String() != c.in {
			t.Errorf("%s: %s", c.in, p)
		}
	}
}

func TestParseSubnet6(t *testing.T) {
	for _, c := range []struct{ in, err string }{
		{"fd12:3456:789a:1::/64", ""},
		{"2001:db8:0:7::/64", ""},
		{"fc00::/64", ""},
		{"fd12::", "not of the form"},
		{"fd12:3456:789a:1::/56", "must have 64 bits"},
		{"fd12:3456:789a:1::/80", "must have 64 bits"},
		{"fd12:3456:789a:1::1/64", "do you mean fd12:3456:789a:1::/64?"},
		{"fe80::/64", "neither unique local"},
		{"ff02::/64", "neither unique local"},
		{"::/64", "neither unique local"},
		{"64:ff9b::/64", "neither unique local"},
		{"10.88.3.0/24", "not IPv6"},
		{"fd00::%eth0/64", "not of the form"},
	} {
		p, err := ParseSubnet6(c.in)
		checkError(t, c.in, err, c.err)
		if err == nil && p.String() != c.in {
			t.Errorf("%s: %s", c.in, p)
		}
	}
	if CheckSubnet(netip.Prefix{}) == nil || CheckSubnet6(netip.Prefix{}) == nil {
		t.Error("no subnet is one")
	}
}

func checkError(t *testing.T, what string, err error, part string) {
	t.Helper()
	switch {
	case part == "" && err != nil:
		t.Errorf("%s: %v", what, err)
	case part != "" && (err == nil || !strings.Contains(err.Error(), part)):
		t.Errorf("%s: %v, not one with %q", what, err, part)
	}
}

func prefixes(list ...string) (out []netip.Prefix) {
	for _, s := range list {
		out = append(out, netip.MustParsePrefix(s))
	}
	return out
}

func TestFreeSubnet(t *testing.T) {
	for _, c := range []struct {
		name  string
		taken []netip.Prefix
		want  string
	}{
		{"nothing taken", nil, "10.88.0.0/24"},
		{"default routes", prefixes("0.0.0.0/0", "0.0.0.0/1", "128.0.0.0/1", "::/0"), "10.88.0.0/24"},
		{"podman's network", prefixes("10.88.0.0/16"), "10.89.0.0/24"},
		{"a gap", prefixes("10.88.0.0/24", "10.88.1.128/30", "10.88.3.0/24"), "10.88.2.0/24"},
		{"an address", prefixes("10.88.0.7/32"), "10.88.1.0/24"},
		{"a company's VPN", prefixes("10.0.0.0/8"), "172.24.0.0/24"},
		{"a larger one", prefixes("10.0.0.0/8", "172.16.0.0/12"), "192.168.255.0/24"},
		{"nearly all", prefixes("10.0.0.0/8", "172.16.0.0/12", "192.168.128.0/17", "192.168.127.1/32"), "192.168.126.0/24"},
		{"IPv6 and none", append(prefixes("fd00::/8"), netip.Prefix{}), "10.88.0.0/24"},
	} {
		p, err := FreeSubnet(c.taken)
		if err != nil || p.String() != c.want {
			t.Errorf("%s: %s, %v; want %s", c.name, p, err, c.want)
			continue
		}
		if err := errors.Join(CheckSubnet(p), CheckFree(p, c.taken)); err != nil {
			t.Errorf("%s: %v", c.name, err)
		}
	}
	if p, err := FreeSubnet(prefixes("10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16")); !errors.Is(err, ErrFull) {
		t.Errorf("nothing is left: %s, %v", p, err)
	}
	if err := CheckFree(netip.MustParsePrefix("10.88.0.0/24"), prefixes("10.88.0.128/25")); !errors.Is(err, ErrTaken) {
		t.Errorf("overlap: %v", err)
	}
}

// TestFreeSubnetUntilFull takes all that there is: no two overlap.
func TestFreeSubnetUntilFull(t *testing.T) {
	// One /16 of each pool is left: more would take a minute.
	taken := prefixes("10.88.0.0/14", "10.92.0.0/15", "10.94.0.0/16", "172.24.0.0/15", "172.26.0.0/16")
	seen := map[netip.Prefix]bool{}
	for {
		p, err := FreeSubnet(taken)
		if errors.Is(err, ErrFull) {
			break
		}
		if err != nil || seen[p] {
			t.Fatalf("%s after %d: %v", p, len(seen), err)
		}
		seen[p] = true
		// One entry for each /16 keeps the test quick.
		taken = append(taken, p)
		if wide, _ := p.Addr().Prefix(16); len(seen)%256 == 0 {
			taken = append(taken[:len(taken)-256], wide)
		}
	}
	if want := 3 * 256; len(seen) != want {
		t.Errorf("%d subnets, want %d", len(seen), want)
	}
}

func TestFreeSubnet6(t *testing.T) {
	p, err := FreeSubnet6(prefixes("::/0", "2000::/3", "fc00::/7", "fd7a:115c:a1e0::/48"))
	if err != nil || CheckSubnet6(p) != nil || p.Addr().As16()[0] != 0xfd {
		t.Errorf("%s, %v", p, err)
	}
	if q, _ := FreeSubnet6(nil); p == q {
		t.Errorf("twice the same: %s", p)
	}
	random := strings.NewReader("abcdefghij")
	p, err = freeSubnet6(random, prefixes("fd61:6263:6465::/48"))
	if err != nil || p.String() != "fd66:6768:696a::/64" {
		t.Errorf("%s, %v", p, err)
	}
	if _, err := freeSubnet6(bytes.NewReader(nil), nil); err == nil {
		t.Error("no random bytes: no error")
	}
	if _, err := FreeSubnet6(prefixes("fd00::/16", "fd00::/8")); err != nil {
		t.Errorf("a route of 8 bits counts: %v", err)
	}
}

func TestFixedAddresses(t *testing.T) {
	for _, c := range []struct{ subnet, gateway, broadcast string }{
		{"10.88.3.0/24", "10.88.3.1", "10.88.3.255"},
		{"10.0.0.0/8", "10.0.0.1", "10.255.255.255"},
		{"192.168.7.4/30", "192.168.7.5", "192.168.7.7"},
		{"10.88.16.0/20", "10.88.16.1", "10.88.31.255"},
	} {
		p := netip.MustParsePrefix(c.subnet)
		if g, b := Gateway(p).String(), Broadcast(p).String(); g != c.gateway || b != c.broadcast {
			t.Errorf("%s: %s, %s", c.subnet, g, b)
		}
	}
	if g := Gateway(netip.MustParsePrefix("fd12::/64")).String(); g != "fd12::1" {
		t.Errorf("IPv6: %s", g)
	}
}

func TestAllocate(t *testing.T) {
	subnet := netip.MustParsePrefix("10.88.3.0/29") // .1 is the gateway, .7 broadcast
	none := netip.Addr{}
	addr := netip.MustParseAddr
	taken := func(list ...string) map[netip.Addr]bool {
		m := map[netip.Addr]bool{}
		for _, s := range list {
			m[addr(s)] = true
		}
		return m
	}
	for _, c := range []struct {
		name           string
		taken          map[netip.Addr]bool
		want, previous netip.Addr
		got, err       string
	}{
		{"first", nil, none, none, "10.88.3.2", ""},
		{"lowest free", taken("10.88.3.2", "10.88.3.4"), none, none, "10.88.3.3", ""},
		{"as before", nil, none, addr("10.88.3.5"), "10.88.3.5", ""},
		{"before is taken", taken("10.88.3.5"), none, addr("10.88.3.5"), "10.88.3.2", ""},
		{"before is elsewhere", nil, none, addr("10.88.4.5"), "10.88.3.2", ""},
		{"before is the gateway", nil, none, addr("10.88.3.1"), "10.88.3.2", ""},
		{"wish", nil, addr("10.88.3.6"), addr("10.88.3.5"), "10.88.3.6", ""},
		{"wish is taken", taken("10.88.3.6"), addr("10.88.3.6"), none, "", "taken already"},
		{"wish is outside", nil, addr("10.88.4.6"), none, "", "outside the network's subnet 10.88.3.0/29"},
		{"wish is the subnet", nil, addr("10.88.3.0"), none, "", "the subnet 10.88.3.0/29 itself"},
		{"wish is the gateway", nil, addr("10.88.3.1"), none, "", "gateway"},
		{"wish is broadcast", nil, addr("10.88.3.7"), none, "", "broadcast"},
		{"wish is IPv6", nil, addr("fd00::2"), none, "", "not IPv4"},
		{"wish is mapped", nil, addr("::ffff:10.88.3.6"), none, "", "not IPv4"},
		{"last", taken("10.88.3.2", "10.88.3.3", "10.88.3.4", "10.88.3.5"), none, none, "10.88.3.6", ""},
		{"full", taken("10.88.3.2", "10.88.3.3", "10.88.3.4", "10.88.3.5", "10.88.3.6"), none, addr("10.88.3.5"), "", "no free address"},
	} {
		got, err := Allocate(subnet, c.taken, c.want, c.previous)
		checkError(t, c.name, err, c.err)
		if err == nil && got.String() != c.got {
			t.Errorf("%s: %s, want %s", c.name, got, c.got)
		}
	}
	if _, err := Allocate(netip.MustParsePrefix("fd00::/64"), nil, none, none); err == nil {
		t.Error("IPv6 subnet: no error")
	}
}

// TestAllocateAll fills a subnet: each address once, none of the three that are no
// machine's.
func TestAllocateAll(t *testing.T) {
	subnet := netip.MustParsePrefix("10.88.3.0/24")
	taken := map[netip.Addr]bool{}
	for {
		a, err := Allocate(subnet, taken, netip.Addr{}, netip.Addr{})
		if errors.Is(err, ErrFull) {
			break
		}
		if err != nil || CheckAddress(subnet, a) != nil {
			t.Fatalf("%s: %v, %v", a, err, CheckAddress(subnet, a))
		}
		taken[a] = true
	}
	if len(taken) != 253 {
		t.Errorf("%d addresses", len(taken))
	}
}

const fixedMAC = "36:d3:7e:4e:dd:cc"

func TestMAC(t *testing.T) {
	seen := map[[6]byte]string{}
	for vm := range 100 {
		for nic := range 4 {
			who := fmt.Sprintf("%08x/%d", vm, nic)
			mac := MAC(fmt.Sprintf("%08x", vm), nic, nil)
			if err := CheckMAC(mac); err != nil || mac[0]&macLocal == 0 {
				t.Errorf("%s: %s: %v", who, FormatMAC(mac), err)
			}
			if other := seen[mac]; other != "" {
				t.Errorf("%s and %s have the same address", who, other)
			}
			seen[mac] = who
		}
	}
	// Machines that were made by another version must get the same.
	if got := FormatMAC(MAC("0123456789ab", 1, nil)); got != fixedMAC {
		t.Errorf("%s, want %s", got, fixedMAC)
	}
	first := MAC("a", 0, nil)
	second := MAC("a", 0, func(m [6]byte) bool { return m == first })
	if first == second || second != MAC("a", 0, func(m [6]byte) bool { return m == first }) {
		t.Errorf("%x and %x", first, second)
	}
	if CheckMAC(MAC("a", 0, func([6]byte) bool { return true })) != nil {
		t.Error("all are taken: not an address")
	}
}

func TestParseMAC(t *testing.T) {
	for _, c := range []struct{ in, want, err string }{
		{"02:12:34:56:78:9a", "02:12:34:56:78:9a", ""},
		{"02-12-34-56-78-9A", "02:12:34:56:78:9a", ""},
		{"00:1B:44:11:3a:b7", "00:1b:44:11:3a:b7", ""},
		{"", "", "not of the form"},
		{"02:12:34:56:78", "", "not of the form"},
		{"02:12:34:56:78:9a:bc", "", "not of the form"},
		{"02:12-34:56:78:9a", "", "not of the form"},
		{"02.12.34.56.78.9a", "", "not of the form"},
		{"0212:3456:789a:xx", "", "not of the form"},
		{"g2:12:34:56:78:9a", "", "not of the form"},
		{"00:00:00:00:00:00", "", "all zeros"},
		{"ff:ff:ff:ff:ff:ff", "", "multicast or broadcast"},
		{"01:00:5e:00:00:01", "", "multicast or broadcast"},
	} {
		mac, err := ParseMAC(c.in)
		checkError(t, c.in, err, c.err)
		if err == nil && FormatMAC(mac) != c.want {
			t.Errorf("%s: %s", c.in, FormatMAC(mac))
		}
	}
}

func TestMACOf(t *testing.T) {
	mac := [6]byte{0x34, 0x56, 0x78, 0x9a, 0xbc, 0xde}
	for _, prefix := range []string{"fd12:3456:789a::/64", "2001:db8::/64", "fe80::/64"} {
		if got, ok := MACOf(EUI64(netip.MustParsePrefix(prefix), mac)); !ok || got != mac {
			t.Errorf("%s: % x, %v", prefix, got, ok)
		}
	}
	for _, text := range []string{"fd00::1", "10.88.0.2", "::ffff:10.88.0.2", "fd00::ff:fe00:0:0"} {
		if got, ok := MACOf(netip.MustParseAddr(text)); ok {
			t.Errorf("%s: % x", text, got)
		}
	}
	if _, ok := MACOf(netip.Addr{}); ok {
		t.Error("no address")
	}
}

func TestEUI64(t *testing.T) {
	mac := [6]byte{0x02, 0x12, 0x34, 0x56, 0x78, 0x9a}
	if a := EUI64(netip.MustParsePrefix("fd12:3456:789a::/64"), mac).String(); a != "fd12:3456:789a:0:12:34ff:fe56:789a" {
		t.Errorf("local: %s", a)
	}
	// The example of RFC 4291, appendix A: the bit is inverted.
	if a := EUI64(netip.MustParsePrefix("2001:db8::/64"), [6]byte{0x34, 0x56, 0x78, 0x9a, 0xbc, 0xde}).String(); a != "2001:db8::3656:78ff:fe9a:bcde" {
		t.Errorf("universal: %s", a)
	}
	if a := LinkLocal(mac).String(); a != "fe80::12:34ff:fe56:789a" {
		t.Errorf("link-local: %s", a)
	}
	if a := EUI64(netip.Prefix{}, mac); a.IsValid() {
		t.Errorf("no prefix: %s", a)
	}
}

// FuzzParse holds that what the parsers take is sound, and written back the same.
func FuzzParse(f *testing.F) {
	for _, s := range []string{"10.88.3.0/24", "fd12:3456:789a:1::/64", "02:12:34:56:78:9a", "::ffff:10.0.0.0/104", "ff:ff:ff:ff:ff:ff", "fe80::%x/64"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		if p, err := ParseSubnet(s); err == nil {
			a, err := Allocate(p, nil, netip.Addr{}, netip.Addr{})
			if err != nil || !p.Contains(a) || CheckAddress(p, a) != nil {
				t.Errorf("%q: %s, %v", s, a, err)
			}
		}
		if p, err := ParseSubnet6(s); err == nil {
			if a := EUI64(p, [6]byte{2}); !p.Contains(a) || !p.Contains(Gateway(p)) {
				t.Errorf("%q: %s", s, a)
			}
		}
		if mac, err := ParseMAC(s); err == nil {
			if again, err := ParseMAC(FormatMAC(mac)); err != nil || again != mac {
				t.Errorf("%q: %x, %v", s, again, err)
			}
		}
	})
}
