package lab

import (
	"strings"
)

// compareVersions orders two Debian package versions as dpkg does (Debian
// Policy, section 5.6.12): negative when a is older than b.
func compareVersions(a, b string) int {
	ae, av, ar := splitVersion(a)
	be, bv, br := splitVersion(b)
	if c := compareDigits(ae, be); c != 0 {
		return c
	}
	if c := comparePart(av, bv); c != 0 {
		return c
	}
	return comparePart(ar, br)
}

// splitVersion cuts a version into epoch, upstream version and revision.
func splitVersion(v string) (epoch, upstream, revision string) {
	if e, rest, ok := strings.Cut(v, ":"); ok {
		epoch, v = e, rest
	}
	if i := strings.LastIndexByte(v, '-'); i >= 0 {
		return epoch, v[:i], v[i+1:]
	}
	return epoch, v, ""
}

// comparePart compares alternating runs of non-digits and digits.
func comparePart(a, b string) int {
	for a != "" || b != "" {
		an, bn := nonDigits(a), nonDigits(b)
		if c := compareText(a[:an], b[:bn]); c != 0 {
			return c
		}
		a, b = a[an:], b[bn:]
		ad, bd := digits(a), digits(b)
		if c := compareDigits(a[:ad], b[:bd]); c != 0 {
			return c
		}
		a, b = a[ad:], b[bd:]
	}
	return 0
}

// compareText compares runs without digits: '~' sorts before the end, the
// end before letters, letters before anything else.
func compareText(a, b string) int {
	for i := 0; i < len(a) || i < len(b); i++ {
		if c := weight(a, i) - weight(b, i); c != 0 {
			return c
		}
	}
	return 0
}

func weight(s string, i int) int {
	if i >= len(s) {
		return 0
	}
	c := s[i]
	switch {
	case c == '~':
		return -1
	case c >= 'a' && c <= 'z', c >= 'A' && c <= 'Z':
		return int(c)
	}
	return int(c) + 256
}

// compareDigits compares numbers of any length; an empty one is zero.
func compareDigits(a, b string) int {
	a, b = strings.TrimLeft(a, "0"), strings.TrimLeft(b, "0")
	if len(a) != len(b) {
		return len(a) - len(b)
	}
	return strings.Compare(a, b)
}

func digits(s string) int {
	i := 0
	for i < len(s) && s[i] >= '0' && s[i] <= '9' {
		i++
	}
	return i
}

func nonDigits(s string) int {
	i := 0
	for i < len(s) && (s[i] < '0' || s[i] > '9') {
		i++
	}
	return i
}
