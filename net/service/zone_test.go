package service

import (
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/miekg/dns"

	"github.com/gureum/gureum/net/ipam"
)

// ask is a question as bytes.
func ask(name string, kind uint16, change ...func(*dns.Msg)) []byte {
	m := new(dns.Msg)
	m.SetQuestion(name, kind)
	for _, c := range change {
		c(m)
	}
	b, err := m.Pack()
	if err != nil {
		panic(err)
	}
	return b
}

func edns(size uint16, do bool) func(*dns.Msg) {
	return func(m *dns.Msg) { m.SetEdns0(size, do) }
}

// answerOf runs a question through what needs no upstream; nil is one that does.
func answerOf(t *testing.T, s *Service, b []byte) *dns.Msg {
	t.Helper()
	return answerTo(t, s, testHosts()[0].IP, b)
}

// answerTo is answerOf a question from an address.
func answerTo(t *testing.T, s *Service, client netip.Addr, b []byte) *dns.Msg {
	t.Helper()
	q, reply := parseQuestion(b)
	if q != nil {
		reply = s.answerLocal(q, client)
	}
	if reply == nil {
		return nil
	}
	m := new(dns.Msg)
	if err := m.Unpack(pack(reply, maxTCPReply)); err != nil {
		t.Fatal(err)
	}
	return m
}

// record is the last word of a record's text.
func record(rr dns.RR) string {
	words := strings.Fields(rr.String())
	return words[len(words)-1]
}

func TestNames(t *testing.T) {
	web6 := ipam.EUI64(subnet6, webMAC).String()
	ptr := func(a string) string {
		name, err := dns.ReverseAddr(a)
		if err != nil {
			t.Fatal(err)
		}
		return name
	}
	const forward = -1
	for _, c := range []struct {
		name  string
		kind  uint16
		rcode int
		want  string // answers, and the SOA's zone after a slash
	}{
		{"web.lan.internal.", dns.TypeA, 0, "10.88.3.2"},
		{"WEB.Lan.INTERNAL.", dns.TypeA, 0, "10.88.3.2"},
		{"web.lan.internal.", dns.TypeAAAA, 0, web6},
		{"web.lan.internal.", dns.TypeANY, 0, "10.88.3.2 " + web6},
		{"web.lan.internal.", dns.TypeMX, 0, "/lan.internal."},
		{"db.prod.lan.internal.", dns.TypeA, 0, "10.88.3.3"},
		{"db.prod.lan.internal.", dns.TypeAAAA, 0, "/lan.internal."},
		{"prod.lan.internal.", dns.TypeA, 0, "/lan.internal."}, // there is a name below
		{"no.lan.internal.", dns.TypeA, dns.RcodeNameError, "/lan.internal."},
		{"a.web.lan.internal.", dns.TypeA, dns.RcodeNameError, "/lan.internal."},
		{"gateway.lan.internal.", dns.TypeA, 0, "10.88.3.1"},
		{"gateway.lan.internal.", dns.TypeAAAA, 0, "fd12:3456:789a::1"},
		{"lan.internal.", dns.TypeSOA, 0, "5"},
		{"lan.internal.", dns.TypeNS, 0, "gateway.lan.internal."},
		{"lan.internal.", dns.TypeA, 0, "/lan.internal."},
		{"internal.", dns.TypeSOA, 0, "5"},
		{"internal.", dns.TypeA, 0, "/internal."},
		{"web.other.internal.", dns.TypeA, dns.RcodeNameError, "/internal."},
		{"metadata.google.internal.", dns.TypeA, dns.RcodeNameError, "/internal."},
		{"notinternal.", dns.TypeTXT, forward, ""},
		{"web.", dns.TypeA, 0, "10.88.3.2"},
		{"web.", dns.TypeAAAA, 0, web6},
		{"web.", dns.TypeHTTPS, 0, "/web."},
		{"web.", dns.TypeNS, forward, ""},
		{"no.", dns.TypeA, 0, ""},
		{"no.", dns.TypeAAAA, 0, ""},
		{"com.", dns.TypeNS, forward, ""},
		{"com.", dns.TypeDS, forward, ""},
		{"db.prod.", dns.TypeA, forward, ""}, // with a dot it may be somebody else's
		{".", dns.TypeNS, forward, ""},
		{".", dns.TypeA, forward, ""},
		{"localhost.", dns.TypeA, 0, "127.0.0.1"},
		{"a.localhost.", dns.TypeAAAA, 0, "::1"},
		{"localhost.", dns.TypeMX, 0, ""},
		{ptr("10.88.3.2"), dns.TypePTR, 0, "web.lan.internal."},
		{ptr("10.88.3.2"), dns.TypeA, 0, "/3.88.10.in-addr.arpa."},
		{ptr("10.88.3.1"), dns.TypePTR, 0, "gateway.lan.internal."},
		{ptr("10.88.3.9"), dns.TypePTR, dns.RcodeNameError, "/3.88.10.in-addr.arpa."},
		{ptr("10.88.4.2"), dns.TypePTR, forward, ""},
		{"3.88.10.in-addr.arpa.", dns.TypeSOA, 0, "5"},
		{"3.88.10.in-addr.arpa.", dns.TypeNS, 0, "gateway.lan.internal."},
		{"88.10.in-addr.arpa.", dns.TypeSOA, forward, ""},
		{"02.3.88.10.in-addr.arpa.", dns.TypePTR, forward, ""},
		{"1.2.3.88.10.in-addr.arpa.", dns.TypePTR, forward, ""},
		{ptr(web6), dns.TypePTR, 0, "web.lan.internal."},
		{strings.ToUpper(ptr(web6)), dns.TypePTR, 0, "web.lan.internal."},
		{ptr("fd12:3456:789a::1"), dns.TypePTR, 0, "gateway.lan.internal."},
		{ptr("fd12:3456:789a::9"), dns.TypePTR, dns.RcodeNameError, "/0.0.0.0.a.9.8.7.6.5.4.3.2.1.d.f.ip6.arpa."},
		{ptr("fd12:3456:789b::9"), dns.TypePTR, forward, ""},
		{"1.0.0.0.0.a.9.8.7.6.5.4.3.2.1.d.f.ip6.arpa.", dns.TypePTR, 0, "/0.0.0.0.a.9.8.7.6.5.4.3.2.1.d.f.ip6.arpa."},
		{"x.ip6.arpa.", dns.TypePTR, forward, ""},
		{"example.com.", dns.TypeA, forward, ""},
		{"web.lan.internal.example.com.", dns.TypeA, forward, ""},
	} {
		for _, internal := range []bool{false, true} {
			cfg := testConfig()
			cfg.Internal = internal
			s := newClosed(t, cfg)
			m := answerOf(t, s, ask(c.name, c.kind))
			if c.rcode == forward {
				if internal && (m == nil || m.Rcode != dns.RcodeRefused) {
					t.Errorf("internal: %s %s: %v", c.name, dns.Type(c.kind), m)
				}
				if !internal && m != nil {
					t.Errorf("%s %s: %v", c.name, dns.Type(c.kind), m)
				}
				continue
			}
			if m == nil {
				t.Errorf("%s %s: is asked of others", c.name, dns.Type(c.kind))
				continue
			}
			checkAnswer(t, m, c.name, c.kind, c.rcode, c.want)
			if m.RecursionAvailable == internal {
				t.Errorf("%s: recursion %v", c.name, m.RecursionAvailable)
			}
		}
	}
}

func checkAnswer(t *testing.T, m *dns.Msg, name string, kind uint16, rcode int, want string) {
	t.Helper()
	var got []string
	for _, rr := range m.Answer {
		got = append(got, record(rr))
		if rr.Header().Ttl > localTTL || rr.Header().Name != name {
			t.Errorf("%s: %s", name, rr)
		}
	}
	text := strings.Join(got, " ")
	for _, rr := range m.Ns {
		if rr.Header().Rrtype == dns.TypeSOA {
			text += "/" + rr.Header().Name
		}
		if !dns.IsSubDomain(rr.Header().Name, name) {
			t.Errorf("%s: the SOA of %s", name, rr.Header().Name)
		}
	}
	if m.Rcode != rcode || text != want || !m.Authoritative {
		t.Errorf("%s %s: %s %q, want %s %q", name, dns.Type(kind), dns.RcodeToString[m.Rcode], text, dns.RcodeToString[rcode], want)
	}
}

// TestReverseZones is subnets that do not end at a dot.
func TestReverseZones(t *testing.T) {
	for _, c := range []struct{ subnet, addr, zone string }{
		{"10.88.16.0/20", "10.88.17.9", "17.88.10.in-addr.arpa."},
		{"10.88.3.128/28", "10.88.3.140", "140.3.88.10.in-addr.arpa."},
		{"10.0.0.0/8", "10.88.3.140", "10.in-addr.arpa."},
	} {
		cfg := testConfig()
		cfg.Subnet, cfg.Subnet6 = netip.MustParsePrefix(c.subnet), netip.Prefix{}
		s := newClosed(t, cfg)
		name, _ := dns.ReverseAddr(c.addr)
		m := answerOf(t, s, ask(name, dns.TypePTR))
		if m == nil || m.Rcode != dns.RcodeNameError || len(m.Ns) != 1 || m.Ns[0].Header().Name != c.zone {
			t.Errorf("%s: %v", c.subnet, m)
		}
		if m := answerOf(t, s, ask("1.0.0.0.0.a.9.8.7.6.5.4.3.2.1.d.f.ip6.arpa.", dns.TypePTR)); m != nil {
			t.Errorf("without IPv6: %v", m)
		}
	}
}

// TestQuestions is messages that are refused, or more than a question.
func TestQuestions(t *testing.T) {
	s := newClosed(t, testConfig())
	for _, c := range []struct {
		name  string
		b     []byte
		rcode int // -1: no answer
	}{
		{"good", ask("web.", dns.TypeA), 0},
		{"short", make([]byte, 11), -1},
		{"an answer", ask("web.", dns.TypeA, func(m *dns.Msg) { m.Response = true }), -1},
		{"update", ask("web.", dns.TypeA, func(m *dns.Msg) { m.Opcode = dns.OpcodeUpdate }), dns.RcodeNotImplemented},
		{"no question", ask("web.", dns.TypeA, func(m *dns.Msg) { m.Question = nil }), dns.RcodeFormatError},
		{"two questions", ask("web.", dns.TypeA, func(m *dns.Msg) { m.Question = append(m.Question, m.Question[0]) }), dns.RcodeFormatError},
		{"with an answer", ask("web.", dns.TypeA, func(m *dns.Msg) { m.Answer = addresses(m.Question[0], s.gateway) }), dns.RcodeFormatError},
		{"cut off", ask("web.", dns.TypeA)[:15], dns.RcodeFormatError},
		{"CHAOS", ask("version.bind.", dns.TypeTXT, func(m *dns.Msg) { m.Question[0].Qclass = dns.ClassCHAOS }), dns.RcodeRefused},
		{"transfer", ask("lan.internal.", dns.TypeAXFR), dns.RcodeRefused},
		{"EDNS", ask("web.", dns.TypeA, edns(4096, true)), 0},
		{"EDNS 1", ask("web.", dns.TypeA, func(m *dns.Msg) { m.SetEdns0(4096, false); m.IsEdns0().SetVersion(1) }), dns.RcodeBadVers},
	} {
		m := answerOf(t, s, c.b)
		if c.rcode < 0 {
			if m != nil {
				t.Errorf("%s: %v", c.name, m)
			}
			continue
		}
		if m == nil || m.Rcode != c.rcode || !m.Response || m.Id != uint16(c.b[0])<<8|uint16(c.b[1]) {
			t.Errorf("%s: %v", c.name, m)
			continue
		}
		if opt := m.IsEdns0(); (opt != nil) != strings.HasPrefix(c.name, "EDNS") || c.name == "EDNS" && !opt.Do() {
			t.Errorf("%s: %v", c.name, opt)
		}
	}
}

func TestOurs(t *testing.T) {
	s := newClosed(t, testConfig())
	var in []string
	for _, a := range []string{"10.88.3.2", "10.88.3.1", "10.88.3.255", "10.88.4.2", "127.0.0.1", "fd12:3456:789a::7", "fd12:3456:789a::1", "fe80::7", "fd00::7", "::1"} {
		if s.ours(netip.MustParseAddr(a)) {
			in = append(in, a)
		}
	}
	if want := []string{"10.88.3.2", "fd12:3456:789a::7", "fe80::7"}; !slices.Equal(in, want) {
		t.Errorf("%v, want %v", in, want)
	}
}
