// Package usernet is a network in user space for one guest: it needs no privilege
// and no interface of the host. A netstack (gvisor.dev/gvisor, which
// gvisor-tap-vsock is made of) ends the guest's connections here, and sockets of
// this process go on to where they were meant to.
//
//	guest -- 10.0.2.2 gateway -- sockets of this process -- the host's network
//	         10.0.2.3 DNS     -- the host's name server
//
// The guest gets 10.0.2.15 by DHCP. It reaches what this process could reach, by
// TCP and UDP over IPv4, but neither the host's own loopback (unless
// Config.HostLoopback says so, by the gateway's address) nor link-local addresses,
// where clouds answer with secrets. Nobody reaches the guest. There is no IPv6, and
// only the gateway answers pings.
//
// Package vm makes a [Network], the Backend of a network device (virtio/net). All
// that a guest can make it hold is bounded: frames, connections and their buffers.
package usernet

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"strings"
	"sync"
	"sync/atomic"

	"gvisor.dev/gvisor/pkg/tcpip"
	"gvisor.dev/gvisor/pkg/tcpip/header"
	"gvisor.dev/gvisor/pkg/tcpip/network/arp"
	"gvisor.dev/gvisor/pkg/tcpip/network/ipv4"
	"gvisor.dev/gvisor/pkg/tcpip/stack"
	"gvisor.dev/gvisor/pkg/tcpip/transport/icmp"
	"gvisor.dev/gvisor/pkg/tcpip/transport/tcp"
	"gvisor.dev/gvisor/pkg/tcpip/transport/udp"
)

// The addresses of the guest's network.
var (
	guestAddr   = [4]byte{10, 0, 2, 15}
	gatewayAddr = [4]byte{10, 0, 2, 2}
	dnsAddr     = [4]byte{10, 0, 2, 3}
	netmask     = [4]byte{255, 255, 255, 0}
	gatewayMAC  = [6]byte{0x52, 0x55, 10, 0, 2, 2}
)

// Addresses are those that the guest gets by DHCP, for one that does not ask.
func Addresses() (guest netip.Prefix, gateway, dns netip.Addr) {
	return netip.PrefixFrom(netip.AddrFrom4(guestAddr), prefixLen), netip.AddrFrom4(gatewayAddr), netip.AddrFrom4(dnsAddr)
}

const (
	prefixLen = 24
	nicID     = tcpip.NICID(1)
)

// Bounds of what a guest can make the network hold.
const (
	maxTCP     = 512       // connections
	maxUDP     = 512       // flows
	maxPending = 64        // connections that are being set up
	maxBuffer  = 512 << 10 // bytes a connection and direction
	// DefaultMTU of the guest's interface in bytes.
	DefaultMTU = 1500
)

// Config says what the guest may reach.
type Config struct {
	// MTU of the guest's interface in bytes; 0 is DefaultMTU.
	MTU int
	// HostLoopback lets the guest reach the host's 127.0.0.1 by the gateway's
	// address.
	HostLoopback bool
	// Hostname is given to the guest by DHCP; "" gives none.
	Hostname string
	// Resolver is the name server that questions go to; "" takes the first of
	// /etc/resolv.conf.
	Resolver string
}

// Network is one guest's network. It implements virtio/net's Backend.
type Network struct {
	cfg      Config
	resolver netip.AddrPort // invalid if there is none
	stack    *stack.Stack
	link     *link
	offloads atomic.Uint32
	segments segmenter // of Readv's caller

	ctx     context.Context // ends with the network
	cancel  context.CancelFunc
	wg      sync.WaitGroup
	mu      sync.Mutex // guards closing and wg.Add
	closed  bool
	onClose []func() // end what waits in the netstack
	tcp     atomic.Int32
	udp     atomic.Int32
}

// New starts a network.
func New(cfg Config) (*Network, error) {
	if cfg.MTU == 0 {
		cfg.MTU = DefaultMTU
	}
	n := &Network{cfg: cfg}
	n.link = newLink(uint32(cfg.MTU), gatewayMAC, &n.offloads)
	n.ctx, n.cancel = context.WithCancel(context.Background())
	if err := n.findResolver(); err != nil {
		n.cancel()
		return nil, err
	}
	n.stack = stack.New(stack.Options{
		NetworkProtocols: []stack.NetworkProtocolFactory{ipv4.NewProtocol, arp.NewProtocol},
		TransportProtocols: []stack.TransportProtocolFactory{
			tcp.NewProtocol, udp.NewProtocol, icmp.NewProtocol4,
		},
	})
	if err := n.setUp(); err != nil {
		return nil, errors.Join(fmt.Errorf("user-mode network: %w", err), n.Close())
	}
	return n, nil
}

func (n *Network) setUp() error {
	s := n.stack
	sack, moderate := tcpip.TCPSACKEnabled(true), tcpip.TCPModerateReceiveBufferOption(true)
	send := tcpip.TCPSendBufferSizeRangeOption{Min: 4096, Default: maxBuffer / 2, Max: maxBuffer}
	receive := tcpip.TCPReceiveBufferSizeRangeOption{Min: 4096, Default: maxBuffer / 2, Max: maxBuffer}
	for _, o := range []tcpip.SettableTransportProtocolOption{&sack, &moderate, &send, &receive} {
		if err := s.SetTransportProtocolOption(tcp.ProtocolNumber, o); err != nil {
			return errors.New(err.String())
		}
	}
	if err := s.CreateNIC(nicID, n.link); err != nil {
		return errors.New(err.String())
	}
	for _, a := range [][4]byte{gatewayAddr, dnsAddr} {
		err := s.AddProtocolAddress(nicID, tcpip.ProtocolAddress{
			Protocol:          ipv4.ProtocolNumber,
			AddressWithPrefix: tcpip.AddressWithPrefix{Address: tcpip.AddrFrom4(a), PrefixLen: prefixLen},
		}, stack.AddressProperties{})
		if err != nil {
			return errors.New(err.String())
		}
	}
	s.SetRouteTable([]tcpip.Route{{Destination: header.IPv4EmptySubnet, NIC: nicID}})
	// Every address of the world is ours as far as the guest can tell.
	if err := errors.Join(asError(s.SetSpoofing(nicID, true)), asError(s.SetPromiscuousMode(nicID, true))); err != nil {
		return err
	}
	s.SetTransportProtocolHandler(tcp.ProtocolNumber, tcp.NewForwarder(s, 0, maxPending, n.handleTCP).HandlePacket)
	s.SetTransportProtocolHandler(udp.ProtocolNumber, udp.NewForwarder(s, n.handleUDP).HandlePacket)
	return n.startDHCP()
}

func asError(err tcpip.Error) error {
	if err == nil {
		return nil
	}
	return errors.New(err.String())
}

// findResolver decides where questions for names go.
func (n *Network) findResolver() error {
	if n.cfg.Resolver != "" {
		addr, err := netip.ParseAddr(n.cfg.Resolver)
		if err != nil {
			return fmt.Errorf("name server: %w", err)
		}
		n.resolver = netip.AddrPortFrom(addr, 53)
		return nil
	}
	text, err := os.ReadFile("/etc/resolv.conf")
	if err != nil {
		return nil // a host without names gives the guest none
	}
	for line := range strings.Lines(string(text)) {
		words := strings.Fields(line)
		if len(words) < 2 || words[0] != "nameserver" {
			continue
		}
		if addr, err := netip.ParseAddr(words[1]); err == nil {
			n.resolver = netip.AddrPortFrom(addr, 53)
			return nil
		}
	}
	return nil
}

// spawn runs f on a goroutine that Close waits for. It refuses once the network is
// closed.
func (n *Network) spawn(f func()) bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.closed {
		return false
	}
	n.wg.Go(f)
	return true
}

// Close ends all connections.
func (n *Network) Close() error {
	n.mu.Lock()
	was := n.closed
	n.closed = true
	n.mu.Unlock()
	if was {
		return nil
	}
	n.cancel()
	for _, f := range n.onClose {
		f()
	}
	n.stack.Close()
	n.link.shut()
	n.wg.Wait()
	n.stack.Wait()
	return nil
}

// Pairs is 1: one goroutine can keep the netstack busy.
func (n *Network) Pairs() int { return 1 }

// Offloads are checksum and TCP segmentation over IPv4 (TUN_F_*), both ways.
func (n *Network) Offloads() uint32 { return offloadCsum | offloadTSO4 }

// SetOffloads says what frames to the guest may make use of.
func (n *Network) SetOffloads(offloads uint32) error {
	n.offloads.Store(offloads)
	return nil
}

// SetPairs does nothing: there is one.
func (n *Network) SetPairs(int) error { return nil }

// Filter says which frames are wanted; see virtio/net.
type Filter = struct {
	All, AllMulticast bool
	Addresses         [][6]byte
}

// SetFilter does nothing: the guest is alone, and gets what is meant for it.
func (n *Network) SetFilter(Filter) error { return nil }

// SetCarrier does nothing: nobody else is on the wire.
func (n *Network) SetCarrier(bool) error { return nil }
