package trial

import (
	"bytes"
	"encoding/binary"
	"net/netip"
)

// Broadcast is the address of all.
var Broadcast = [6]byte{255, 255, 255, 255, 255, 255}

// Eth makes a frame of Ethernet, of 60 bytes at least.
func Eth(dst, src [6]byte, kind uint16, payload []byte) []byte {
	b := append(append([]byte{}, dst[:]...), src[:]...)
	b = binary.BigEndian.AppendUint16(b, kind)
	b = append(b, payload...)
	for len(b) < 60 {
		b = append(b, 0)
	}
	return b
}

// ARP makes a packet of RFC 826 for Ethernet and IPv4.
func ARP(op uint16, sha [6]byte, spa netip.Addr, tha [6]byte, tpa netip.Addr) []byte {
	b := []byte{0, 1, 8, 0, 6, 4, byte(op >> 8), byte(op)}
	b = append(append(b, sha[:]...), spa.AsSlice()...)
	return append(append(b, tha[:]...), tpa.AsSlice()...)
}

func sum(parts ...[]byte) uint16 {
	var s uint32
	b := bytes.Join(parts, nil)
	for len(b) > 1 {
		s += uint32(binary.BigEndian.Uint16(b))
		b = b[2:]
	}
	if len(b) == 1 {
		s += uint32(b[0]) << 8
	}
	for s > 0xffff {
		s = s>>16 + s&0xffff
	}
	return ^uint16(s)
}

// IPv4 makes a packet (RFC 791). It takes the field of flags and fragment offset.
func IPv4(src, dst netip.Addr, proto byte, fragment uint16, payload []byte) []byte {
	b := []byte{0x45, 0, 0, 0, 0, 7, byte(fragment >> 8), byte(fragment), 64, proto, 0, 0}
	binary.BigEndian.PutUint16(b[2:], uint16(20+len(payload)))
	b = append(append(b, src.AsSlice()...), dst.AsSlice()...)
	binary.BigEndian.PutUint16(b[10:], sum(b))
	return append(b, payload...)
}

// UDP makes a datagram without a checksum, which IPv4 allows.
func UDP(from, to uint16, payload []byte) []byte {
	b := binary.BigEndian.AppendUint16(nil, from)
	b = binary.BigEndian.AppendUint16(b, to)
	b = binary.BigEndian.AppendUint16(b, uint16(8+len(payload)))
	return append(append(b, 0, 0), payload...)
}

// Header6 is an extension header or, without a next one, what follows it.
type Header6 struct {
	Kind byte
	Body []byte // the first byte of an extension header is the next kind
}

// IPv6 makes a packet (RFC 8200) of headers.
func IPv6(src, dst netip.Addr, chain ...Header6) []byte {
	var payload []byte
	for i, h := range chain {
		body := bytes.Clone(h.Body)
		if i+1 < len(chain) {
			body[0] = chain[i+1].Kind
		}
		payload = append(payload, body...)
	}
	b := []byte{0x60, 0, 0, 0, 0, 0, chain[0].Kind, 255}
	binary.BigEndian.PutUint16(b[4:], uint16(len(payload)))
	return append(append(append(b, src.AsSlice()...), dst.AsSlice()...), payload...)
}

// ICMPv6 makes the last header, with its checksum.
func ICMPv6(src, dst netip.Addr, kind byte, body []byte) Header6 {
	b := append([]byte{kind, 0, 0, 0}, body...)
	pseudo := append(append([]byte{}, src.AsSlice()...), dst.AsSlice()...)
	pseudo = append(pseudo, 0, 0, byte(len(b)>>8), byte(len(b)), 0, 0, 0, icmpV6)
	binary.BigEndian.PutUint16(b[2:], sum(pseudo, b))
	return Header6{icmpV6, b}
}
