package service

import (
	"bytes"
	"encoding/hex"
	"net/netip"
	"testing"
)

func TestPackets(t *testing.T) {
	for _, d := range []datagram{
		{src: netip.MustParseAddr("10.88.3.1"), dst: netip.MustParseAddr("10.88.3.2"), proto: protoUDP, hops: 64, srcPort: 67, dstPort: 68, payload: []byte("odd")},
		{src: netip.MustParseAddr("fe80::1"), dst: netip.MustParseAddr("fe80::2"), proto: protoUDP, hops: 64, srcPort: 547, dstPort: 546, payload: []byte("even")},
		{src: netip.MustParseAddr("fe80::1"), dst: netip.MustParseAddr("ff02::1"), proto: protoICMPv6, hops: 255, payload: []byte{134, 0, 0, 0, 1, 2, 3}},
	} {
		b := d.bytes()
		parse, header := parseIPv6, ipv6Header
		if d.src.Is4() {
			parse, header = parseIPv4, ipv4Header
			if sum := fold(add(0, b[:ipv4Header])); sum != 0xffff {
				t.Errorf("%s: sum of the header %#x", d.src, sum)
			}
		}
		if sum := d.checksum(b[header:]); sum != 0 {
			t.Errorf("%s: sum of the body %#x", d.src, sum)
		}
		got, ok := parse(b)
		if d.proto == protoICMPv6 { // the checksum is in what was given
			copy(d.payload[2:], got.payload[2:4])
		}
		if !ok || got.src != d.src || got.dst != d.dst || got.proto != d.proto || got.hops != d.hops ||
			got.srcPort != d.srcPort || got.dstPort != d.dstPort || !bytes.Equal(got.payload, d.payload) {
			t.Errorf("%+v, want %+v", got, d)
		}
		for n := range b {
			if _, ok := parse(b[:n]); ok {
				t.Errorf("%s: %d of %d bytes are a packet", d.src, n, len(b))
			}
		}
		if _, ok := parse(append(bytes.Clone(b), 0, 0)); !ok {
			t.Errorf("%s: padding is not left out", d.src)
		}
	}
	// The sums were worked out apart from this code.
	d := datagram{src: netip.MustParseAddr("192.168.0.1"), dst: netip.MustParseAddr("192.168.0.199"), proto: protoUDP, hops: 64, srcPort: 1, dstPort: 2}
	if got, want := hex.EncodeToString(d.bytes()), "4500001c00004000"+"4011b8b8"+"c0a80001c0a800c7"+"00010002"+"00087dc2"; got != want {
		t.Errorf("%s, want %s", got, want)
	}
	whole := d.bytes()
	for name, change := range map[string]func([]byte){
		"version":         func(b []byte) { b[0] = 0x65 },
		"header too long": func(b []byte) { b[0] = 0x4f },
		"short header":    func(b []byte) { b[0] = 0x44 },
		"more fragments":  func(b []byte) { b[6] = 0x20 },
		"later fragment":  func(b []byte) { b[7] = 1 },
		"protocol":        func(b []byte) { b[9] = 6 },
		"UDP too long":    func(b []byte) { b[25] = 9 },
		"UDP too short":   func(b []byte) { b[25] = 7 },
		"total too long":  func(b []byte) { b[3] = 29 },
	} {
		b := bytes.Clone(whole)
		change(b)
		if _, ok := parseIPv4(b); ok {
			t.Errorf("%s: taken", name)
		}
	}
}
