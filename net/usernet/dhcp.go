package usernet

import (
	"net"
	"time"

	"github.com/insomniacslk/dhcp/dhcpv4"
	"gvisor.dev/gvisor/pkg/tcpip"
	"gvisor.dev/gvisor/pkg/tcpip/adapters/gonet"
	"gvisor.dev/gvisor/pkg/tcpip/network/ipv4"
	"gvisor.dev/gvisor/pkg/tcpip/transport/udp"
	"gvisor.dev/gvisor/pkg/waiter"
)

// lease is how long the guest may keep its address. Nobody else will get it.
const lease = 24 * time.Hour

// startDHCP answers the guest's questions for an address (RFC 2131).
func (n *Network) startDHCP() error {
	var wq waiter.Queue
	ep, terr := n.stack.NewEndpoint(udp.ProtocolNumber, ipv4.ProtocolNumber, &wq)
	if terr != nil {
		return asError(terr)
	}
	ep.SocketOptions().SetBroadcast(true)
	if terr := ep.Bind(tcpip.FullAddress{NIC: nicID, Port: dhcpv4.ServerPort}); terr != nil {
		ep.Close()
		return asError(terr)
	}
	conn := gonet.NewUDPConn(&wq, ep)
	n.spawn(func() {
		defer conn.Close()
		n.serveDHCP(conn)
	})
	n.onClose = append(n.onClose, func() { _ = conn.SetDeadline(time.Unix(1, 0)) })
	return nil
}

func (n *Network) serveDHCP(conn net.PacketConn) {
	buf := make([]byte, 2048)
	to := &net.UDPAddr{IP: net.IPv4bcast, Port: dhcpv4.ClientPort}
	for n.ctx.Err() == nil {
		size, _, err := conn.ReadFrom(buf)
		if err != nil {
			return
		}
		if answer := n.answerDHCP(buf[:size]); answer != nil {
			_, _ = conn.WriteTo(answer, to)
		}
	}
}

// answerDHCP gives the answer to a message of the guest; nil is none.
func (n *Network) answerDHCP(b []byte) []byte {
	m, err := dhcpv4.FromBytes(b)
	if err != nil || m.OpCode != dhcpv4.OpcodeBootRequest {
		return nil
	}
	var kind dhcpv4.MessageType
	switch m.MessageType() {
	case dhcpv4.MessageTypeDiscover:
		kind = dhcpv4.MessageTypeOffer
	case dhcpv4.MessageTypeRequest:
		kind = dhcpv4.MessageTypeAck
		if want := m.RequestedIPAddress(); want != nil && !want.Equal(guestAddr[:]) {
			kind = dhcpv4.MessageTypeNak
		}
		if id := m.ServerIdentifier(); id != nil && !id.Equal(gatewayAddr[:]) {
			return nil // the guest took another server's offer
		}
	case dhcpv4.MessageTypeInform:
		kind = dhcpv4.MessageTypeAck
	default:
		return nil
	}
	options := []dhcpv4.Modifier{
		dhcpv4.WithMessageType(kind),
		dhcpv4.WithServerIP(gatewayAddr[:]),
		dhcpv4.WithOption(dhcpv4.OptServerIdentifier(gatewayAddr[:])),
	}
	if kind != dhcpv4.MessageTypeNak {
		options = append(options, n.leaseOptions()...)
	}
	answer, err := dhcpv4.NewReplyFromRequest(m, options...)
	if err != nil {
		return nil
	}
	return answer.ToBytes()
}

func (n *Network) leaseOptions() []dhcpv4.Modifier {
	options := []dhcpv4.Modifier{
		dhcpv4.WithYourIP(guestAddr[:]),
		dhcpv4.WithNetmask(netmask[:]),
		dhcpv4.WithRouter(gatewayAddr[:]),
		dhcpv4.WithLeaseTime(uint32(lease / time.Second)),
		dhcpv4.WithGeneric(dhcpv4.OptionInterfaceMTU, []byte{byte(n.cfg.MTU >> 8), byte(n.cfg.MTU)}),
	}
	if n.resolver.IsValid() {
		options = append(options, dhcpv4.WithDNS(dnsAddr[:]))
	}
	if n.cfg.Hostname != "" {
		options = append(options, dhcpv4.WithOption(dhcpv4.OptHostName(n.cfg.Hostname)))
	}
	return options
}
