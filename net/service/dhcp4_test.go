package service

import (
	"bytes"
	"net"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/insomniacslk/dhcp/dhcpv4"

	"github.com/gureum/gureum/net/ipam"
)

// ask4 makes a packet of a client.
func ask4(t testing.TB, src, dst string, mac [6]byte, kind dhcpv4.MessageType, options ...dhcpv4.Modifier) []byte {
	t.Helper()
	m, err := dhcpv4.New(append([]dhcpv4.Modifier{dhcpv4.WithHwAddr(mac[:]), dhcpv4.WithMessageType(kind)}, options...)...)
	if err != nil {
		t.Fatal(err)
	}
	d := datagram{src: netip.MustParseAddr(src), dst: netip.MustParseAddr(dst), proto: protoUDP, hops: 64, srcPort: 68, dstPort: 67, payload: m.ToBytes()}
	return d.bytes()
}

func discover(t testing.TB, mac [6]byte) []byte {
	return ask4(t, "0.0.0.0", "255.255.255.255", mac, dhcpv4.MessageTypeDiscover, dhcpv4.WithOption(dhcpv4.OptClientIdentifier([]byte{1, 2, 3})))
}

func wish(ip string) dhcpv4.Modifier {
	return dhcpv4.WithOption(dhcpv4.OptRequestedIPAddress(net.ParseIP(ip)))
}

func server(ip string) dhcpv4.Modifier {
	return dhcpv4.WithOption(dhcpv4.OptServerIdentifier(net.ParseIP(ip)))
}

func has(ip string) dhcpv4.Modifier { return dhcpv4.WithClientIP(net.ParseIP(ip)) }

func TestDHCP4Decisions(t *testing.T) {
	s := newClosed(t, testConfig())
	const all, gw = "255.255.255.255", "10.88.3.1"
	request := dhcpv4.MessageTypeRequest
	for _, c := range []struct {
		name   string
		packet []byte
		from   [6]byte
		kind   dhcpv4.MessageType // of the answer
		dst    string
	}{
		{"discover", discover(t, webMAC), webMAC, dhcpv4.MessageTypeOffer, "10.88.3.2"},
		{"discover, broadcast wanted", ask4(t, "0.0.0.0", all, webMAC, dhcpv4.MessageTypeDiscover, dhcpv4.WithBroadcast(true)), webMAC, dhcpv4.MessageTypeOffer, all},
		{"selecting", ask4(t, "0.0.0.0", all, webMAC, request, server(gw), wish("10.88.3.2")), webMAC, dhcpv4.MessageTypeAck, "10.88.3.2"},
		{"selecting another address", ask4(t, "0.0.0.0", all, webMAC, request, server(gw), wish("10.88.3.3")), webMAC, dhcpv4.MessageTypeNak, all},
		{"selecting another server", ask4(t, "0.0.0.0", all, webMAC, request, server("10.88.3.9"), wish("10.88.3.2")), webMAC, 0, ""},
		{"reboot", ask4(t, "0.0.0.0", all, webMAC, request, wish("10.88.3.2")), webMAC, dhcpv4.MessageTypeAck, "10.88.3.2"},
		{"reboot in another network", ask4(t, "0.0.0.0", all, webMAC, request, wish("192.168.1.7")), webMAC, dhcpv4.MessageTypeNak, all},
		{"renew", ask4(t, "10.88.3.2", gw, webMAC, request, has("10.88.3.2")), webMAC, dhcpv4.MessageTypeAck, "10.88.3.2"},
		{"rebind", ask4(t, "10.88.3.2", all, webMAC, request, has("10.88.3.2")), webMAC, dhcpv4.MessageTypeAck, "10.88.3.2"},
		{"renew of another's", ask4(t, "10.88.3.2", gw, webMAC, request, has("10.88.3.3")), webMAC, dhcpv4.MessageTypeNak, all},
		{"request of nothing", ask4(t, "0.0.0.0", all, webMAC, request), webMAC, dhcpv4.MessageTypeNak, all},
		{"inform", ask4(t, "10.88.3.2", all, webMAC, dhcpv4.MessageTypeInform, has("10.88.3.2")), webMAC, dhcpv4.MessageTypeAck, "10.88.3.2"},
		{"inform of another's", ask4(t, "10.88.3.2", all, webMAC, dhcpv4.MessageTypeInform, has("10.88.3.3")), webMAC, 0, ""},
		{"decline", ask4(t, "0.0.0.0", all, webMAC, dhcpv4.MessageTypeDecline, server(gw), wish("10.88.3.2")), webMAC, 0, ""},
		{"release", ask4(t, "10.88.3.2", gw, webMAC, dhcpv4.MessageTypeRelease, server(gw), has("10.88.3.2")), webMAC, 0, ""},
		{"an answer", ask4(t, "0.0.0.0", all, webMAC, dhcpv4.MessageTypeOffer), webMAC, 0, ""},
		{"no type", ask4(t, "0.0.0.0", all, webMAC, 0), webMAC, 0, ""},
		{"unknown card", discover(t, [6]byte{2, 9}), [6]byte{2, 9}, 0, ""},
		{"for another card", discover(t, dbMAC), webMAC, 0, ""},
		{"by a relay", ask4(t, "0.0.0.0", all, webMAC, dhcpv4.MessageTypeDiscover, dhcpv4.WithGatewayIP(net.IPv4(10, 88, 3, 2))), webMAC, 0, ""},
		{"to another host", ask4(t, "0.0.0.0", "10.88.3.3", webMAC, dhcpv4.MessageTypeDiscover), webMAC, 0, ""},
		{"subnet's broadcast", ask4(t, "10.88.3.2", "10.88.3.255", webMAC, request, has("10.88.3.2")), webMAC, dhcpv4.MessageTypeAck, "10.88.3.2"},
		{"large identifier", ask4(t, "0.0.0.0", all, webMAC, dhcpv4.MessageTypeDiscover, dhcpv4.WithOption(dhcpv4.OptClientIdentifier(make([]byte, 900)))), webMAC, 0, ""},
		{"nothing", nil, webMAC, 0, ""},
	} {
		reply := s.answer4(c.packet, c.from, time.Now().Add(time.Hour))
		if c.kind == 0 {
			if reply != nil {
				t.Errorf("%s: an answer", c.name)
			}
			continue
		}
		d, m := parseReply4(t, c.name, reply)
		if m == nil {
			continue
		}
		if m.MessageType() != c.kind || d.dst.String() != c.dst {
			t.Errorf("%s: %s to %s, want %s to %s", c.name, m.MessageType(), d.dst, c.kind, c.dst)
		}
		wantIP := m.MessageType() != dhcpv4.MessageTypeNak && c.name != "inform"
		if got := m.YourIPAddr.String(); (got == "10.88.3.2") != wantIP {
			t.Errorf("%s: address %s", c.name, got)
		}
		if (m.IPAddressLeaseTime(0) != 0) != wantIP {
			t.Errorf("%s: lease %s", c.name, m.IPAddressLeaseTime(0))
		}
		if got := m.ServerIdentifier().String(); got != gw {
			t.Errorf("%s: server %s", c.name, got)
		}
	}
}

func parseReply4(t *testing.T, name string, reply []byte) (datagram, *dhcpv4.DHCPv4) {
	t.Helper()
	d, ok := parseIPv4(reply)
	if !ok || d.srcPort != 67 || d.dstPort != 68 || d.src.String() != "10.88.3.1" {
		t.Errorf("%s: no good answer: %+v", name, d)
		return d, nil
	}
	if len(reply) > 576 {
		t.Errorf("%s: %d bytes", name, len(reply))
	}
	m, err := dhcpv4.FromBytes(d.payload)
	if err != nil {
		t.Errorf("%s: %v", name, err)
		return d, nil
	}
	if m.OpCode != dhcpv4.OpcodeBootReply || !bytes.Equal(m.ClientHWAddr, webMAC[:]) {
		t.Errorf("%s: %s", name, m.Summary())
	}
	return d, m
}

func TestDHCP4Options(t *testing.T) {
	msRoutes := dhcpv4.WithRequestedOptions(optMSClasslessRoutes, dhcpv4.OptionClasslessStaticRoute, dhcpv4.OptionDNSDomainSearchList)
	few := dhcpv4.WithRequestedOptions(dhcpv4.OptionSubnetMask)
	route := []byte{0, 10, 88, 3, 1}
	for _, c := range []struct {
		name     string
		internal bool
		ask      dhcpv4.Modifier
		want     map[dhcpv4.OptionCode][]byte // nil is absent
	}{
		{"all asked", false, func(*dhcpv4.DHCPv4) {}, map[dhcpv4.OptionCode][]byte{
			dhcpv4.OptionSubnetMask: {255, 255, 255, 0}, dhcpv4.OptionRouter: {10, 88, 3, 1}, dhcpv4.OptionDomainNameServer: {10, 88, 3, 1},
			dhcpv4.OptionHostName: []byte("web"), dhcpv4.OptionDomainName: []byte("lan.internal"), dhcpv4.OptionInterfaceMTU: {0x05, 0x78},
			dhcpv4.OptionBroadcastAddress: {10, 88, 3, 255}, dhcpv4.OptionIPAddressLeaseTime: {0, 1, 0x51, 0x80},
			dhcpv4.OptionRenewTimeValue: {0, 0, 0x0e, 0x10}, dhcpv4.OptionRebindingTimeValue: {0, 1, 0x27, 0x50},
			dhcpv4.OptionClasslessStaticRoute: route, optMSClasslessRoutes: nil, dhcpv4.OptionClientIdentifier: {7, 7},
			dhcpv4.OptionDNSDomainSearchList: []byte("\x03lan\x08internal\x00"), dhcpv4.OptionRelayAgentInformation: nil,
		}},
		{"Microsoft's", false, msRoutes, map[dhcpv4.OptionCode][]byte{optMSClasslessRoutes: route, dhcpv4.OptionClasslessStaticRoute: route}},
		{"few", false, few, map[dhcpv4.OptionCode][]byte{
			dhcpv4.OptionRouter: {10, 88, 3, 1}, optMSClasslessRoutes: nil, dhcpv4.OptionClasslessStaticRoute: nil, dhcpv4.OptionDNSDomainSearchList: nil,
		}},
		{"internal", true, msRoutes, map[dhcpv4.OptionCode][]byte{
			dhcpv4.OptionRouter: nil, dhcpv4.OptionClasslessStaticRoute: nil, optMSClasslessRoutes: nil,
			dhcpv4.OptionSubnetMask: {255, 255, 255, 0}, dhcpv4.OptionDomainNameServer: {10, 88, 3, 1},
		}},
	} {
		cfg := testConfig()
		cfg.Internal, cfg.MTU = c.internal, 1400
		s := newClosed(t, cfg)
		packet := ask4(t, "0.0.0.0", "255.255.255.255", webMAC, dhcpv4.MessageTypeDiscover, c.ask,
			dhcpv4.WithOption(dhcpv4.OptClientIdentifier([]byte{7, 7})), dhcpv4.WithGeneric(dhcpv4.OptionRelayAgentInformation, []byte{1, 2, 3, 4}))
		_, m := parseReply4(t, c.name, s.answer4(packet, webMAC, time.Now()))
		if m == nil {
			continue
		}
		for code, want := range c.want {
			if got := m.Options.Get(code); !bytes.Equal(got, want) {
				t.Errorf("%s: option %s: %v, want %v", c.name, code, got, want)
			}
		}
	}
}

// TestDHCP4Limit holds that one guest that floods does not take the others' turn.
func TestDHCP4Limit(t *testing.T) {
	s := newClosed(t, testConfig())
	now := time.Now()
	n := 0
	for range 1000 {
		if s.answer4(discover(t, webMAC), webMAC, now) != nil {
			n++
		}
	}
	if n != asksBurst {
		t.Errorf("%d answers", n)
	}
	if s.answer4(discover(t, dbMAC), dbMAC, now) == nil {
		t.Error("another guest gets none")
	}
	if s.answer4(discover(t, webMAC), webMAC, now.Add(time.Second)) == nil {
		t.Error("none a second later")
	}
}

// TestDHCP4LongNames holds that the longest names fit.
func TestDHCP4LongNames(t *testing.T) {
	cfg := testConfig()
	cfg.Network = strings.Repeat("n", 63)
	s := newClosed(t, cfg)
	if err := WriteHosts(s.cfg.Hosts, []Host{{Name: strings.Repeat("h", 63), MAC: webMAC, IP: ipam.Gateway(subnet4).Next()}}); err != nil {
		t.Fatal(err)
	}
	for size, want := range map[int][3]int{10: {63, 72, 1}, 64: {63, 72, 0}, maxClientID: {0, 72, 0}} {
		packet := ask4(t, "0.0.0.0", "255.255.255.255", webMAC, dhcpv4.MessageTypeDiscover, dhcpv4.WithOption(dhcpv4.OptClientIdentifier(make([]byte, size))))
		_, m := parseReply4(t, "long names", s.answer4(packet, webMAC, time.Now()))
		if m == nil {
			continue
		}
		search := 0
		if m.DomainSearch() != nil {
			search = 1
		}
		if got := [3]int{len(m.HostName()), len(m.DomainName()), search}; got != want {
			t.Errorf("identifier of %d bytes: %v, want %v", size, got, want)
		}
	}
}
