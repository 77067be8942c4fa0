package aml

import "strings"

// Prefixes of NameString, section 20.2.2.
const (
	rootChar   = '\\'
	parentChar = '^'

	nameSegLen  = 4
	maxNameSegs = 255

	dualNamePrefix  = 0x2E
	multiNamePrefix = 0x2F
)

// Path refers to a named object, for example `\_SB.PWRB`, `^COM1` or `PEVT`. A
// segment has 1 to 4 characters of A-Z, 0-9 and _, and does not begin with a
// digit.
func Path(name string) Term {
	return termFunc(func(e *encoder) { e.nameString(name) })
}

// nameString encodes a path as ASL writes it: prefixes, then segments between
// dots, shorter segments filled up with underscores.
func (e *encoder) nameString(path string) {
	rest := path
	switch {
	case strings.HasPrefix(rest, string(rootChar)):
		e.bytes(rootChar)
		rest = rest[1:]
	default:
		for len(rest) > 0 && rest[0] == parentChar {
			e.bytes(parentChar)
			rest = rest[1:]
		}
	}
	if rest == "" {
		if path == "" {
			e.fail("an empty name")
			return
		}
		e.bytes(0) // NullName: the prefix alone, as in Scope(\)
		return
	}
	count := strings.Count(rest, ".") + 1
	switch {
	case count > maxNameSegs:
		e.fail("a name of %d segments, more than %d", count, maxNameSegs)
		return
	case count > 2:
		e.bytes(multiNamePrefix, byte(count))
	case count == 2:
		e.bytes(dualNamePrefix)
	}
	for seg := range strings.SplitSeq(rest, ".") {
		e.nameSeg(seg)
	}
}

// nameSeg encodes one segment, or a name that may not be a path.
func (e *encoder) nameSeg(seg string) {
	if !validSeg(seg) {
		e.fail("name segment %q: want 1 to 4 of A-Z, 0-9, _, not beginning with a digit", seg)
		return
	}
	e.string(seg)
	for i := len(seg); i < nameSegLen; i++ {
		e.bytes('_')
	}
}

func validSeg(seg string) bool {
	if len(seg) == 0 || len(seg) > nameSegLen {
		return false
	}
	for i := range len(seg) {
		c := seg[i]
		switch {
		case c >= 'A' && c <= 'Z', c == '_':
		case c >= '0' && c <= '9' && i > 0:
		default:
			return false
		}
	}
	return true
}
