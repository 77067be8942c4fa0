package service

import (
	"context"
	"testing"
	"time"

	"github.com/insomniacslk/dhcp/dhcpv4"
	"github.com/insomniacslk/dhcp/dhcpv6"
	"github.com/miekg/dns"
)

// fuzzService answers all that it is asked: no fuzz target runs into a limit.
func fuzzService(f *testing.F) *Service {
	s := newClosed(f, testConfig())
	s.asks = newLimiter[[6]byte](1e9, 1e9, maxClients)
	return s
}

// FuzzDHCPv4 is what a guest may send to the DHCP server: a message behind whole
// headers, and the same bytes as a packet.
func FuzzDHCPv4(f *testing.F) {
	const all = "255.255.255.255"
	for _, b := range [][]byte{
		discover(f, webMAC),
		ask4(f, "0.0.0.0", all, webMAC, dhcpv4.MessageTypeRequest, wish("10.88.3.2"), server("10.88.3.1"), dhcpv4.WithRequestedOptions(optMSClasslessRoutes)),
		ask4(f, "10.88.3.2", "10.88.3.1", webMAC, dhcpv4.MessageTypeRequest, has("10.88.3.2")),
		ask4(f, "10.88.3.2", all, webMAC, dhcpv4.MessageTypeInform, has("10.88.3.2"), dhcpv4.WithBroadcast(true)),
		ask4(f, "0.0.0.0", all, webMAC, dhcpv4.MessageTypeDecline, wish("10.88.3.2")),
	} {
		f.Add(b[ipv4Header+udpHeader:])
		f.Add(b)
	}
	s := fuzzService(f)
	f.Fuzz(func(t *testing.T, b []byte) {
		if len(b) > maxPacket {
			return
		}
		d := datagram{src: subnet4.Addr(), dst: broadcast4, proto: protoUDP, hops: 64, srcPort: dhcp4ClientPort, dstPort: dhcp4ServerPort, payload: b}
		for _, packet := range [][]byte{b, d.bytes()} {
			fuzzDHCP4(t, s, packet)
		}
	})
}

func fuzzDHCP4(t *testing.T, s *Service, packet []byte) {
	reply := s.answer4(packet, webMAC, time.Now())
	if reply == nil {
		return
	}
	d, ok := parseIPv4(reply)
	if !ok || len(reply) > 576 || d.src != s.gateway || d.dstPort != dhcp4ClientPort || d.dst != broadcast4 && d.dst.String() != "10.88.3.2" {
		t.Fatalf("%d bytes, %+v", len(reply), d)
	}
	m, err := dhcpv4.FromBytes(d.payload)
	if err != nil {
		t.Fatal(err)
	}
	if a := addr4(m.YourIPAddr); a.IsValid() && a.String() != "10.88.3.2" {
		t.Errorf("another's address: %s", a)
	}
	if s.answer4(packet, dbMAC, time.Now()) != nil {
		t.Error("the same from another card is answered")
	}
}

// FuzzDHCPv6 is what a guest may send to the DHCPv6 server, behind the UDP header.
func FuzzDHCPv6(f *testing.F) {
	s := fuzzService(f)
	client, ours := dhcpv6.OptClientID(webDUID), dhcpv6.OptServerID(s.duid)
	for _, b := range [][]byte{
		ask6(dhcpv6.MessageTypeSolicit, client, iaNA(1), &dhcpv6.OptionGeneric{OptionCode: dhcpv6.OptionRapidCommit}),
		ask6(dhcpv6.MessageTypeRequest, client, ours, iaNA(1, "fd12:3456:789a::7"), iaNA(2)),
		ask6(dhcpv6.MessageTypeRenew, client, ours, iaNA(1, "fd12:3456:789a::7", "fd00::1"), &dhcpv6.OptIAPD{}),
		ask6(dhcpv6.MessageTypeConfirm, client, iaNA(1, "fd12:3456:789a::7")),
		ask6(dhcpv6.MessageTypeInformationRequest, dhcpv6.OptRequestedOption(dhcpv6.OptionDNSRecursiveNameServer)),
		ask6(dhcpv6.MessageTypeRebind, client, &dhcpv6.OptIATA{}),
	} {
		f.Add(b[ipv6Header+udpHeader:])
	}
	f.Fuzz(func(t *testing.T, message []byte) {
		if len(message) > maxPacket {
			return
		}
		reply := s.answer6(packet6("fe80::10", "ff02::1:2", message), webMAC, time.Now())
		if reply == nil {
			return
		}
		d, ok := parseIPv6(reply)
		if !ok || len(reply) > 1280 {
			t.Fatalf("%d bytes, %+v", len(reply), d)
		}
		m, err := dhcpv6.MessageFromBytes(d.payload)
		if err != nil {
			t.Fatal(err)
		}
		for _, ia := range m.Options.IANA() {
			for _, a := range ia.Options.Addresses() {
				if a.ValidLifetime != 0 && addr6(a.IPv6Addr) != testHosts()[0].IP6 {
					t.Errorf("another's address: %s", a.IPv6Addr)
				}
			}
		}
	})
}

// FuzzIPv6 is all that comes to the IPv6 socket: router solicitations, and what the
// filter lets through beside.
func FuzzIPv6(f *testing.F) {
	f.Add(solicitation("::", nil))
	f.Add(solicitation("fe80::10", append([]byte{ndpOptSourceLink, 1}, webMAC[:]...)))
	f.Add(solicitation("fe80::10", []byte{200, 0, 0, 0, 0, 0, 0, 0}))
	f.Add(ask6(dhcpv6.MessageTypeInformationRequest))
	s := fuzzService(f)
	f.Fuzz(func(t *testing.T, packet []byte) {
		reply := s.answer6(packet, webMAC, time.Now())
		if reply == nil {
			return
		}
		if d, ok := parseIPv6(reply); !ok || len(reply) > 1280 || d.src != s.linkLocal {
			t.Errorf("%d bytes, %+v", len(reply), d)
		}
		if s.answer6(packet, [6]byte{2, 9}, time.Now()) != nil {
			t.Error("a card that is not known gets an answer")
		}
	})
}

// FuzzDNS is a guest's question, and, since it costs no more, an upstream's answer.
func FuzzDNS(f *testing.F) {
	for _, b := range [][]byte{
		ask("web.lan.internal.", dns.TypeA), ask("no.", dns.TypeAAAA, edns(4096, true)), ask("2.3.88.10.in-addr.arpa.", dns.TypePTR),
		ask("example.com.", dns.TypeANY), ask("lan.internal.", dns.TypeSOA),
		ask("a.web.lan.internal.", dns.TypeA, func(m *dns.Msg) { m.Response = true; m.Answer = addresses(m.Question[0], subnet4.Addr()) }),
	} {
		f.Add(b)
	}
	s := fuzzService(f)
	f.Fuzz(func(t *testing.T, b []byte) {
		q, reply := parseQuestion(b)
		if q != nil {
			if reply = s.answerLocal(q, testHosts()[0].IP); reply == nil {
				if _, err := q.upstreamQuestion().Pack(); err != nil {
					t.Errorf("the question cannot be asked: %v", err)
				}
				ctx, cancel := context.WithCancel(context.Background())
				cancel()
				reply = s.forward(ctx, q, false)
			}
			for _, size := range []int{minUDPReply, q.size, maxTCPReply} {
				out := pack(reply.Copy(), size)
				if err := new(dns.Msg).Unpack(out); err != nil || len(out) > size {
					t.Errorf("%d bytes of at most %d: %v", len(out), size, err)
				}
			}
		} else if reply != nil && new(dns.Msg).Unpack(pack(reply, minUDPReply)) != nil {
			t.Error("a refusal that cannot be read")
		}
		got := new(dns.Msg)
		if got.Unpack(b) != nil {
			return
		}
		if out := pack(got, minUDPReply); len(out) > minUDPReply {
			t.Errorf("an answer of %d bytes", len(out))
		}
	})
}
