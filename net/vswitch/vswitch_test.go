package vswitch

import (
	"bytes"
	"encoding/binary"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/google/nftables/expr"
	"golang.org/x/sys/unix"

	"github.com/gureum/gureum/net/ipam"
)

func TestKeys(t *testing.T) {
	got := key("gur-00000001-0", [6]byte{2, 0x67, 0, 0, 0, 1}, netip.MustParseAddr("10.88.1.2"), uint8(6), uint16(8080))
	want := append([]byte("gur-00000001-0\x00\x00"), 2, 0x67, 0, 0, 0, 1, 0, 0, 10, 88, 1, 2, 6, 0, 0, 0, 0x1f, 0x90, 0, 0)
	if !bytes.Equal(got, want) {
		t.Errorf("% x, want % x", got, want)
	}
}

func TestEUI64(t *testing.T) {
	got := ipam.LinkLocal([6]byte{0x02, 0x67, 0xaa, 0xbb, 0xcc, 0xdd})
	if want := netip.MustParseAddr("fe80::67:aaff:febb:ccdd"); got != want {
		t.Errorf("%v, want %v", got, want)
	}
}

// Each key and each value has the length that its set says, or the kernel refuses it
// with no word about which.
func TestElementsFitTheirSets(t *testing.T) {
	n := Network{
		ID: "0000abcd", Subnet: netip.MustParsePrefix("10.88.1.0/24"), Subnet6: netip.MustParsePrefix("fd00::/64"),
		HostAccess: true, Shielded: true,
	}
	p := Port{
		Tap: "gur-00000001-0", Network: n.ID, MAC: [6]byte{2, 0, 0, 0, 0, 1},
		IP: netip.MustParseAddr("10.88.1.2"), IP6: netip.MustParseAddr("fd00::2"),
		Publish: []Publish{
			{HostPort: 1, GuestPort: 2},
			{HostPort: 3, GuestPort: 4, HostIP: netip.MustParseAddr("192.0.2.1")},
			{HostPort: 5, GuestPort: 6, HostIP: netip.MustParseAddr("2001:db8::1"), UDP: true},
			{HostPort: 7, GuestPort: 8, HostIP: netip.MustParseAddr("::")},
			{HostPort: 9, GuestPort: 9, HostIP: netip.MustParseAddr("0.0.0.0")},
		},
	}
	s := State{Networks: []Network{n, {ID: "00000002", Subnet: n.Subnet, Internal: true}}, Ports: []Port{p}}
	byID, err := s.check()
	if err != nil {
		t.Fatal(err)
	}
	used := map[string]bool{}
	all := tables()
	for _, e := range s.elements(byID) {
		tab := all[1]
		if e.bridge {
			tab = all[0]
		}
		set := tab.kind(e.set)
		used[set.Table.Name+e.set] = true
		if padded := int(set.KeyType.Bytes+3) / 4 * 4; len(e.key) != padded {
			t.Errorf("%s: a key of %d bytes in a set of %d", e.set, len(e.key), set.KeyType.Bytes)
		}
		if set.IsMap && len(e.val) != int(set.DataType.Bytes) || !set.IsMap && e.val != nil {
			t.Errorf("%s: a value of %d bytes in a set of %d", e.set, len(e.val), set.DataType.Bytes)
		}
	}
	if sets := len(all[0].sets) + len(all[1].sets); len(used) != sets {
		t.Errorf("%d of %d sets are used: %v", len(used), sets, used)
	}
}

// TestRules holds what the kernel would say with one errno for a batch of 80 rules.
func TestRules(t *testing.T) {
	for _, tab := range tables() {
		var chains []string
		for _, c := range tab.chains {
			chains = append(chains, c.name)
		}
		for _, c := range tab.chains {
			for i, r := range c.rules {
				if len(comment(tab.version, r)) > 128+2 {
					t.Errorf("%s: the comment of %q is too long", c.name, r.why)
				}
				checkRule(t, tab, c.name+": "+r.why, chains, r.then)
				last := i == len(c.rules)-1
				v, ok := r.then[len(r.then)-1].(*expr.Verdict)
				if strings.HasPrefix(c.name, "from") && last && (!ok || v.Kind != expr.VerdictDrop || len(r.then) != 1) && c.name != "fromguest" {
					t.Errorf("%s does not end with a drop of all else", c.name)
				}
			}
		}
	}
}

func checkRule(t *testing.T, tab table, name string, chains []string, m match) {
	t.Helper()
	for _, e := range m {
		switch e := e.(type) {
		case *expr.Lookup:
			if !slices.ContainsFunc(tab.sets, func(k setKind) bool { return k.name == e.SetName }) {
				t.Errorf("%s: there is no set %s", name, e.SetName)
			}
		case *expr.Verdict:
			if e.Chain != "" && !slices.Contains(chains, e.Chain) {
				t.Errorf("%s: there is no chain %s", name, e.Chain)
			}
		}
	}
}

func TestDigestFollowsTheRules(t *testing.T) {
	a, b := bridgeChains(), bridgeChains()
	if digest(a) != digest(b) {
		t.Error("the same rules have two digests")
	}
	b[0].rules[0].then[len(b[0].rules[0].then)-1] = &expr.Verdict{Kind: expr.VerdictAccept}
	if digest(a) == digest(b) {
		t.Error("another verdict has the same digest")
	}
}

func TestValidation(t *testing.T) {
	n := Network{ID: "0000abcd", Name: "n", Subnet: netip.MustParsePrefix("10.88.1.0/24"), Subnet6: netip.MustParsePrefix("fd00::/64")}
	p := Port{Tap: "gur-00000001-0", Network: n.ID, MAC: [6]byte{2, 0, 0, 0, 0, 1}, IP: netip.MustParseAddr("10.88.1.2"), IP6: netip.MustParseAddr("fd00::2")}
	if err := n.Validate(); err != nil {
		t.Fatal(err)
	}
	if err := p.validate(n); err != nil {
		t.Fatal(err)
	}
	for want, change := range map[string]func(*Network){
		"an id is":   func(n *Network) { n.ID = "../etc/pa" },
		"in lower":   func(n *Network) { n.ID = "0000ABCD" },
		"an IPv4":    func(n *Network) { n.Subnet = netip.MustParsePrefix("10.0.0.0/31") },
		"needs a":    func(n *Network) { n.Subnet6 = netip.MustParsePrefix("fd00::/48") },
		"MTU 1000":   func(n *Network) { n.MTU = 1000 },
		"MTU 100000": func(n *Network) { n.MTU = 100000 },
	} {
		x := n
		change(&x)
		if err := x.Validate(); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", want, err)
		}
	}
	for want, change := range map[string]func(*Port){
		"must be":          func(p *Port) { p.Tap = "eth0" },
		"must be ":         func(p *Port) { p.Tap = "gur-0000abcd" }, // a bridge's name
		"at most":          func(p *Port) { p.Tap = "gur-00000000000000-0" },
		"it is of network": func(p *Port) { p.Network = "00000001" },
		"cannot be":        func(p *Port) { p.MAC[0] |= 1 },
		"cannot be a":      func(p *Port) { p.MAC = bridgeMAC(p.Network) },
		"no guest's":       func(p *Port) { p.IP = netip.MustParseAddr("10.88.1.1") },
		"no guest":         func(p *Port) { p.IP6 = netip.MustParseAddr("fd01::2") },
		"queues":           func(p *Port) { p.Queues = 1000 },
		"owner":            func(p *Port) { p.UID = -1 },
		"port 0":           func(p *Port) { p.Publish = []Publish{{HostPort: 80}} },
		"::1":              func(p *Port) { p.Publish = []Publish{{HostPort: 1, GuestPort: 1, HostIP: netip.IPv6Loopback()}} },
	} {
		x := p
		change(&x)
		if err := x.validate(n); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", want, err)
		}
	}
	for _, s := range []State{
		{Networks: []Network{n, n}}, {Ports: []Port{p}}, {Networks: []Network{n}, Ports: []Port{p, p}},
	} {
		if err := Apply(s); err == nil {
			t.Errorf("%v is applied", s)
		}
	}
}

// message makes a netlink message of attributes.
func message(kind uint16, head int, attrs map[uint16]string) (uint16, []byte) {
	b := make([]byte, head)
	for k, v := range attrs {
		b = binary.NativeEndian.AppendUint16(b, uint16(5+len(v)))
		b = binary.NativeEndian.AppendUint16(b, k)
		b = append(append(b, v...), 0)
		for len(b)%4 != 0 {
			b = append(b, 0)
		}
	}
	return kind, b
}

func TestWatcher(t *testing.T) {
	del := uint16(unix.NFNL_SUBSYS_NFTABLES<<8 | unix.NFT_MSG_DELTABLE)
	gen := uint16(unix.NFNL_SUBSYS_NFTABLES<<8 | unix.NFT_MSG_NEWGEN)
	for _, x := range []struct {
		table, by string
		dirty     bool
	}{{tableName, "nft", true}, {tableName, "gureum", false}, {"filter", "nft", false}} {
		w := watcher{self: []byte("gureum")}
		w.rule(message(del, 4, map[uint16]string{1: x.table}))
		w.rule(message(gen, 4, map[uint16]string{unix.NFTA_GEN_PROC_NAME: x.by}))
		if w.dirty != x.dirty {
			t.Errorf("table %s by %s: %v", x.table, x.by, w.dirty)
		}
	}
	w := watcher{}
	w.link(message(unix.RTM_DELLINK, unix.SizeofIfInfomsg, map[uint16]string{unix.IFLA_IFNAME: "eth0"}))
	if w.dirty {
		t.Error("another's interface is told")
	}
	w.link(message(unix.RTM_DELLINK, unix.SizeofIfInfomsg, map[uint16]string{unix.IFLA_IFNAME: "gur-1"}))
	if !w.dirty {
		t.Error("ours is not told")
	}
}

func FuzzAttribute(f *testing.F) {
	_, b := message(0, 0, map[uint16]string{1: "gureum"})
	f.Add(b)
	f.Add([]byte{4, 0, 1, 0, 3, 0, 0})
	f.Fuzz(func(t *testing.T, b []byte) {
		w := watcher{self: []byte("x")}
		w.rule(uint16(unix.NFNL_SUBSYS_NFTABLES<<8|unix.NFT_MSG_DELTABLE), b)
		w.link(unix.RTM_DELLINK, b)
		attribute(b, 1)
	})
}
