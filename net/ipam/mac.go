package ipam

import (
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"net/netip"
)

// Bits of a MAC address' first byte (IEEE 802, section 8.2).
const (
	macGroup = 1 // multicast
	macLocal = 2 // locally administered; inverted in an EUI-64
)

const macSize = 6

// MAC makes the address of a machine's network card: unicast, locally administered, the
// same for the same machine and card as long as the same others are taken. taken tells
// whether another card on the host has an address; nil is none. Of 46 random bits
// hardly ever a second try is needed; a taken that never says no gets the last of a
// thousand.
func MAC(vmID string, nic int, taken func([6]byte) bool) [6]byte {
	var mac [6]byte
	for try := range uint64(tries) {
		h := sha256.New()
		// The length keeps the machine's name and the numbers apart.
		var n [24]byte
		binary.BigEndian.PutUint64(n[:], uint64(len(vmID)))
		binary.BigEndian.PutUint64(n[8:], uint64(nic))
		binary.BigEndian.PutUint64(n[16:], try)
		h.Write(n[:])
		h.Write([]byte(vmID))
		copy(mac[:], h.Sum(nil))
		mac[0] = mac[0]&^macGroup | macLocal
		if taken == nil || !taken(mac) {
			return mac
		}
	}
	return mac
}

// ParseMAC reads the address of a network card as people write it: six pairs of
// hexadecimal digits, between colons or between hyphens. It must be one that a card can
// have: unicast and not all zeros.
func ParseMAC(s string) ([6]byte, error) {
	var mac [6]byte
	bad := fmt.Errorf("MAC address %q: not of the form 02:12:34:56:78:9a", s)
	if len(s) != macSize*3-1 {
		return mac, bad
	}
	for i := range macSize {
		hi, lo := hexDigit(s[i*3]), hexDigit(s[i*3+1])
		if hi < 0 || lo < 0 {
			return mac, bad
		}
		if i > 0 && (s[i*3-1] != s[2] || s[2] != ':' && s[2] != '-') {
			return mac, bad
		}
		mac[i] = byte(hi<<4 | lo)
	}
	return mac, CheckMAC(mac)
}

func hexDigit(c byte) int {
	switch {
	case '0' <= c && c <= '9':
		return int(c - '0')
	case 'a' <= c && c <= 'f':
		return int(c-'a') + 10
	case 'A' <= c && c <= 'F':
		return int(c-'A') + 10
	}
	return -1
}

// CheckMAC tells whether a network card can have that address.
func CheckMAC(mac [6]byte) error {
	switch {
	case mac == [6]byte{}:
		return fmt.Errorf("MAC address %s: all zeros", FormatMAC(mac))
	case mac[0]&macGroup != 0:
		return fmt.Errorf("MAC address %s: multicast or broadcast: the second digit must be even", FormatMAC(mac))
	}
	return nil
}

// FormatMAC writes an address as ParseMAC reads it: lower case, with colons.
func FormatMAC(mac [6]byte) string {
	const digits = "0123456789abcdef"
	b := make([]byte, 0, macSize*3-1)
	for i, x := range mac {
		if i > 0 {
			b = append(b, ':')
		}
		b = append(b, digits[x>>4], digits[x&0xf])
	}
	return string(b)
}

// EUI64 is the address that a machine makes for itself in an IPv6 /64: the prefix and
// the modified EUI-64 of its MAC address (RFC 4291, appendix A). An invalid prefix
// gives the zero address.
func EUI64(prefix netip.Prefix, mac [6]byte) netip.Addr {
	if !prefix.IsValid() {
		return netip.Addr{}
	}
	a := prefix.Masked().Addr().As16()
	copy(a[8:], []byte{mac[0] ^ macLocal, mac[1], mac[2], 0xff, 0xfe, mac[3], mac[4], mac[5]})
	return netip.AddrFrom16(a)
}

// MACOf is the MAC address that an IPv6 address was made from, as EUI64 does. Not ok is one
// that was not.
func MACOf(addr netip.Addr) (mac [6]byte, ok bool) {
	a := addr.As16()
	mac = [6]byte{a[8] ^ macLocal, a[9], a[10], a[13], a[14], a[15]}
	return mac, addr.Is6() && !addr.Is4In6() && a[11] == 0xff && a[12] == 0xfe
}

// LinkLocal is the link-local address that a machine makes from its MAC address
// (RFC 4862, section 5.3), without a zone.
func LinkLocal(mac [6]byte) netip.Addr {
	return EUI64(netip.PrefixFrom(netip.AddrFrom16([16]byte{0xfe, 0x80}), bits6), mac)
}
