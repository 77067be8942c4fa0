package service

import (
	"encoding/binary"
	"net/netip"
)

// Numbers of the protocols, by section of the RFC that gives them.
const (
	protoUDP    = 17
	protoICMPv6 = 58

	ipv4Header = 20 // RFC 791, section 3.1, without options
	ipv6Header = 40 // RFC 8200, section 3
	udpHeader  = 8  // RFC 768

	ipv4MoreFragments = 0x2000
	ipv4DontFragment  = 0x4000
	ipv4OffsetMask    = 0x1fff

	hopLimit    = 64
	ndpHopLimit = 255 // RFC 4861, section 4: proof that no router has forwarded it
)

// datagram is a UDP or ICMPv6 message with the addresses of its IP header.
type datagram struct {
	src, dst         netip.Addr
	proto            byte
	hops             byte
	srcPort, dstPort uint16 // UDP only
	payload          []byte // of UDP, or the whole ICMPv6 message
}

// parseIPv4 takes an IPv4 packet with a whole UDP datagram apart. Checksums are not
// looked at: a guest may leave the UDP one to a network card that is not there, and a
// packet that never left this host has no other faults than the guest's own.
func parseIPv4(b []byte) (datagram, bool) {
	if len(b) < ipv4Header || b[0]>>4 != 4 {
		return datagram{}, false
	}
	header, total := int(b[0]&0xf)*4, int(binary.BigEndian.Uint16(b[2:]))
	fragment := binary.BigEndian.Uint16(b[6:])
	if header < ipv4Header || total < header+udpHeader || total > len(b) ||
		fragment&(ipv4MoreFragments|ipv4OffsetMask) != 0 || b[9] != protoUDP {
		return datagram{}, false
	}
	d := datagram{proto: protoUDP, hops: b[8]}
	d.src, _ = netip.AddrFromSlice(b[12:16])
	d.dst, _ = netip.AddrFromSlice(b[16:20])
	return d, d.parseUDP(b[header:total])
}

// parseIPv6 takes an IPv6 packet apart that carries UDP or ICMPv6 right behind its
// header. No client of these services sends extension headers.
func parseIPv6(b []byte) (datagram, bool) {
	if len(b) < ipv6Header || b[0]>>4 != 6 {
		return datagram{}, false
	}
	size := int(binary.BigEndian.Uint16(b[4:]))
	if size > len(b)-ipv6Header {
		return datagram{}, false
	}
	d := datagram{proto: b[6], hops: b[7]}
	d.src, _ = netip.AddrFromSlice(b[8:24])
	d.dst, _ = netip.AddrFromSlice(b[24:40])
	b = b[ipv6Header : ipv6Header+size]
	switch d.proto {
	case protoUDP:
		return d, d.parseUDP(b)
	case protoICMPv6:
		d.payload = b
		return d, true
	}
	return datagram{}, false
}

func (d *datagram) parseUDP(b []byte) bool {
	if len(b) < udpHeader {
		return false
	}
	size := int(binary.BigEndian.Uint16(b[4:]))
	if size < udpHeader || size > len(b) {
		return false
	}
	d.srcPort, d.dstPort = binary.BigEndian.Uint16(b), binary.BigEndian.Uint16(b[2:])
	d.payload = b[udpHeader:size]
	return true
}

// bytes is the packet, with all checksums. Both addresses are of the same family.
func (d *datagram) bytes() []byte {
	body := d.payload
	if d.proto == protoUDP {
		body = make([]byte, udpHeader, udpHeader+len(d.payload))
		binary.BigEndian.PutUint16(body, d.srcPort)
		binary.BigEndian.PutUint16(body[2:], d.dstPort)
		binary.BigEndian.PutUint16(body[4:], uint16(udpHeader+len(d.payload)))
		body = append(body, d.payload...)
	}
	at := 6 // of the checksum in UDP
	if d.proto == protoICMPv6 {
		at = 2
	}
	sum := d.checksum(body)
	if sum == 0 && d.proto == protoUDP {
		sum = 0xffff // zero stands for none
	}
	binary.BigEndian.PutUint16(body[at:], sum)
	return append(d.header(len(body)), body...)
}

func (d *datagram) header(size int) []byte {
	if !d.src.Is4() {
		h := make([]byte, ipv6Header, ipv6Header+size)
		h[0] = 6 << 4
		binary.BigEndian.PutUint16(h[4:], uint16(size))
		h[6], h[7] = d.proto, d.hops
		copy(h[8:], d.src.AsSlice())
		copy(h[24:], d.dst.AsSlice())
		return h
	}
	h := make([]byte, ipv4Header, ipv4Header+size)
	h[0] = 4<<4 | ipv4Header/4
	binary.BigEndian.PutUint16(h[2:], uint16(ipv4Header+size))
	binary.BigEndian.PutUint16(h[6:], ipv4DontFragment)
	h[8], h[9] = d.hops, d.proto
	copy(h[12:], d.src.AsSlice())
	copy(h[16:], d.dst.AsSlice())
	binary.BigEndian.PutUint16(h[10:], ^fold(add(0, h)))
	return h
}

// checksum is that of UDP or ICMPv6 over the pseudo-header and the body, in which the
// field itself is zero (RFC 768; RFC 8200, section 8.1).
func (d *datagram) checksum(body []byte) uint16 {
	sum := add(0, d.src.AsSlice())
	sum = add(sum, d.dst.AsSlice())
	sum += uint32(d.proto) + uint32(len(body))
	return ^fold(add(sum, body))
}

// add sums 16-bit words. The sum of a packet of 64 KiB fits.
func add(sum uint32, b []byte) uint32 {
	for ; len(b) > 1; b = b[2:] {
		sum += uint32(binary.BigEndian.Uint16(b))
	}
	if len(b) == 1 {
		sum += uint32(b[0]) << 8
	}
	return sum
}

func fold(sum uint32) uint16 {
	for sum > 0xffff {
		sum = sum>>16 + sum&0xffff
	}
	return uint16(sum)
}
