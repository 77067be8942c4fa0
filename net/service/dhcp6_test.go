package service

import (
	"bytes"
	"net"
	"net/netip"
	"testing"
	"time"

	"github.com/insomniacslk/dhcp/dhcpv6"
	"github.com/insomniacslk/dhcp/iana"

	"github.com/gureum/gureum/net/ipam"
)

var webDUID = &dhcpv6.DUIDLL{HWType: iana.HWTypeEthernet, LinkLayerAddr: webMAC[:]}

func ask6(kind dhcpv6.MessageType, options ...dhcpv6.Option) []byte {
	m := &dhcpv6.Message{MessageType: kind, TransactionID: dhcpv6.TransactionID{1, 2, 3}}
	for _, o := range options {
		m.AddOption(o)
	}
	return packet6(ipam.LinkLocal(webMAC).String(), "ff02::1:2", m.ToBytes())
}

func packet6(src, dst string, payload []byte) []byte {
	d := datagram{src: netip.MustParseAddr(src), dst: netip.MustParseAddr(dst), proto: protoUDP, hops: 64, srcPort: 546, dstPort: 547, payload: payload}
	return d.bytes()
}

func iaNA(id byte, addrs ...string) dhcpv6.Option {
	ia := &dhcpv6.OptIANA{IaId: [4]byte{id}}
	for _, a := range addrs {
		ia.Options.Add(&dhcpv6.OptIAAddress{IPv6Addr: net.ParseIP(a), PreferredLifetime: time.Hour, ValidLifetime: time.Hour})
	}
	return ia
}

func TestDHCP6(t *testing.T) {
	s := newClosed(t, testConfig())
	mine := ipam.EUI64(subnet6, webMAC).String()
	client, ours := dhcpv6.OptClientID(webDUID), dhcpv6.OptServerID(s.duid)
	other := dhcpv6.OptServerID(serverDUID("other", subnet6))
	rapid := &dhcpv6.OptionGeneric{OptionCode: dhcpv6.OptionRapidCommit}
	pd := &dhcpv6.OptIAPD{IaId: [4]byte{9}}
	ta := &dhcpv6.OptIATA{IaId: [4]byte{8}}
	reply, advertise := dhcpv6.MessageTypeReply, dhcpv6.MessageTypeAdvertise
	for _, c := range []struct {
		name   string
		packet []byte
		kind   dhcpv6.MessageType // 0: none
		addrs  []string           // of the first association, dead ones with a minus
		status iana.StatusCode    // of the message
	}{
		{"solicit", ask6(dhcpv6.MessageTypeSolicit, client, iaNA(1)), advertise, []string{mine}, 0},
		{"solicit, rapid commit", ask6(dhcpv6.MessageTypeSolicit, client, iaNA(1), rapid), reply, []string{mine}, 0},
		{"solicit, several", ask6(dhcpv6.MessageTypeSolicit, client, iaNA(1), iaNA(2), pd, ta), advertise, []string{mine}, 0},
		{"solicit for no client", ask6(dhcpv6.MessageTypeSolicit, iaNA(1)), 0, nil, 0},
		{"solicit for a server", ask6(dhcpv6.MessageTypeSolicit, client, ours, iaNA(1)), 0, nil, 0},
		{"request", ask6(dhcpv6.MessageTypeRequest, client, ours, iaNA(1, mine)), reply, []string{mine}, 0},
		{"request of another's", ask6(dhcpv6.MessageTypeRequest, client, ours, iaNA(1, "fd12:3456:789a::7")), reply, []string{mine}, 0},
		{"request of another server", ask6(dhcpv6.MessageTypeRequest, client, other, iaNA(1)), 0, nil, 0},
		{"request of no server", ask6(dhcpv6.MessageTypeRequest, client, iaNA(1)), 0, nil, 0},
		{"renew", ask6(dhcpv6.MessageTypeRenew, client, ours, iaNA(1, mine)), reply, []string{mine}, 0},
		{"renew with more", ask6(dhcpv6.MessageTypeRenew, client, ours, iaNA(1, mine, "fd00::7")), reply, []string{mine, "-fd00::7"}, 0},
		{"rebind", ask6(dhcpv6.MessageTypeRebind, client, iaNA(1, mine)), reply, []string{mine}, 0},
		{"confirm", ask6(dhcpv6.MessageTypeConfirm, client, iaNA(1, mine)), reply, nil, iana.StatusSuccess},
		{"confirm elsewhere", ask6(dhcpv6.MessageTypeConfirm, client, iaNA(1, mine, "fd00::7")), reply, nil, iana.StatusNotOnLink},
		{"confirm of nothing", ask6(dhcpv6.MessageTypeConfirm, client, iaNA(1)), 0, nil, 0},
		{"release", ask6(dhcpv6.MessageTypeRelease, client, ours, iaNA(1, mine)), reply, nil, iana.StatusSuccess},
		{"decline", ask6(dhcpv6.MessageTypeDecline, client, ours, iaNA(1, mine)), reply, nil, iana.StatusSuccess},
		{"information", ask6(dhcpv6.MessageTypeInformationRequest), reply, nil, 0},
		{"information of another", ask6(dhcpv6.MessageTypeInformationRequest, other), 0, nil, 0},
		{"an answer", ask6(dhcpv6.MessageTypeReply, client, ours), 0, nil, 0},
		{"a relay", packet6("fe80::1", "ff02::1:2", append([]byte{byte(dhcpv6.MessageTypeRelayForward)}, make([]byte, 33)...)), 0, nil, 0},
		{"unicast", packet6(mine, "fd12:3456:789a::1", ask6(dhcpv6.MessageTypeSolicit, client, iaNA(1))[48:]), 0, nil, 0},
		{"no link-local source", packet6(mine, "ff02::1:2", ask6(dhcpv6.MessageTypeSolicit, client, iaNA(1))[48:]), 0, nil, 0},
		{"too many associations", ask6(dhcpv6.MessageTypeSolicit, client, iaNA(1), iaNA(2), iaNA(3), iaNA(4), iaNA(5), iaNA(6), iaNA(7), iaNA(8), iaNA(9)), 0, nil, 0},
		{"cut off", ask6(dhcpv6.MessageTypeSolicit, client, iaNA(1))[:60], 0, nil, 0},
	} {
		m := parseReply6(t, c.name, s.answer6(c.packet, webMAC, time.Now().Add(time.Hour)), c.kind == 0)
		if m == nil {
			continue
		}
		if m.MessageType != c.kind || m.TransactionID != (dhcpv6.TransactionID{1, 2, 3}) || !bytes.Equal(m.Options.ServerID().ToBytes(), s.duid.ToBytes()) {
			t.Errorf("%s: %s", c.name, m.Summary())
		}
		if st := m.Options.Status(); (st != nil) != (c.addrs == nil && c.name != "information") || st != nil && st.StatusCode != c.status {
			t.Errorf("%s: status %v", c.name, st)
		}
		if got := describeIA(m.Options.OneIANA()); len(got) != len(c.addrs) || len(got) > 0 && !bytes.Equal([]byte(join(got)), []byte(join(c.addrs))) {
			t.Errorf("%s: %v, want %v", c.name, got, c.addrs)
		}
		if c.addrs != nil || c.name == "information" {
			if dns := m.Options.DNS(); len(dns) != 1 || dns[0].String() != "fd12:3456:789a::1" {
				t.Errorf("%s: DNS %v", c.name, dns)
			}
			if d := m.Options.DomainSearchList(); d == nil || len(d.Labels) != 1 || d.Labels[0] != "lan.internal" {
				t.Errorf("%s: domains %v", c.name, d)
			}
		}
		if c.name == "solicit, several" {
			second := m.Options.IANA()[1].Options.Status()
			if second == nil || second.StatusCode != iana.StatusNoAddrsAvail || m.Options.OneIAPD().Options.Status().StatusCode != iana.StatusNoPrefixAvail ||
				m.Options.OneIATA().Options.Status().StatusCode != iana.StatusNoAddrsAvail {
				t.Errorf("%s: %s", c.name, m.Summary())
			}
		}
	}
}

func parseReply6(t *testing.T, name string, b []byte, none bool) *dhcpv6.Message {
	t.Helper()
	if none {
		if b != nil {
			t.Errorf("%s: an answer", name)
		}
		return nil
	}
	d, ok := parseIPv6(b)
	if !ok || d.dst != ipam.LinkLocal(webMAC) || d.src != ipam.LinkLocal([6]byte{2, 0, 0, 0, 0, 1}) || d.dstPort != 546 {
		t.Errorf("%s: no good answer: %+v", name, d)
		return nil
	}
	m, err := dhcpv6.MessageFromBytes(d.payload)
	if err != nil {
		t.Errorf("%s: %v", name, err)
		return nil
	}
	return m
}

func describeIA(ia *dhcpv6.OptIANA) (out []string) {
	if ia == nil {
		return nil
	}
	for _, a := range ia.Options.Addresses() {
		text := a.IPv6Addr.String()
		if a.ValidLifetime == 0 {
			text = "-" + text
		}
		out = append(out, text)
	}
	return out
}

func join(list []string) (out string) {
	for _, s := range list {
		out += s + " "
	}
	return out
}

// TestDHCP6WithoutAddress is a port that has none: the parameters are told all the same.
func TestDHCP6WithoutAddress(t *testing.T) {
	s := newClosed(t, testConfig())
	d, _ := parseIPv6(s.answer6(ask6(dhcpv6.MessageTypeSolicit, dhcpv6.OptClientID(webDUID), iaNA(1)), dbMAC, time.Now()))
	m, err := dhcpv6.MessageFromBytes(d.payload)
	if err != nil {
		t.Fatal(err)
	}
	ia := m.Options.OneIANA()
	if ia == nil || ia.Options.OneAddress() != nil || ia.Options.Status().StatusCode != iana.StatusNoAddrsAvail {
		t.Errorf("%s", m.Summary())
	}
}

// TestReduce holds that of what a client says only the needed reaches the library.
func TestReduce(t *testing.T) {
	search := &dhcpv6.OptionGeneric{OptionCode: dhcpv6.OptionDomainSearchList, OptionData: bytes.Repeat([]byte{0xc0, 0}, 100)}
	ia := &dhcpv6.OptIANA{IaId: [4]byte{1}}
	ia.Options.Add(search)
	address := &dhcpv6.OptIAAddress{IPv6Addr: net.ParseIP("fd00::7")}
	address.Options.Add(search)
	ia.Options.Add(address)
	m := &dhcpv6.Message{MessageType: dhcpv6.MessageTypeSolicit}
	m.AddOption(search)
	m.AddOption(ia)
	out, ok := reduce6(m.ToBytes())
	if !ok || bytes.Contains(out, []byte{0xc0, 0, 0xc0, 0}) || len(out) != 4+4+12+4+24 {
		t.Errorf("%d bytes: %x", len(out), out)
	}
}

func TestServerDUID(t *testing.T) {
	a, b := serverDUID("lan", subnet6), serverDUID("wan", subnet6)
	if a.Equal(b) || !a.Equal(serverDUID("lan", subnet6)) {
		t.Errorf("%s, %s", a, b)
	}
}
