package service

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"net"
	"net/netip"

	"github.com/insomniacslk/dhcp/dhcpv6"
	"github.com/insomniacslk/dhcp/iana"
	"github.com/insomniacslk/dhcp/rfc1035label"
)

// Ports of DHCPv6 (RFC 9915, section 7.2).
const (
	dhcp6ServerPort = 547
	dhcp6ClientPort = 546
)

// Bounds of what is taken out of a message.
const (
	maxDUID      = 130 // RFC 9915, section 11.1: 128 bytes and the type
	maxIAs       = 8
	maxIAOptions = 8
)

var allServers = netip.AddrFrom16([16]byte{0: 0xff, 1: 0x02, 13: 1, 15: 2}) // ff02::1:2

// serverDUID makes the identifier of a network's service: the same whenever it runs
// (RFC 6355).
func serverDUID(network string, subnet netip.Prefix) *dhcpv6.DUIDUUID {
	sum := sha256.Sum256([]byte("gureum network service\x00" + network + "\x00" + subnet.String()))
	d := &dhcpv6.DUIDUUID{UUID: [16]byte(sum[:16])}
	d.UUID[6] = d.UUID[6]&0xf | 8<<4 // RFC 9562, section 5.8: made in a way of our own
	d.UUID[8] = d.UUID[8]&0x3f | 0x80
	return d
}

// answerDHCP6 gives the answer to a message of a client, as a packet for its port; nil
// is none.
func (s *Service) answerDHCP6(d datagram, host Host) []byte {
	if d.dst != allServers || !d.src.IsLinkLocalUnicast() {
		return nil
	}
	reduced, ok := reduce6(d.payload)
	if !ok {
		return nil
	}
	m, err := dhcpv6.MessageFromBytes(reduced)
	if err != nil {
		return nil
	}
	reply := s.reply6(m, host)
	if reply == nil {
		return nil
	}
	out := datagram{
		src: s.linkLocal, dst: d.src, proto: protoUDP, hops: hopLimit,
		srcPort: dhcp6ServerPort, dstPort: dhcp6ClientPort, payload: reply.ToBytes(),
	}
	return out.bytes()
}

// reduce6 leaves of a message what its answer depends on. The library takes all options
// apart, at any depth, also names whose parts point at one another, which costs far more
// than their bytes: what it need not see it does not get.
func reduce6(b []byte) ([]byte, bool) {
	if len(b) < dhcpv6.MessageHeaderSize {
		return nil, false
	}
	out := bytes.Clone(b[:dhcpv6.MessageHeaderSize])
	ias := 0
	ok := eachOption(b[dhcpv6.MessageHeaderSize:], func(code dhcpv6.OptionCode, value []byte) bool {
		switch code {
		case dhcpv6.OptionClientID, dhcpv6.OptionServerID:
			if len(value) < 3 || len(value) > maxDUID {
				return false
			}
		case dhcpv6.OptionIANA, dhcpv6.OptionIATA, dhcpv6.OptionIAPD:
			if ias++; ias > maxIAs {
				return false
			}
			var fits bool
			if value, fits = reduceIA(code, value); !fits {
				return false
			}
		case dhcpv6.OptionRapidCommit:
			value = nil
		default:
			return true
		}
		out = appendOption(out, code, value)
		return true
	})
	return out, ok
}

// reduceIA leaves of an identity association its numbers and addresses.
func reduceIA(code dhcpv6.OptionCode, b []byte) ([]byte, bool) {
	header, inner, size := 12, dhcpv6.OptionIAAddr, 24
	switch code {
	case dhcpv6.OptionIATA:
		header = 4
	case dhcpv6.OptionIAPD:
		inner, size = dhcpv6.OptionIAPrefix, 25
	}
	if len(b) < header {
		return nil, false
	}
	out := bytes.Clone(b[:header])
	n := 0
	ok := eachOption(b[header:], func(code dhcpv6.OptionCode, value []byte) bool {
		if code != inner {
			return true
		}
		if n++; n > maxIAOptions || len(value) < size {
			return false
		}
		out = appendOption(out, code, value[:size])
		return true
	})
	return out, ok
}

// eachOption goes through options until one is refused; it says whether all were whole
// and taken.
func eachOption(b []byte, take func(dhcpv6.OptionCode, []byte) bool) bool {
	for len(b) > 0 {
		if len(b) < 4 {
			return false
		}
		code, size := binary.BigEndian.Uint16(b), int(binary.BigEndian.Uint16(b[2:]))
		if b = b[4:]; size > len(b) || !take(dhcpv6.OptionCode(code), b[:size]) {
			return false
		}
		b = b[size:]
	}
	return true
}

func appendOption(b []byte, code dhcpv6.OptionCode, value []byte) []byte {
	b = binary.BigEndian.AppendUint16(b, uint16(code))
	b = binary.BigEndian.AppendUint16(b, uint16(len(value)))
	return append(b, value...)
}

// reply6 makes the answer to a client's message (RFC 9915, section 18.3).
func (s *Service) reply6(m *dhcpv6.Message, host Host) *dhcpv6.Message {
	client, server := m.Options.ClientID(), m.Options.ServerID()
	if !s.addressed6(m.MessageType, client, server) {
		return nil
	}
	reply := &dhcpv6.Message{MessageType: dhcpv6.MessageTypeReply, TransactionID: m.TransactionID}
	if client != nil {
		reply.AddOption(dhcpv6.OptClientID(client))
	}
	reply.AddOption(dhcpv6.OptServerID(s.duid))
	switch m.MessageType {
	case dhcpv6.MessageTypeSolicit:
		if m.GetOneOption(dhcpv6.OptionRapidCommit) != nil {
			dhcpv6.WithRapidCommit(reply)
		} else {
			reply.MessageType = dhcpv6.MessageTypeAdvertise
		}
		s.addIAs(m, reply, host)
	case dhcpv6.MessageTypeRequest, dhcpv6.MessageTypeRenew, dhcpv6.MessageTypeRebind:
		s.addIAs(m, reply, host)
	case dhcpv6.MessageTypeConfirm:
		status, ok := s.confirm(m)
		if !ok {
			return nil
		}
		reply.AddOption(status)
		return reply
	case dhcpv6.MessageTypeRelease, dhcpv6.MessageTypeDecline:
		// The address stays the port's.
		if m.MessageType == dhcpv6.MessageTypeDecline {
			s.complain(host, "guest says that its address is in use by another: it stays the port's", "address", host.IP6)
		}
		reply.AddOption(&dhcpv6.OptStatusCode{StatusCode: iana.StatusSuccess})
		return reply
	}
	reply.AddOption(dhcpv6.OptDNS(s.gateway6.AsSlice()))
	reply.AddOption(dhcpv6.OptDomainSearchList(&rfc1035label.Labels{Labels: []string{s.domain}}))
	return reply
}

// addressed6 tells whether a message is whole and for this server (RFC 9915, section 16).
func (s *Service) addressed6(kind dhcpv6.MessageType, client, server dhcpv6.DUID) bool {
	ours := server != nil && bytes.Equal(server.ToBytes(), s.duid.ToBytes())
	switch kind {
	case dhcpv6.MessageTypeSolicit, dhcpv6.MessageTypeConfirm, dhcpv6.MessageTypeRebind:
		return client != nil && server == nil
	case dhcpv6.MessageTypeRequest, dhcpv6.MessageTypeRenew, dhcpv6.MessageTypeRelease, dhcpv6.MessageTypeDecline:
		return client != nil && ours
	case dhcpv6.MessageTypeInformationRequest:
		return server == nil || ours
	}
	return false
}

// addIAs answers each identity association: the first gets the port's address, and what
// the client has beside that is declared dead (RFC 9915, sections 18.3.1 to 18.3.5).
func (s *Service) addIAs(m, reply *dhcpv6.Message, host Host) {
	for i, ia := range m.Options.IANA() {
		answer := &dhcpv6.OptIANA{IaId: ia.IaId}
		if i == 0 && host.IP6.IsValid() {
			answer.T1, answer.T2 = renewAfter, rebindAfter
			answer.Options.Add(&dhcpv6.OptIAAddress{IPv6Addr: host.IP6.AsSlice(), PreferredLifetime: lease, ValidLifetime: lease})
		} else {
			answer.Options.Add(&dhcpv6.OptStatusCode{StatusCode: iana.StatusNoAddrsAvail, StatusMessage: "a port has one address"})
		}
		if m.MessageType == dhcpv6.MessageTypeRenew || m.MessageType == dhcpv6.MessageTypeRebind {
			for _, a := range ia.Options.Addresses() {
				if i > 0 || addr6(a.IPv6Addr) != host.IP6 {
					answer.Options.Add(&dhcpv6.OptIAAddress{IPv6Addr: a.IPv6Addr})
				}
			}
		}
		reply.AddOption(answer)
	}
	for _, ia := range m.Options.IATA() {
		answer := &dhcpv6.OptIATA{IaId: ia.IaId}
		answer.Options.Add(&dhcpv6.OptStatusCode{StatusCode: iana.StatusNoAddrsAvail, StatusMessage: "no temporary addresses"})
		reply.AddOption(answer)
	}
	for _, ia := range m.Options.IAPD() {
		answer := &dhcpv6.OptIAPD{IaId: ia.IaId}
		answer.Options.Add(&dhcpv6.OptStatusCode{StatusCode: iana.StatusNoPrefixAvail, StatusMessage: "no prefixes"})
		reply.AddOption(answer)
	}
}

// confirm says whether all addresses of a client are on this link; without any there is
// no answer (RFC 9915, section 18.3.3).
func (s *Service) confirm(m *dhcpv6.Message) (*dhcpv6.OptStatusCode, bool) {
	status, some := &dhcpv6.OptStatusCode{StatusCode: iana.StatusSuccess}, false
	look := func(list []*dhcpv6.OptIAAddress) {
		for _, a := range list {
			some = true
			if !s.cfg.Subnet6.Contains(addr6(a.IPv6Addr)) {
				status.StatusCode = iana.StatusNotOnLink
			}
		}
	}
	for _, ia := range m.Options.IANA() {
		look(ia.Options.Addresses())
	}
	for _, ia := range m.Options.IATA() {
		look(ia.Options.Addresses())
	}
	return status, some
}

func addr6(ip net.IP) netip.Addr {
	a, _ := netip.AddrFromSlice(ip)
	return a
}
