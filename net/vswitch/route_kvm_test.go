package vswitch

import (
	"fmt"
	"net/netip"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"

	"github.com/gureum/gureum/net/ipam"
)

// Waits: what shall come, and what shall not.
const (
	comes = 10 * time.Second
	never = 1200 * time.Millisecond
)

// question is put from somewhere to an address.
type question struct {
	what    string
	from    netns.NsHandle
	network string
	to      string
	seen    string // as whom the answerer sees the asker; "" for no answer
}

func askAll(t *testing.T, list []question) {
	t.Helper()
	for _, q := range list {
		wait := comes
		if q.seen == "" {
			wait = never
		}
		if got := ask(t, q.from, q.network, q.to, wait); got != q.seen {
			t.Errorf("%s (%s to %s): answered as %q, want %q", q.what, q.network, q.to, got, q.seen)
		}
	}
}

// TestKVMRoutes has five guests with network stacks: two on a network, one on another,
// one on an internal one, one on an isolated one with a neighbour.
func TestKVMRoutes(t *testing.T) {
	host := isolate(t)
	wan := outside(t)
	net1, net2, inside, apart := testNetwork(1), testNetwork(2), testNetwork(3), testNetwork(4)
	inside.Internal, apart.Isolated, net2.HostAccess = true, true, true
	a, b, c := testPort(net1, 1), testPort(net1, 2), testPort(net2, 3)
	d, e, f := testPort(inside, 4), testPort(apart, 5), testPort(apart, 6)
	b.Publish = []Publish{
		{HostPort: 8080, GuestPort: 80},
		{HostPort: 8081, GuestPort: 81, UDP: true},
		{HostPort: 8082, GuestPort: 80, HostIP: addr("127.0.0.1")},
		{HostPort: 8083, GuestPort: 80, HostIP: addr("2001:db8::1")},
	}
	f.Publish = []Publish{{HostPort: 9090, GuestPort: 80}}
	must(t, Apply(State{Networks: []Network{net1, net2, inside, apart}, Ports: []Port{a, b, c, d, e, f}}))
	sa, sb, sc := a.boot(t, net1), b.boot(t, net1), c.boot(t, net2)
	sd, se, sf := d.boot(t, inside), e.boot(t, apart), f.boot(t, apart)
	for _, s := range []*stack{sb, sc, sf, sd} {
		answer(t, s.ns, "tcp", ":80")
		answer(t, s.ns, "udp", ":81")
	}
	answer(t, wan, "tcp", ":443")
	answer(t, wan, "udp4", ":444")
	answer(t, host, "tcp", ":22")
	answer(t, host, "udp4", "10.88.1.1:53")
	askAll(t, []question{
		{"a neighbour", sa.ns, "tcp", "10.88.1.3:80", "10.88.1.2"},
		{"a neighbour, IPv6", sa.ns, "tcp", fmt.Sprintf("[%v]:80", b.IP6), a.IP6.String()},
		{"another network", sa.ns, "tcp", "10.88.2.4:80", ""},
		{"another network, IPv6", sa.ns, "tcp", fmt.Sprintf("[%v]:80", c.IP6), ""},
		{"an internal network", sa.ns, "tcp", "10.88.3.5:80", ""},
		{"from an internal network", sd.ns, "tcp", "10.88.1.3:80", ""},
		{"another network's gateway", sa.ns, "tcp", "10.88.2.1:22", ""},
		{"isolated from a neighbour", se.ns, "tcp", "10.88.4.7:80", ""},
		{"isolated from a neighbour, IPv6", se.ns, "tcp", fmt.Sprintf("[%v]:80", f.IP6), ""},
		{"outside", sa.ns, "tcp", "192.0.2.9:443", "192.0.2.1"},
		{"outside, UDP", sa.ns, "udp", "192.0.2.9:444", "192.0.2.1"},
		{"outside, IPv6", sa.ns, "tcp", "[2001:db8::9]:443", "2001:db8::1"},
		{"outside from an isolated port", se.ns, "tcp", "192.0.2.9:443", "192.0.2.1"},
		{"outside from an internal network", sd.ns, "tcp", "192.0.2.9:443", ""},
		{"outside from an internal network, IPv6", sd.ns, "tcp", "[2001:db8::9]:443", ""},
		{"in, not published", wan, "tcp", "10.88.1.3:80", ""},
		{"in, not published, IPv6", wan, "tcp", fmt.Sprintf("[%v]:80", b.IP6), ""},
		{"published", wan, "tcp", "192.0.2.1:8080", "192.0.2.9"},
		{"published, IPv6", wan, "tcp", "[2001:db8::1]:8080", "2001:db8::9"},
		{"published UDP", wan, "udp", "192.0.2.1:8081", "192.0.2.9"},
		{"published on one IPv6 address", wan, "tcp", "[2001:db8::1]:8083", "2001:db8::9"},
		{"published on another address", wan, "tcp", "192.0.2.1:8083", ""},
		{"published on loopback, from outside", wan, "tcp", "192.0.2.1:8082", ""},
		{"published, from the host by loopback", host, "tcp", "127.0.0.1:8080", "10.88.1.1"},
		{"published UDP, from the host by loopback", host, "udp", "127.0.0.1:8081", "10.88.1.1"},
		{"published on loopback", host, "tcp", "127.0.0.1:8082", "10.88.1.1"},
		{"published, from the host by its address", host, "tcp", "192.0.2.1:8080", "192.0.2.1"},
		{"published, from a neighbour", sa.ns, "tcp", "192.0.2.1:8080", "10.88.1.1"},
		{"published, from itself", sb.ns, "tcp", "192.0.2.1:8080", "10.88.1.1"},
		{"published, by the gateway", sa.ns, "tcp", "10.88.1.1:8080", "10.88.1.1"},
		{"published, from a neighbour, IPv6", sa.ns, "tcp", "[2001:db8::1]:8080", "fd00:0:0:1::1"},
		{"published, from another network", sc.ns, "tcp", "192.0.2.1:8080", "10.88.2.4"},
		{"published, from an internal network", sd.ns, "tcp", "192.0.2.1:8080", ""},
		{"published by an isolated neighbour", se.ns, "tcp", "192.0.2.1:9090", "10.88.4.1"},
		{"a service of the host", sa.ns, "tcp", "10.88.1.1:22", ""},
		{"a service of the host, outer address", sa.ns, "tcp", "192.0.2.1:22", ""},
		{"a service of the host, IPv6", sa.ns, "tcp", "[fd00:0:0:1::1]:22", ""},
		{"a service of the host that is open", sc.ns, "tcp", "10.88.2.1:22", "10.88.2.4"},
		{"DNS", sa.ns, "udp", "10.88.1.1:53", "10.88.1.2"},
		{"another network's DNS", se.ns, "udp", "10.88.1.1:53", ""},
		{"a guest, from the host", host, "tcp", "10.88.1.3:80", "10.88.1.1"},
		{"an internal guest, from the host", host, "tcp", "10.88.3.5:80", "10.88.3.1"},
	})
}

// TestKVMShielded has the host try to reach guests of a network that is shielded, of one
// that is shielded and open to the host's services, and of one that is neither.
func TestKVMShielded(t *testing.T) {
	host := isolate(t)
	wan := outside(t)
	plain, shut, oneway := testNetwork(1), testNetwork(2), testNetwork(3)
	shut.Shielded, oneway.Shielded, oneway.HostAccess = true, true, true
	a, b, c, d := testPort(plain, 1), testPort(shut, 2), testPort(shut, 3), testPort(oneway, 4)
	b.Publish = []Publish{{HostPort: 8080, GuestPort: 80}, {HostPort: 8081, GuestPort: 81, UDP: true}}
	want := State{Networks: []Network{plain, shut, oneway}, Ports: []Port{a, b, c, d}}
	must(t, Apply(want))
	sa, sb, sc, sd := a.boot(t, plain), b.boot(t, shut), c.boot(t, shut), d.boot(t, oneway)
	for _, s := range []*stack{sa, sb, sd} {
		answer(t, s.ns, "tcp", ":80")
		answer(t, s.ns, "udp", ":81")
	}
	answer(t, wan, "tcp", ":443")
	answer(t, host, "tcp", ":22")
	answer(t, host, "udp4", "10.88.2.1:53")
	linkLocal := fmt.Sprintf("[%v%%%s]:80", ipam.LinkLocal(b.MAC), BridgeName(shut.ID))
	askAll(t, []question{
		{"not shielded", host, "tcp", "10.88.1.2:80", "10.88.1.1"},
		{"shielded", host, "tcp", "10.88.2.3:80", ""},
		{"shielded, UDP", host, "udp", "10.88.2.3:81", ""},
		{"shielded, IPv6", host, "tcp", fmt.Sprintf("[%v]:80", b.IP6), ""},
		{"shielded, link-local", host, "tcp", linkLocal, ""},
		{"shielded and open the other way", host, "tcp", "10.88.3.5:80", ""},
		{"the other way", sd.ns, "tcp", "10.88.3.1:22", "10.88.3.5"},
		{"the other way, IPv6", sd.ns, "tcp", "[fd00:0:0:3::1]:22", d.IP6.String()},
		{"the other way, shielded only", sb.ns, "tcp", "10.88.2.1:22", ""},
		{"a neighbour", sc.ns, "tcp", "10.88.2.3:80", "10.88.2.4"},
		{"the network's own services", sb.ns, "udp", "10.88.2.1:53", "10.88.2.3"},
		{"outside", sb.ns, "tcp", "192.0.2.9:443", "192.0.2.1"},
		{"outside, IPv6", sb.ns, "tcp", "[2001:db8::9]:443", "2001:db8::1"},
		{"published, from outside", wan, "tcp", "192.0.2.1:8080", "192.0.2.9"},
		{"published, from the host by loopback", host, "tcp", "127.0.0.1:8080", "10.88.2.1"},
		{"published UDP, from the host by loopback", host, "udp", "127.0.0.1:8081", "10.88.2.1"},
		{"published, from the host by its address", host, "tcp", "192.0.2.1:8080", "192.0.2.1"},
		{"published, from the host by its IPv6 address", host, "tcp", "[2001:db8::1]:8080", "2001:db8::1"},
		{"published, from the host by the gateway", host, "tcp", "10.88.2.1:8080", "10.88.2.1"},
		{"published, from another network", sa.ns, "tcp", "192.0.2.1:8080", "10.88.1.2"},
	})
	want.Networks[1].Shielded = false
	must(t, Apply(want))
	askAll(t, []question{
		{"not shielded any more", host, "tcp", "10.88.2.3:80", "10.88.2.1"},
		{"not shielded any more, link-local", host, "tcp", linkLocal, ipam.LinkLocal(bridgeMAC(shut.ID)).String()},
	})
}

// TestKVMLoopbackAndControlFrames tries to reach the host past the bridge's rules.
func TestKVMLoopbackAndControlFrames(t *testing.T) {
	isolate(t)
	n := testNetwork(1)
	a := testPort(n, 1)
	must(t, Apply(State{Networks: []Network{n}, Ports: []Port{a}}))
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_NONBLOCK, 0)
	must(t, err)
	defer unix.Close(fd)
	must(t, unix.Bind(fd, &unix.SockaddrInet4{Port: 67}))
	w := a.wire(t)
	comesIn := func(dst [6]byte, src, to netip.Addr) bool {
		w.send(a.eth(dst, 0x0800, ip4(src, to, unix.IPPROTO_UDP, 0, udp(68, 67, []byte("knock")))))
		b := make([]byte, 100)
		for range 20 {
			if k, _, err := unix.Recvfrom(fd, b, 0); err == nil && k > 0 {
				return true
			}
			time.Sleep(5 * time.Millisecond)
		}
		return false
	}
	gw := bridgeMAC(n.ID)
	trials := []struct {
		what string
		dst  [6]byte
		src  netip.Addr
		to   netip.Addr
		may  bool
	}{
		{"to the gateway", gw, a.IP, ipam.Gateway(n.Subnet), true},
		{"without an address", broadcast, netip.IPv4Unspecified(), addr("255.255.255.255"), true},
		{"to loopback", gw, a.IP, addr("127.0.0.1"), false},
		{"from loopback", gw, addr("127.0.0.1"), ipam.Gateway(n.Subnet), false},
		{"in a control frame", [6]byte{1, 0x80, 0xc2, 0, 0, 3}, a.IP, ipam.Gateway(n.Subnet), false},
		{"in a control frame, from another's address", [6]byte{1, 0x80, 0xc2, 0, 0, 0x0e}, addr("10.88.1.99"), ipam.Gateway(n.Subnet), false},
	}
	// The port would answer by itself if it could: then the rule is what keeps it out.
	must(t, os.WriteFile(sysctlRoot+"/ipv4/conf/"+a.Tap+"/rp_filter", []byte("0"), 0))
	must(t, os.WriteFile(sysctlRoot+"/ipv4/conf/all/rp_filter", []byte("0"), 0))
	for _, x := range trials {
		if got := comesIn(x.dst, x.src, x.to); got != x.may {
			t.Errorf("%s: the host receives it: %v, want %v", x.what, got, x.may)
		}
	}
	f, err := openFirewall()
	must(t, err)
	must(t, f.remove())
	must(t, f.close())
	if !comesIn(trials[4].dst, trials[4].src, trials[4].to) {
		t.Error("without rules a control frame does not reach the host either: the trial shows nothing")
	}
	if !comesIn(gw, a.IP, addr("127.0.0.1")) {
		t.Error("without rules loopback cannot be reached either: the trial shows nothing")
	}
}

// TestKVMIsolation looks at frames, not at what stacks make of them.
func TestKVMIsolation(t *testing.T) {
	isolate(t)
	n, m := testNetwork(1), testNetwork(2)
	n.Isolated = true
	a, b, c := testPort(n, 1), testPort(n, 2), testPort(m, 3)
	must(t, Apply(State{Networks: []Network{n, m}, Ports: []Port{a, b, c}}))
	from, near, far := a.wire(t), b.wire(t), c.wire(t)
	payload := func(to Port) []byte {
		return ip4(a.IP, to.IP, unix.IPPROTO_UDP, 0, udp(5000, 5001, []byte("hello")))
	}
	seen := func(w *wire) (frames int) {
		for end := time.Now().Add(500 * time.Millisecond); ; {
			got := w.next(100 * time.Millisecond)
			if got == nil && time.Now().After(end) {
				return frames
			}
			if strings.Contains(string(got), "hello") {
				frames++
			}
		}
	}
	for _, x := range []struct{ dst [6]byte }{{b.MAC}, {c.MAC}, {broadcast}, {bridgeMAC(n.ID)}, {bridgeMAC(m.ID)}, {[6]byte{2, 9, 9, 9, 9, 9}}} {
		from.send(from.port.eth(x.dst, 0x0800, payload(b)))
		from.send(from.port.eth(x.dst, 0x0800, payload(c)))
	}
	if k := seen(near); k != 0 {
		t.Errorf("%d frames came to the isolated neighbour", k)
	}
	if k := seen(far); k != 0 {
		t.Errorf("%d frames came to the other network", k)
	}
	n.Isolated = false
	must(t, Apply(State{Networks: []Network{n, m}, Ports: []Port{a, b, c}}))
	from.send(from.port.eth(b.MAC, 0x0800, payload(b)))
	from.send(from.port.eth([6]byte{2, 9, 9, 9, 9, 9}, 0x0800, payload(b)))
	if k := seen(near); k != 1 {
		t.Errorf("%d frames came to the neighbour that is not isolated any more, want 1: that for nobody is not flooded", k)
	}
}
