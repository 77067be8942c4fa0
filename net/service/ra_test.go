package service

import (
	"bytes"
	"encoding/hex"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/gureum/gureum/net/ipam"
)

// solicitation makes a router solicitation.
func solicitation(src string, options []byte) []byte {
	d := datagram{src: netip.MustParseAddr(src), dst: allRouters, proto: protoICMPv6, hops: 255, payload: append([]byte{icmpRouterSolicitation, 0, 0, 0, 0, 0, 0, 0}, options...)}
	return d.bytes()
}

func TestRouterSolicitation(t *testing.T) {
	s := newClosed(t, testConfig())
	own := ipam.LinkLocal(webMAC).String()
	source := append([]byte{ndpOptSourceLink, 1}, webMAC[:]...)
	change := func(b []byte, at int, v byte) []byte {
		b = bytes.Clone(b)
		b[at] = v
		return b
	}
	for _, c := range []struct {
		name   string
		packet []byte
		from   [6]byte
		dst    string // of the answer
	}{
		{"no address yet", solicitation("::", nil), webMAC, "ff02::1"},
		{"link-local", solicitation(own, source), webMAC, own},
		{"unknown option", solicitation(own, []byte{200, 1, 0, 0, 0, 0, 0, 0}), webMAC, own},
		{"unknown card", solicitation(own, source), [6]byte{2, 9}, ""},
		{"no address and a source option", solicitation("::", source), webMAC, ""},
		{"global source", solicitation("fd12:3456:789a::7", nil), webMAC, ""},
		{"hop limit", change(solicitation(own, nil), 7, 254), webMAC, ""},
		{"code", change(solicitation(own, nil), 41, 1), webMAC, ""},
		{"another type", change(solicitation(own, nil), 40, 135), webMAC, ""},
		{"another group", change(solicitation(own, nil), 39, 9), webMAC, ""},
		{"empty option", solicitation(own, []byte{1, 0, 0, 0, 0, 0, 0, 0}), webMAC, ""},
		{"option too long", solicitation(own, []byte{1, 2, 0, 0, 0, 0, 0, 0}), webMAC, ""},
		{"bytes left", solicitation(own, []byte{1}), webMAC, ""},
		{"short", solicitation(own, nil)[:44], webMAC, ""},
	} {
		reply := s.answer6(c.packet, c.from, time.Now().Add(time.Hour))
		if c.dst == "" {
			if reply != nil {
				t.Errorf("%s: an answer", c.name)
			}
			continue
		}
		d, ok := parseIPv6(reply)
		if !ok || d.dst.String() != c.dst || d.hops != 255 || d.src != s.linkLocal || d.payload[0] != icmpRouterAdvertisement {
			t.Errorf("%s: %+v", c.name, d)
		}
	}
}

// TestRouterAdvertisement holds each byte, by RFC 4861 and RFC 8106.
func TestRouterAdvertisement(t *testing.T) {
	s := newClosed(t, testConfig())
	want := strings.Join([]string{
		"8600" + "0000" + "40" + "c0" + "2328" + "00000000" + "00000000", // hop limit 64, M and O, 9000 s
		"0101" + "020000000001",
		"0501" + "0000" + "000005dc",
		"0304" + "40" + "c0" + "00015180" + "00015180" + "00000000" + "fd123456789a00000000000000000000",
		"1903" + "0000" + "00002328" + "fd123456789a00000000000000000001",
		"1f03" + "0000" + "00002328" + "036c616e" + "08696e7465726e616c" + "00" + "0000",
	}, "")
	if got := hex.EncodeToString(s.advertisementBody()); got != want {
		t.Errorf("\n%s, want\n%s", got, want)
	}
	cfg := testConfig()
	cfg.Internal, cfg.Network = true, "networks"
	s = newClosed(t, cfg)
	b := s.advertisementBody()
	if b[6] != 0 || b[7] != 0 {
		t.Error("an internal network has a default route")
	}
	if len(b)%8 != 0 || !bytes.Contains(b, []byte("\x08networks\x08internal\x00")) {
		t.Errorf("%x", b)
	}
}
