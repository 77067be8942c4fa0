package service

import (
	"bytes"
	"net"
	"net/netip"
	"time"

	"github.com/insomniacslk/dhcp/dhcpv4"
	"github.com/insomniacslk/dhcp/iana"
	"github.com/insomniacslk/dhcp/rfc1035label"

	"github.com/gureum/gureum/net/ipam"
)

// Ports of DHCP (RFC 2131, section 4.1).
const (
	dhcp4ServerPort = 67
	dhcp4ClientPort = 68
)

// lease is how long a guest may keep what it was told without asking again. An address
// belongs to a port for as long as that exists, so a long time harms nobody, and guests
// keep their addresses when the service is down.
const lease = 24 * time.Hour

// Times at which a client asks its server again, and then any server (RFC 2131, section
// 4.4.5): after an hour, so that a changed MTU or name arrives some day.
const (
	renewAfter  = time.Hour
	rebindAfter = lease * 7 / 8
)

// Bounds in bytes.
const (
	// maxClientID is that of identifiers that are sent back: RFC 4361's with the largest
	// DUID.
	maxClientID = 1 + 4 + maxDUID
	// maxReply4 leaves room for the headers in the 576 bytes that each client takes
	// (RFC 2131, section 2).
	maxReply4 = 576 - ipv4Header - udpHeader
)

// optMSClasslessRoutes is Microsoft's number for option 121, from before that existed.
const optMSClasslessRoutes = dhcpv4.GenericOptionCode(249)

var broadcast4 = netip.AddrFrom4([4]byte{255, 255, 255, 255})

// answer4 gives the answer to an IPv4 packet that came from a port: a packet for that
// port, or nil for none. Only clients whose Ethernet address is known get one.
func (s *Service) answer4(packet []byte, from [6]byte, now time.Time) []byte {
	d, ok := parseIPv4(packet)
	if !ok || d.dstPort != dhcp4ServerPort || d.dst != broadcast4 && d.dst != s.gateway && d.dst != ipam.Broadcast(s.cfg.Subnet) {
		return nil
	}
	host, ok := s.known(from, now)
	if !ok || !host.IP.IsValid() {
		return nil
	}
	m, err := dhcpv4.FromBytes(d.payload)
	if err != nil || m.OpCode != dhcpv4.OpcodeBootRequest || m.HWType != iana.HWTypeEthernet {
		return nil
	}
	// The frame says who asks; a message for another, or by way of a relay, is none of
	// this port's.
	if !bytes.Equal(m.ClientHWAddr, from[:]) || addr4(m.GatewayIPAddr).IsValid() {
		return nil
	}
	if len(m.Options.Get(dhcpv4.OptionClientIdentifier)) > maxClientID {
		return nil
	}
	kind := s.decide4(m, host)
	if kind == dhcpv4.MessageTypeNone {
		return nil
	}
	reply, err := s.reply4(m, kind, host)
	if err != nil {
		return nil
	}
	out := datagram{
		src: s.gateway, dst: destination4(m, kind, host.IP), proto: protoUDP, hops: hopLimit,
		srcPort: dhcp4ServerPort, dstPort: dhcp4ClientPort, payload: reply.ToBytes(),
	}
	return out.bytes()
}

// addr4 is an address of a message; one of all zeros is none.
func addr4(ip net.IP) netip.Addr {
	a, ok := netip.AddrFromSlice(ip.To4())
	if !ok || a.IsUnspecified() {
		return netip.Addr{}
	}
	return a
}

// decide4 says what kind of answer a message gets (RFC 2131, sections 4.3.1 to 4.3.5).
func (s *Service) decide4(m *dhcpv4.DHCPv4, host Host) dhcpv4.MessageType {
	server := addr4(m.ServerIdentifier())
	if server.IsValid() && server != s.gateway {
		return dhcpv4.MessageTypeNone // for another server, that the switch should have stopped
	}
	switch m.MessageType() {
	case dhcpv4.MessageTypeDiscover:
		return dhcpv4.MessageTypeOffer
	case dhcpv4.MessageTypeRequest:
		// Selecting and rebooting clients name the address in an option; renewing and
		// rebinding ones have it already.
		asked := addr4(m.RequestedIPAddress())
		if !asked.IsValid() {
			asked = addr4(m.ClientIPAddr)
		}
		if asked != host.IP {
			return dhcpv4.MessageTypeNak
		}
		return dhcpv4.MessageTypeAck
	case dhcpv4.MessageTypeInform:
		if addr4(m.ClientIPAddr) != host.IP {
			return dhcpv4.MessageTypeNone // the switch lets it use no other
		}
		return dhcpv4.MessageTypeAck
	case dhcpv4.MessageTypeDecline:
		s.complain(host, "guest says that its address is in use by another: it stays the port's", "address", host.IP)
	case dhcpv4.MessageTypeRelease:
		// The address stays the port's.
	}
	return dhcpv4.MessageTypeNone
}

// destination4 is where an answer goes in IP; the frame always goes to the port alone
// (RFC 2131, section 4.1).
func destination4(m *dhcpv4.DHCPv4, kind dhcpv4.MessageType, addr netip.Addr) netip.Addr {
	switch {
	case kind == dhcpv4.MessageTypeNak:
		return broadcast4
	case addr4(m.ClientIPAddr).IsValid():
		return addr // ciaddr was checked to be this
	case m.IsBroadcast():
		return broadcast4
	}
	return addr
}

func (s *Service) reply4(m *dhcpv4.DHCPv4, kind dhcpv4.MessageType, host Host) (*dhcpv4.DHCPv4, error) {
	options := []dhcpv4.Modifier{
		dhcpv4.WithMessageType(kind),
		dhcpv4.WithOption(dhcpv4.OptServerIdentifier(s.gateway.AsSlice())),
	}
	if kind != dhcpv4.MessageTypeNak {
		options = append(options, s.options4(m, host)...)
	}
	if kind == dhcpv4.MessageTypeOffer || m.MessageType() == dhcpv4.MessageTypeRequest && kind == dhcpv4.MessageTypeAck {
		options = append(
			options,
			dhcpv4.WithYourIP(host.IP.AsSlice()),
			dhcpv4.WithLeaseTime(uint32(lease/time.Second)),
			dhcpv4.WithOption(dhcpv4.Option{Code: dhcpv4.OptionRenewTimeValue, Value: dhcpv4.Duration(renewAfter)}),
			dhcpv4.WithOption(dhcpv4.Option{Code: dhcpv4.OptionRebindingTimeValue, Value: dhcpv4.Duration(rebindAfter)}),
		)
	}
	reply, err := dhcpv4.NewReplyFromRequest(m, options...)
	if err != nil {
		return nil, err
	}
	reply.DeleteOption(dhcpv4.OptionRelayAgentInformation) // there is no relay here
	// The longest names and identifiers together do not fit: then the least is left out.
	for _, code := range [...]dhcpv4.OptionCode{dhcpv4.OptionDNSDomainSearchList, dhcpv4.OptionHostName, dhcpv4.OptionDomainName} {
		if len(reply.ToBytes()) > maxReply4 {
			reply.DeleteOption(code)
		}
	}
	if kind == dhcpv4.MessageTypeAck && addr4(m.ClientIPAddr).IsValid() {
		reply.ClientIPAddr = m.ClientIPAddr
	}
	return reply, nil
}

// options4 are the parameters of the network.
func (s *Service) options4(m *dhcpv4.DHCPv4, host Host) []dhcpv4.Modifier {
	gateway := s.gateway.AsSlice()
	options := []dhcpv4.Modifier{
		dhcpv4.WithNetmask(net.CIDRMask(s.cfg.Subnet.Bits(), 32)),
		dhcpv4.WithOption(dhcpv4.OptBroadcastAddress(ipam.Broadcast(s.cfg.Subnet).AsSlice())),
		dhcpv4.WithDNS(gateway),
		dhcpv4.WithOption(dhcpv4.OptDomainName(s.domain)),
		dhcpv4.WithGeneric(dhcpv4.OptionInterfaceMTU, []byte{byte(s.cfg.MTU >> 8), byte(s.cfg.MTU)}),
	}
	if len(host.Name) <= maxLabel {
		options = append(options, dhcpv4.WithOption(dhcpv4.OptHostName(host.Name)))
	}
	if m.IsOptionRequested(dhcpv4.OptionDNSDomainSearchList) {
		options = append(options, dhcpv4.WithOption(dhcpv4.OptDomainSearch(&rfc1035label.Labels{Labels: []string{s.domain}})))
	}
	if s.cfg.Internal {
		return options // nothing is behind the gateway
	}
	options = append(options, dhcpv4.WithRouter(gateway))
	// A client that takes these routes leaves the router aside (RFC 3442), so the default
	// route is among them.
	routes := dhcpv4.OptClasslessStaticRoute(&dhcpv4.Route{Dest: &net.IPNet{IP: net.IPv4zero.To4(), Mask: net.CIDRMask(0, 32)}, Router: gateway})
	if m.IsOptionRequested(dhcpv4.OptionClasslessStaticRoute) {
		options = append(options, dhcpv4.WithOption(routes))
	}
	if m.ParameterRequestList() != nil && m.IsOptionRequested(optMSClasslessRoutes) {
		options = append(options, dhcpv4.WithGeneric(optMSClasslessRoutes, routes.Value.ToBytes()))
	}
	return options
}
