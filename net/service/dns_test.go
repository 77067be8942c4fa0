package service

import (
	"context"
	"encoding/binary"
	"errors"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/miekg/dns"
)

// upstream is a DNS server of the test's.
type upstream struct {
	at    netip.AddrPort
	asked atomic.Int32
	tcp   atomic.Int32
}

// newUpstream starts one on the loopback, at an address that is not the service's, both by UDP and by TCP. A nil answer is none.
func newUpstream(t testing.TB, handle func(*dns.Msg) *dns.Msg) *upstream {
	t.Helper()
	u := new(upstream)
	l, err := net.Listen("tcp", "127.0.7.7:0")
	if err != nil {
		t.Fatal(err)
	}
	u.at = l.Addr().(*net.TCPAddr).AddrPort()
	p, err := net.ListenPacket("udp", u.at.String())
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range []*dns.Server{{Listener: l}, {PacketConn: p}} {
		s.Handler = dns.HandlerFunc(func(w dns.ResponseWriter, q *dns.Msg) {
			u.asked.Add(1)
			if s.Listener != nil {
				u.tcp.Add(1)
			}
			if r := handle(q); r != nil {
				if s.PacketConn != nil {
					size := 512
					if opt := q.IsEdns0(); opt != nil {
						size = int(opt.UDPSize())
					}
					r.Truncate(size)
				}
				_ = w.WriteMsg(r)
			}
		})
		up, done := make(chan struct{}), make(chan struct{})
		s.NotifyStartedFunc = func() { close(up) }
		go func() {
			defer close(done)
			_ = s.ActivateAndServe()
		}()
		<-up
		t.Cleanup(func() {
			_ = s.Shutdown()
			<-done
		})
	}
	return u
}

// example answers as a resolver does that knows everything of example.com.
func example(q *dns.Msg) *dns.Msg {
	r := new(dns.Msg)
	r.SetReply(q)
	r.RecursionAvailable, r.AuthenticatedData = true, true
	add := func(a string) {
		r.Answer = append(r.Answer, &dns.A{Hdr: dns.RR_Header{Name: q.Question[0].Name, Rrtype: dns.TypeA, Class: dns.ClassINET, Ttl: 60}, A: net.ParseIP(a)})
	}
	switch q.Question[0].Name {
	case "example.com.":
		add("192.0.2.1")
	case "large.example.com.":
		for i := range 200 {
			add(netip.AddrFrom4([4]byte{192, 0, 2, byte(i)}).String())
		}
	case "fails.example.com.":
		r.Rcode = dns.RcodeServerFailure
	case "silent.example.com.":
		return nil
	default:
		r.Rcode = dns.RcodeNameError
	}
	if opt := q.IsEdns0(); opt != nil {
		r.SetEdns0(1232, opt.Do())
		o := r.IsEdns0()
		o.Option = append(o.Option, &dns.EDNS0_EDE{InfoCode: dns.ExtendedErrorCodeStaleAnswer}, &dns.EDNS0_COOKIE{Code: dns.EDNS0COOKIE, Cookie: "0011223344556677"})
	}
	return r
}

// serveLocal runs a service's DNS on the loopback as if it were the bridge; guests are
// 127.0.0.2 and up.
func serveLocal(t *testing.T, change func(*Config)) netip.AddrPort {
	t.Helper()
	cfg := testConfig()
	cfg.Subnet, cfg.Subnet6 = netip.MustParsePrefix("127.0.0.0/8"), netip.Prefix{}
	change(&cfg)
	s := newTest(t, cfg)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	at := l.Addr().(*net.TCPAddr).AddrPort()
	u, err := net.ListenPacket("udp", at.String())
	if err != nil {
		t.Fatal(err)
	}
	s.sockets = &sockets{udp: []*net.UDPConn{u.(*net.UDPConn)}, tcp: []*net.TCPListener{l.(*net.TCPListener)}}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error)
	go func() { done <- s.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	return at
}

// guestAt asks from an address of its own.
func guestAt(addr, network string) *dns.Client {
	ip := net.ParseIP(addr)
	var local net.Addr = &net.UDPAddr{IP: ip}
	if network == "tcp" {
		local = &net.TCPAddr{IP: ip}
	}
	return &dns.Client{Net: network, Timeout: 8 * time.Second, Dialer: &net.Dialer{LocalAddr: local, Timeout: 2 * time.Second}}
}

func query(name string, change ...func(*dns.Msg)) *dns.Msg {
	m := new(dns.Msg)
	m.SetQuestion(name, dns.TypeA)
	for _, c := range change {
		c(m)
	}
	return m
}

func exchange(t *testing.T, c *dns.Client, m *dns.Msg, at netip.AddrPort) *dns.Msg {
	t.Helper()
	r, _, err := c.Exchange(m, at.String())
	if err != nil {
		t.Fatalf("%s by %s: %v", m.Question[0].Name, c.Net, err)
	}
	return r
}

func TestForward(t *testing.T) {
	up := newUpstream(t, example)
	at := serveLocal(t, func(c *Config) { c.Upstreams = []netip.AddrPort{up.at} })
	udp, tcp := guestAt("127.0.0.2", "udp"), guestAt("127.0.0.2", "tcp")
	for _, c := range []*dns.Client{udp, tcp} {
		r := exchange(t, c, query("example.com."), at)
		if len(r.Answer) != 1 || record(r.Answer[0]) != "192.0.2.1" || r.Rcode != 0 || !r.RecursionAvailable || !r.AuthenticatedData || r.Authoritative || r.IsEdns0() != nil {
			t.Errorf("%s: %s", c.Net, r)
		}
		if r := exchange(t, c, query("no.example.com."), at); r.Rcode != dns.RcodeNameError {
			t.Errorf("%s: %s", c.Net, r)
		}
		if r := exchange(t, c, query("fails.example.com."), at); r.Rcode != dns.RcodeServerFailure {
			t.Errorf("%s: %s", c.Net, r)
		}
		if r := exchange(t, c, query("web.lan.internal."), at); len(r.Answer) != 1 {
			t.Errorf("%s: %s", c.Net, r)
		}
	}
	if up.tcp.Load() != 3 || up.asked.Load() != 6 {
		t.Errorf("upstream was asked %d times, %d by TCP", up.asked.Load(), up.tcp.Load())
	}
}

func TestForwardLarge(t *testing.T) {
	up := newUpstream(t, example)
	at := serveLocal(t, func(c *Config) { c.Upstreams = []netip.AddrPort{up.at} })
	r := exchange(t, guestAt("127.0.0.2", "udp"), query("large.example.com."), at)
	r.Compress = true
	if !r.Truncated || r.Len() > 512 {
		t.Errorf("by UDP: %d answers, truncated %v", len(r.Answer), r.Truncated)
	}
	c := guestAt("127.0.0.2", "udp")
	c.UDPSize = 4096
	r = exchange(t, c, query("large.example.com.", edns(4096, false)), at)
	r.Compress = true
	if !r.Truncated || r.Len() > maxUDPReply || r.Len() < 600 {
		t.Errorf("by UDP with EDNS: %d answers in %d bytes, truncated %v", len(r.Answer), r.Len(), r.Truncated)
	}
	r = exchange(t, guestAt("127.0.0.2", "tcp"), query("large.example.com."), at)
	if r.Truncated || len(r.Answer) != 200 {
		t.Errorf("by TCP: %d answers, truncated %v", len(r.Answer), r.Truncated)
	}
}

func TestForwardEDNS(t *testing.T) {
	var seen atomic.Pointer[dns.Msg]
	up := newUpstream(t, func(q *dns.Msg) *dns.Msg {
		seen.Store(q)
		return example(q)
	})
	at := serveLocal(t, func(c *Config) { c.Upstreams = []netip.AddrPort{up.at} })
	r := exchange(t, guestAt("127.0.0.2", "udp"), query("ExAmple.com.", edns(4096, true), func(m *dns.Msg) {
		m.CheckingDisabled = true
		o := m.IsEdns0()
		o.Option = append(o.Option, &dns.EDNS0_LOCAL{Code: 65001, Data: []byte("of the guest's")})
	}), at)
	opt := r.IsEdns0()
	if opt == nil || !opt.Do() || len(opt.Option) != 1 || opt.Option[0].Option() != dns.EDNS0EDE {
		t.Errorf("%v", r)
	}
	q := seen.Load()
	if opt := q.IsEdns0(); opt == nil || !opt.Do() || opt.UDPSize() != maxUDPReply || len(opt.Option) != 0 || !q.CheckingDisabled || !q.RecursionDesired {
		t.Errorf("upstream sees %v", q)
	}
	if r.Question[0].Name != "ExAmple.com." {
		t.Errorf("question %s", r.Question[0].Name)
	}
}

func TestForwardFailsOver(t *testing.T) {
	dead := netip.MustParseAddrPort("127.0.7.7:1")
	refuses := newUpstream(t, func(q *dns.Msg) *dns.Msg {
		r := new(dns.Msg)
		r.SetRcode(q, dns.RcodeRefused)
		return r
	})
	good := newUpstream(t, example)
	at := serveLocal(t, func(c *Config) { c.Upstreams = []netip.AddrPort{dead, refuses.at, good.at} })
	for range 3 {
		if r := exchange(t, guestAt("127.0.0.2", "udp"), query("example.com."), at); len(r.Answer) != 1 {
			t.Errorf("%s", r)
		}
	}
	if n := refuses.asked.Load(); n != 1 {
		t.Errorf("the server that refuses was asked %d times: the good one is not remembered", n)
	}
	at = serveLocal(t, func(c *Config) { c.Upstreams = []netip.AddrPort{dead} })
	if r := exchange(t, guestAt("127.0.0.2", "udp"), query("example.com."), at); r.Rcode != dns.RcodeServerFailure {
		t.Errorf("none answers: %s", r)
	}
	// One's own address is no upstream.
	at = serveLocal(t, func(c *Config) { c.Upstreams = []netip.AddrPort{netip.MustParseAddrPort("127.0.0.1:53")} })
	c := guestAt("127.0.0.2", "udp")
	before := time.Now()
	c.Dialer.LocalAddr = &net.UDPAddr{IP: net.ParseIP("127.0.0.2")}
	if r := exchange(t, c, query("example.com."), at); r.Rcode != dns.RcodeServerFailure || time.Since(before) > time.Second {
		t.Errorf("loop: %s", r)
	}
}

// TestForwardIgnoresStrays is answers of others: wrong number, wrong question, no answer.
func TestForwardIgnoresStrays(t *testing.T) {
	p, err := net.ListenPacket("udp", "127.0.7.7:0")
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		buf := make([]byte, 2000)
		for {
			n, from, err := p.ReadFrom(buf)
			if err != nil {
				return
			}
			q := new(dns.Msg)
			if err := q.Unpack(buf[:n]); err != nil {
				t.Error(err)
			}
			for i, change := range []func(*dns.Msg){
				func(m *dns.Msg) { m.Id++ },
				func(m *dns.Msg) { m.Question[0].Name = "example.org." },
				func(m *dns.Msg) { m.Question = nil },
				func(m *dns.Msg) { m.Response = false },
				func(*dns.Msg) {},
			} {
				r := new(dns.Msg)
				r.SetReply(q)
				r.Question = slices.Clone(r.Question)
				r.Answer = addresses(q.Question[0], netip.AddrFrom4([4]byte{192, 0, 2, byte(i)}))
				change(r)
				b, err := r.Pack()
				if err != nil {
					t.Error(err)
				}
				_, _ = p.WriteTo(b, from)
				_, _ = p.WriteTo(b[:5], from)
			}
		}
	}()
	t.Cleanup(func() {
		_ = p.Close()
		<-done
	})
	at := serveLocal(t, func(c *Config) { c.Upstreams = []netip.AddrPort{p.LocalAddr().(*net.UDPAddr).AddrPort()} })
	if r := exchange(t, guestAt("127.0.0.2", "udp"), query("example.com."), at); len(r.Answer) != 1 || record(r.Answer[0]) != "192.0.2.4" {
		t.Errorf("%s", r)
	}
}

// TestForwardIsBounded holds that a guest whose questions get no answer does not take
// the others' turn, and that what it asks beyond its share is refused at once.
func TestForwardIsBounded(t *testing.T) {
	up := newUpstream(t, example)
	at := serveLocal(t, func(c *Config) { c.Upstreams = []netip.AddrPort{up.at} })
	greedy, err := net.DialUDP("udp", &net.UDPAddr{IP: net.ParseIP("127.0.0.3")}, net.UDPAddrFromAddrPort(at))
	if err != nil {
		t.Fatal(err)
	}
	defer greedy.Close()
	for range maxForwardsEach + 10 {
		if _, err := greedy.Write(ask("silent.example.com.", dns.TypeA)); err != nil {
			t.Fatal(err)
		}
	}
	if err := greedy.SetReadDeadline(time.Now().Add(5 * time.Second)); err != nil {
		t.Fatal(err)
	}
	buf := make([]byte, 512)
	for range 10 {
		n, err := greedy.Read(buf)
		m := new(dns.Msg)
		if err != nil || m.Unpack(buf[:n]) != nil || m.Rcode != dns.RcodeServerFailure {
			t.Fatalf("%v: %v", m, err)
		}
	}
	if r := exchange(t, guestAt("127.0.0.2", "udp"), query("example.com."), at); len(r.Answer) != 1 {
		t.Errorf("%s", r)
	}
}

// TestNotForOthers holds that the server is nobody else's.
func TestNotForOthers(t *testing.T) {
	at := serveLocal(t, func(c *Config) { c.Subnet = netip.MustParsePrefix("127.0.0.0/24") })
	for _, network := range []string{"udp", "tcp"} {
		c := guestAt("127.0.1.2", network)
		c.Timeout = 300 * time.Millisecond
		if r, _, err := c.Exchange(query("web."), at.String()); err == nil {
			t.Errorf("%s: %s", network, r)
		}
	}
}

// TestStreams is what a connection may do.
func TestStreams(t *testing.T) {
	at := serveLocal(t, func(*Config) {})
	dial := func(from string) net.Conn {
		t.Helper()
		d := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP(from)}, Timeout: 2 * time.Second}
		c, err := d.Dial("tcp", at.String())
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = c.Close() })
		return c
	}
	asks := func(c net.Conn) error {
		if err := c.SetDeadline(time.Now().Add(2 * time.Second)); err != nil {
			return err
		}
		d := &dns.Conn{Conn: c}
		if err := d.WriteMsg(query("web.")); err != nil {
			return err
		}
		_, err := d.ReadMsg()
		return err
	}
	var conns []net.Conn
	for range maxStreamsEach {
		conns = append(conns, dial("127.0.0.2"))
	}
	for _, c := range conns {
		for range 3 {
			if err := asks(c); err != nil {
				t.Fatal(err)
			}
		}
	}
	if err := asks(dial("127.0.0.2")); err == nil {
		t.Error("one more connection than a guest may have")
	}
	if err := asks(dial("127.0.0.3")); err != nil {
		t.Errorf("another guest: %v", err)
	}
	for _, size := range []uint16{0, dnsHeader - 1, maxQuestion + 1} {
		c := dial("127.0.0.4")
		if _, err := c.Write(append(binary.BigEndian.AppendUint16(nil, size), make([]byte, 64)...)); err != nil {
			t.Fatal(err)
		}
		if err := c.SetDeadline(time.Now().Add(2 * time.Second)); err != nil {
			t.Fatal(err)
		}
		if _, err := c.Read(make([]byte, 1)); err == nil || errors.Is(err, os.ErrDeadlineExceeded) {
			t.Errorf("message of %d bytes: %v", size, err)
		}
	}
}

func TestResolvConf(t *testing.T) {
	for text, want := range map[string]string{
		"":                               "127.0.0.1:53 [::1]:53",
		"# nameserver 1.1.1.1\nsearch x": "127.0.0.1:53 [::1]:53",
		"nameserver 127.0.0.53\noptions edns0 trust-ad\nsearch lan\n":                                   "127.0.0.53:53",
		"nameserver  9.9.9.9 # first\n\tnameserver\tfe80::1%eth0\nnameserver x\nnameserver 2001:db8::1": "9.9.9.9:53 [fe80::1%eth0]:53 [2001:db8::1]:53",
	} {
		list, err := parseResolvConf(strings.NewReader(text))
		var got []string
		for _, a := range list {
			got = append(got, a.String())
		}
		if err != nil || strings.Join(got, " ") != want {
			t.Errorf("%q: %v, %v; want %s", text, got, err, want)
		}
	}
	path := filepath.Join(t.TempDir(), "resolv.conf")
	now := time.Now()
	write := func(text string) {
		t.Helper()
		if err := replaceFile(path, []byte(text)); err != nil {
			t.Fatal(err)
		}
	}
	s := newClosed(t, testConfig())
	r := newResolvConf(path, s.log)
	expect := func(what, want string, later time.Duration) {
		t.Helper()
		now = now.Add(later)
		if got := r.servers(now)[0].Addr().String(); got != want {
			t.Errorf("%s: %s, want %s", what, got, want)
		}
	}
	expect("no file", "127.0.0.1", 0)
	write("nameserver 10.0.0.1\n")
	expect("too soon", "127.0.0.1", time.Second)
	expect("later", "10.0.0.1", 2*time.Second)
	write("nameserver 10.0.0.2\n")
	expect("changed", "10.0.0.2", resolvConfEvery)
	write(strings.Repeat("x", maxResolvConf))
	expect("too long a line", "10.0.0.2", resolvConfEvery)
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	expect("gone", "10.0.0.2", resolvConfEvery)
	write("nameserver 10.0.0.3\n")
	expect("back", "10.0.0.3", resolvConfEvery)
}

// TestStreamsEnd holds that connections do not keep the service from ending.
func TestStreamsEnd(t *testing.T) {
	cfg := testConfig()
	cfg.Subnet, cfg.Subnet6 = netip.MustParsePrefix("127.0.0.0/8"), netip.Prefix{}
	s := newTest(t, cfg)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s.sockets = &sockets{tcp: []*net.TCPListener{l.(*net.TCPListener)}}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error)
	go func() { done <- s.Run(ctx) }()
	d := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP("127.0.0.2")}, Timeout: 2 * time.Second}
	var conns []net.Conn
	for range maxStreamsEach {
		c, err := d.Dial("tcp", l.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		if _, err := c.Write([]byte{0}); err != nil { // half of a length
			t.Fatal(err)
		}
		conns = append(conns, c)
	}
	eventually(t, "connections", func() bool {
		s.streams.mu.Lock()
		defer s.streams.mu.Unlock()
		return s.streams.total == len(conns)
	})
	cancel()
	select {
	case err := <-done:
		if err != nil {
			t.Error(err)
		}
	case <-time.After(5 * time.Second):
		t.Error("connections keep the service from ending")
		for _, c := range conns {
			_ = c.Close()
		}
		if err := <-done; err != nil {
			t.Error(err)
		}
	}
}
