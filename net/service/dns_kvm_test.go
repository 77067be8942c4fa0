package service

import (
	"errors"
	"net"
	"net/netip"
	"testing"
	"time"

	"github.com/miekg/dns"

	"github.com/gureum/gureum/net/ipam"
)

// asks is how often a guest asks: a resolver, too, asks again when a datagram was lost or
// came late.
const asks = 4

// askFrom asks the DNS server from a guest.
func askFrom(t *testing.T, g *space, network, at string, m *dns.Msg) *dns.Msg {
	t.Helper()
	var errs []error
	for range asks {
		r, err := tryFrom(g, "", network, at, m)
		if err == nil {
			return r
		}
		errs = append(errs, err)
	}
	t.Fatalf("%s by %s: %v", m.Question[0].Name, network, errors.Join(errs...))
	return nil
}

func tryFrom(g *space, source, network, at string, m *dns.Msg) (*dns.Msg, error) {
	c := &dns.Client{Net: network, Timeout: 5 * time.Second}
	if source != "" {
		c.Timeout = 500 * time.Millisecond
		c.Dialer = &net.Dialer{LocalAddr: &net.UDPAddr{IP: net.ParseIP(source)}, Timeout: c.Timeout}
		if network == "tcp" {
			c.Dialer.LocalAddr = &net.TCPAddr{IP: net.ParseIP(source)}
		}
	}
	var r *dns.Msg
	err := g.do(func() error {
		conn, err := c.Dial(at)
		if err != nil {
			return err
		}
		defer conn.Close()
		r, _, err = c.ExchangeWithConn(m, conn)
		return err
	})
	return r, err
}

func TestKVMDNS(t *testing.T) {
	l := newLab(t)
	if err := WriteHosts(l.hosts, labHosts()); err != nil {
		t.Fatal(err)
	}
	var up *upstream
	l.host.must("upstream", l.host.do(func() error {
		up = newUpstream(t, example)
		return nil
	}))
	cfg := testConfig()
	cfg.Upstreams = []netip.AddrPort{up.at}
	l.serve(cfg)
	web := l.guest(webMAC)
	web.up("eth0")
	web.addr("eth0", "10.88.3.2/24", 0)
	waitForAddress(t, web, ipam.EUI64(subnet6, webMAC))
	const at4, at6 = "10.88.3.1:53", "[fd12:3456:789a::1]:53"
	for _, c := range []struct{ network, at string }{{"udp", at4}, {"tcp", at4}, {"udp", at6}, {"tcp", at6}} {
		name := c.network + " " + c.at
		if r := askFrom(t, web, c.network, c.at, query("db.prod.lan.internal.")); len(r.Answer) != 1 || record(r.Answer[0]) != "10.88.3.3" {
			t.Errorf("%s: %s", name, r)
		}
		if r := askFrom(t, web, c.network, c.at, query("web.other.internal.")); r.Rcode != dns.RcodeNameError {
			t.Errorf("%s: %s", name, r)
		}
		if r := askFrom(t, web, c.network, c.at, query("example.com.")); len(r.Answer) != 1 || record(r.Answer[0]) != "192.0.2.1" {
			t.Errorf("%s: %s", name, r)
		}
		if r := askFrom(t, web, c.network, c.at, query("large.example.com.")); r.Truncated != (c.network == "udp") {
			t.Errorf("%s: truncated %v", name, r.Truncated)
		}
	}
	ptr := query("2.3.88.10.in-addr.arpa.", func(m *dns.Msg) { m.Question[0].Qtype = dns.TypePTR })
	if r := askFrom(t, web, "udp", at4, ptr); len(r.Answer) != 1 || record(r.Answer[0]) != "web.lan.internal." {
		t.Errorf("%s", r)
	}
	// A source that is not the network's: the host would know the way back.
	web.addr("eth0", "172.31.9.2/24", 0)
	l.host.addr(labBridge, "172.31.9.1/24", 0)
	for _, network := range []string{"udp", "tcp"} {
		if r, err := tryFrom(web, "172.31.9.2", network, at4, query("web.")); err == nil {
			t.Errorf("%s: a stranger is answered: %s", network, r)
		}
	}
	// What does not come from the bridge is not heard.
	if r, err := tryFrom(l.host, "", "udp", at4, query("web.")); err == nil {
		t.Errorf("from the host: %s", r)
	}
}

func TestKVMInternal(t *testing.T) {
	l := newLab(t)
	if err := WriteHosts(l.hosts, labHosts()); err != nil {
		t.Fatal(err)
	}
	var up *upstream
	l.host.must("upstream", l.host.do(func() error {
		up = newUpstream(t, example)
		return nil
	}))
	cfg := testConfig()
	cfg.Internal, cfg.Upstreams = true, []netip.AddrPort{up.at}
	l.serve(cfg)
	web := l.guest(webMAC)
	web.up("eth0")
	lease, err := client4(t, web).Request(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if r := lease.ACK.Router(); len(r) > 0 {
		t.Errorf("router %v", r)
	}
	web.addr("eth0", "10.88.3.2/24", 0)
	if r := askFrom(t, web, "udp", "10.88.3.1:53", query("example.com.")); r.Rcode != dns.RcodeRefused {
		t.Errorf("%s", r)
	}
	if r := askFrom(t, web, "udp", "10.88.3.1:53", query("web.")); len(r.Answer) != 1 {
		t.Errorf("%s", r)
	}
	if n := up.asked.Load(); n != 0 {
		t.Errorf("the upstream was asked %d times", n)
	}
}
