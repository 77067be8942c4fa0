package service

import (
	"net/netip"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"github.com/miekg/dns"

	"github.com/gureum/gureum/net/ipam"
)

var (
	backMAC  = [6]byte{0x02, 0, 0, 0, 0, 0x20}
	back4    = netip.MustParsePrefix("10.88.4.0/24")
	back6    = netip.MustParsePrefix("fd12:3456:789b::/64")
	backHost = Host{Name: "Store", MAC: backMAC, IP: netip.MustParseAddr("10.88.4.7"), IP6: ipam.EUI64(back6, backMAC)}
)

// testOthers are two networks that web is on, too, of which one has a machine of a name
// that this network has as well.
func testOthers() []Other {
	same := Host{Name: "web", MAC: [6]byte{2, 9}, IP: netip.MustParseAddr("10.88.4.9")}
	return []Other{
		{Name: "Back", Subnet: back4, Subnet6: back6, Hosts: []Host{backHost, same}, Askers: [][6]byte{webMAC, {2, 0x77}}},
		{Name: "empty", Subnet: netip.MustParsePrefix("10.88.5.0/24"), Hosts: []Host{}, Askers: [][6]byte{webMAC}},
	}
}

// newOther is a service whose hosts file has other networks.
func newOther(t *testing.T) *Service {
	t.Helper()
	s := newClosed(t, testConfig())
	if err := WriteHosts(s.cfg.Hosts, testHosts(), testOthers()...); err != nil {
		t.Fatal(err)
	}
	return s
}

// TestOtherNetworks has a machine ask that is on both networks, and others that are not.
func TestOtherNetworks(t *testing.T) {
	s := newOther(t)
	ptr := func(a netip.Addr) string {
		name, err := dns.ReverseAddr(a.String())
		if err != nil {
			t.Fatal(err)
		}
		return name
	}
	const forward = -1
	for _, c := range []struct {
		name   string
		kind   uint16
		rcode  int
		want   string
		others int // the code for those who are not on the network
	}{
		{"store.back.internal.", dns.TypeA, 0, "10.88.4.7", dns.RcodeNameError},
		{"STORE.back.Internal.", dns.TypeAAAA, 0, backHost.IP6.String(), dns.RcodeNameError},
		{"store.back.internal.", dns.TypeMX, 0, "/back.internal.", dns.RcodeNameError},
		{"web.back.internal.", dns.TypeA, 0, "10.88.4.9", dns.RcodeNameError},
		{"no.back.internal.", dns.TypeA, dns.RcodeNameError, "/back.internal.", dns.RcodeNameError},
		{"gateway.back.internal.", dns.TypeA, 0, "10.88.4.1", dns.RcodeNameError},
		{"gateway.back.internal.", dns.TypeAAAA, 0, "fd12:3456:789b::1", dns.RcodeNameError},
		{"gateway.empty.internal.", dns.TypeA, 0, "10.88.5.1", dns.RcodeNameError},
		{"back.internal.", dns.TypeNS, 0, "gateway.back.internal.", dns.RcodeNameError},
		{"back.internal.", dns.TypeA, 0, "/back.internal.", dns.RcodeNameError},
		{"web.third.internal.", dns.TypeA, dns.RcodeNameError, "/internal.", dns.RcodeNameError},
		{"store.", dns.TypeA, 0, "10.88.4.7", 0},
		{"store.", dns.TypeHTTPS, 0, "/store.", forward},
		{ptr(backHost.IP), dns.TypePTR, 0, "store.back.internal.", forward},
		{ptr(backHost.IP6), dns.TypePTR, 0, "store.back.internal.", forward},
		{ptr(back4.Addr().Next()), dns.TypePTR, 0, "gateway.back.internal.", forward},
		{ptr(netip.MustParseAddr("10.88.4.99")), dns.TypePTR, dns.RcodeNameError, "/4.88.10.in-addr.arpa.", forward},
		{"4.88.10.in-addr.arpa.", dns.TypeNS, 0, "gateway.back.internal.", forward},
	} {
		web := testHosts()[0]
		for _, from := range []netip.Addr{web.IP, web.IP6, ipam.LinkLocal(webMAC), ipam.LinkLocal(webMAC).WithZone("gur-test")} {
			m := answerTo(t, s, from, ask(c.name, c.kind))
			if m == nil {
				t.Errorf("%s %s is asked of others for %s", c.name, dns.Type(c.kind), from)
				continue
			}
			checkAnswer(t, m, c.name, c.kind, c.rcode, c.want)
		}
		for _, from := range []netip.Addr{
			testHosts()[1].IP, ipam.LinkLocal(dbMAC), netip.MustParseAddr("10.88.3.200"), backHost.IP, ipam.LinkLocal(backMAC), ipam.LinkLocal([6]byte{2, 0x77}),
		} {
			m := answerTo(t, s, from, ask(c.name, c.kind))
			if m == nil && c.others == forward {
				continue
			}
			if m == nil || m.Rcode != c.others || len(m.Answer) > 0 || strings.Contains(m.String(), "back") != strings.Contains(c.name, "back") {
				t.Errorf("%s %s for %s: %v", c.name, dns.Type(c.kind), from, m)
			}
			if m != nil && strings.Contains(c.name, "internal") && (len(m.Ns) != 1 || m.Ns[0].Header().Name != "internal.") {
				t.Errorf("%s for %s differs from a name of no network: %v", c.name, from, m)
			}
		}
	}
}

// TestOwnNetworkFirst holds that no other network's machine stands for one of this network.
func TestOwnNetworkFirst(t *testing.T) {
	s := newOther(t)
	for name, want := range map[string]string{"web.": "10.88.3.2", "web.lan.internal.": "10.88.3.2", "gateway.": "10.88.3.1"} {
		checkAnswer(t, answerOf(t, s, ask(name, dns.TypeA)), name, dns.TypeA, 0, want)
	}
}

func TestOthersFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "hosts.json")
	if err := WriteHosts(path, testHosts(), testOthers()...); err != nil {
		t.Fatal(err)
	}
	hosts, others, err := ReadHosts(path)
	if err != nil || !reflect.DeepEqual(hosts, testHosts()) || !reflect.DeepEqual(others, testOthers()) {
		t.Errorf("%+v, %+v, %v", hosts, others, err)
	}
	for what, change := range map[string]func(*Other){
		"dots":     func(o *Other) { o.Name = "a.b" },
		"name":     func(o *Other) { o.Name = "" },
		"twice":    func(o *Other) { o.Name = "EMPTY" },
		"subnet":   func(o *Other) { o.Subnet = netip.MustParsePrefix("10.0.0.1/8") },
		"IPv6":     func(o *Other) { o.Subnet6 = netip.MustParsePrefix("fd00::/48") },
		"a host":   func(o *Other) { o.Hosts[0].Name = "a b" },
		"too many": func(o *Other) { o.Hosts = make([]Host, maxHosts) },
	} {
		list := testOthers()
		change(&list[0])
		if err := WriteHosts(path, testHosts(), list...); err == nil {
			t.Errorf("%s: no error", what)
		}
	}
	if again, _, err := ReadHosts(path); err != nil || len(again) != 2 {
		t.Errorf("after what was refused: %v, %v", again, err)
	}
}
