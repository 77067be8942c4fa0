package service

import (
	"context"
	"encoding/binary"
	"math/rand/v2"
	"net/netip"
	"strings"
	"time"
)

// Numbers of neighbor discovery (RFC 4861, section 4; RFC 8106, section 5).
const (
	icmpRouterSolicitation  = 133
	icmpRouterAdvertisement = 134

	ndpManaged = 0x80 // M: addresses by DHCPv6
	ndpOther   = 0x40 // O: other parameters by DHCPv6

	ndpOptSourceLink = 1
	ndpOptPrefix     = 3
	ndpOptMTU        = 5
	ndpOptRDNSS      = 25
	ndpOptDNSSL      = 31

	ndpPrefixOnLink     = 0x80 // L
	ndpPrefixAutonomous = 0x40 // A
)

// Times of router advertisements. What guests are told lasts 15 times as long as they
// wait for it at most, so that they keep their route while the service is away.
const (
	raIntervalMin    = 200 * time.Second // RFC 4861, section 6.2.1: MinRtrAdvInterval
	raIntervalMax    = 600 * time.Second // MaxRtrAdvInterval
	raLifetime       = 9000 * time.Second
	raInitialCount   = 3 // MAX_INITIAL_RTR_ADVERTISEMENTS
	raInitialWait    = 16 * time.Second
	prefixValid      = lease
	prefixPreferred  = lease
	icmpHopLimit     = 64
	routerSolicitMin = 8
)

var (
	allNodes   = netip.AddrFrom16([16]byte{0: 0xff, 1: 0x02, 15: 1}) // ff02::1
	allRouters = netip.AddrFrom16([16]byte{0: 0xff, 1: 0x02, 15: 2}) // ff02::2
)

// allNodesMAC is the Ethernet group of ff02::1 (RFC 2464, section 7).
var allNodesMAC = [6]byte{0x33, 0x33, 0, 0, 0, 1}

// answer6 gives the answer to an IPv6 packet that came from a port, as a packet for that
// port; nil is none.
func (s *Service) answer6(packet []byte, from [6]byte, now time.Time) []byte {
	d, ok := parseIPv6(packet)
	if !ok {
		return nil
	}
	host, ok := s.known(from, now)
	if !ok {
		return nil
	}
	switch {
	case d.proto == protoUDP && d.dstPort == dhcp6ServerPort:
		return s.answerDHCP6(d, host)
	case d.proto == protoICMPv6 && soliciting(d):
		to := d.src
		if to.IsUnspecified() {
			to = allNodes // in IP; the frame goes to the port that asked (RFC 6085)
		}
		return s.advertisement(to)
	}
	return nil
}

// soliciting checks a router solicitation (RFC 4861, section 6.1.1).
func soliciting(d datagram) bool {
	if len(d.payload) < routerSolicitMin || d.payload[0] != icmpRouterSolicitation || d.payload[1] != 0 ||
		d.hops != ndpHopLimit || d.dst != allRouters && !d.dst.IsLinkLocalUnicast() {
		return false
	}
	if !d.src.IsLinkLocalUnicast() && !d.src.IsUnspecified() {
		return false
	}
	for b := d.payload[routerSolicitMin:]; len(b) > 0; {
		if len(b) < 8 || b[1] == 0 || int(b[1])*8 > len(b) {
			return false
		}
		if b[0] == ndpOptSourceLink && d.src.IsUnspecified() {
			return false
		}
		b = b[int(b[1])*8:]
	}
	return true
}

// advertisement is the packet that tells guests of the network (RFC 4861, section 4.2).
func (s *Service) advertisement(to netip.Addr) []byte {
	out := datagram{src: s.linkLocal, dst: to, proto: protoICMPv6, hops: ndpHopLimit, payload: s.advertisementBody()}
	return out.bytes()
}

func (s *Service) advertisementBody() []byte {
	seconds := func(d time.Duration) uint32 { return uint32(d / time.Second) }
	b := []byte{icmpRouterAdvertisement, 0, 0, 0, icmpHopLimit, ndpManaged | ndpOther}
	lifetime := seconds(raLifetime)
	if s.cfg.Internal {
		lifetime = 0 // nothing is behind the gateway
	}
	b = binary.BigEndian.AppendUint16(b, uint16(lifetime))
	b = append(b, make([]byte, 8)...) // reachable time, retransmission: as the guest likes

	b = append(b, ndpOptSourceLink, 1)
	b = append(b, s.mac[:]...)

	b = append(b, ndpOptMTU, 1, 0, 0)
	b = binary.BigEndian.AppendUint32(b, uint32(s.cfg.MTU))

	b = append(b, ndpOptPrefix, 4, byte(s.cfg.Subnet6.Bits()), ndpPrefixOnLink|ndpPrefixAutonomous)
	b = binary.BigEndian.AppendUint32(b, seconds(prefixValid))
	b = binary.BigEndian.AppendUint32(b, seconds(prefixPreferred))
	b = append(b, 0, 0, 0, 0)
	b = append(b, s.cfg.Subnet6.Addr().AsSlice()...)

	b = append(b, ndpOptRDNSS, 3, 0, 0)
	b = binary.BigEndian.AppendUint32(b, seconds(raLifetime))
	b = append(b, s.gateway6.AsSlice()...)

	var name []byte
	for label := range strings.SplitSeq(s.domain, ".") {
		name = append(name, byte(len(label)))
		name = append(name, label...)
	}
	name = append(name, 0)
	name = append(name, make([]byte, -len(name)&7)...)
	b = append(b, ndpOptDNSSL, byte(1+len(name)/8), 0, 0)
	b = binary.BigEndian.AppendUint32(b, seconds(raLifetime))
	return append(b, name...)
}

// advertise tells all guests of the network from time to time, at first more often
// (RFC 4861, section 6.2.4). When it ends the network does not: there is no last
// advertisement that would take the guests' route away.
func (s *Service) advertise(ctx context.Context) error {
	for i := 0; ; i++ {
		if err := s.link6.write(s.advertisement(allNodes), allNodesMAC); err != nil {
			// The bridge may be down for a while; guests ask when it comes up.
			s.log.Debug("router advertisement is not sent", "error", err)
		}
		wait := raIntervalMin + rand.N(raIntervalMax-raIntervalMin)
		if i < raInitialCount {
			wait = min(wait, raInitialWait)
		}
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(wait):
		}
	}
}
