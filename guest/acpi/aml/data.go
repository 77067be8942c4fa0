package aml

import "encoding/binary"

// Data opcodes, section 20.2.3 and 20.2.5.4.
const (
	opZero    = 0x00
	opOne     = 0x01
	opByte    = 0x0A
	opWord    = 0x0B
	opDWord   = 0x0C
	opString  = 0x0D
	opQWord   = 0x0E
	opBuffer  = 0x11
	opPackage = 0x12
	opOnes    = 0xFF
)

// Integer is an integer constant in its shortest form. All ones is written as
// the Ones object, which is 64 bits wide in a table of revision 2 and up.
func Integer(v uint64) Term {
	return termFunc(func(e *encoder) { e.integer(v) })
}

func (e *encoder) integer(v uint64) {
	switch {
	case v == 0:
		e.bytes(opZero)
	case v == 1:
		e.bytes(opOne)
	case v == 1<<64-1:
		e.bytes(opOnes)
	case v <= 0xFF:
		e.bytes(opByte, byte(v))
	case v <= 0xFFFF:
		e.bytes(opWord)
		e.uint16(uint16(v))
	case v <= 0xFFFFFFFF:
		e.bytes(opDWord)
		e.uint32(uint32(v))
	default:
		e.bytes(opQWord)
		e.uint64(v)
	}
}

// String is an ASCII string constant without zero bytes.
func String(s string) Term {
	return termFunc(func(e *encoder) {
		for i := range len(s) {
			if s[i] == 0 || s[i] > 0x7F {
				e.fail("string %q: want ASCII without zero bytes", s)
				return
			}
		}
		e.bytes(opString)
		e.string(s)
		e.bytes(0)
	})
}

// EISAID is the compressed form of a seven-character EISA id such as "PNP0501":
// three letters and four hexadecimal digits in upper case.
func EISAID(id string) Term {
	return termFunc(func(e *encoder) {
		packed, ok := packEISAID(id)
		if !ok {
			e.fail("EISA id %q: want three of A-Z and four of 0-9A-F", id)
			return
		}
		e.integer(uint64(packed))
	})
}

// packEISAID packs the letters in 5 bits each and the digits in 4. The result
// is big endian in memory, hence the swap.
func packEISAID(id string) (uint32, bool) {
	if len(id) != 7 {
		return 0, false
	}
	var v uint32
	for i := range 3 {
		if id[i] < 'A' || id[i] > 'Z' {
			return 0, false
		}
		v = v<<5 | uint32(id[i]-'@')
	}
	for i := 3; i < 7; i++ {
		d, ok := hexDigit(id[i])
		if !ok {
			return 0, false
		}
		v = v<<4 | d
	}
	var b [4]byte
	binary.BigEndian.PutUint32(b[:], v)
	return binary.LittleEndian.Uint32(b[:]), true
}

func hexDigit(c byte) (uint32, bool) {
	switch {
	case c >= '0' && c <= '9':
		return uint32(c - '0'), true
	case c >= 'A' && c <= 'F':
		return uint32(c-'A') + 10, true
	}
	return 0, false
}

// maxPackageElements is what the one count byte of DefPackage holds.
const maxPackageElements = 255

// Package is an array of at most 255 data objects.
func Package(elements ...Term) Term {
	return termFunc(func(e *encoder) {
		if len(elements) > maxPackageElements {
			e.fail("a package of %d elements, more than %d", len(elements), maxPackageElements)
			return
		}
		e.bytes(opPackage)
		e.packaged(func() {
			e.bytes(byte(len(elements)))
			e.terms(elements)
		})
	})
}

// Buffer is a byte array. The bytes are copied.
func Buffer(b []byte) Term {
	content := append([]byte(nil), b...)
	return termFunc(func(e *encoder) { e.buffer(content) })
}

func (e *encoder) buffer(content []byte) {
	e.bytes(opBuffer)
	e.packaged(func() {
		e.integer(uint64(len(content)))
		e.bytes(content...)
	})
}

// uuidText gives, for each byte of a UUID buffer, where its two digits are in
// the text form: the first three groups are little endian (section 19.6.142).
var uuidText = [16]int{6, 4, 2, 0, 11, 9, 16, 14, 19, 21, 24, 26, 28, 30, 32, 34}

// UUID is the 16-byte buffer of a UUID written as
// "33DB4D5B-1FF7-401C-9657-7441C03DD766", hexadecimal digits in upper case.
func UUID(text string) Term {
	return termFunc(func(e *encoder) {
		var b [16]byte
		if len(text) != 36 || text[8] != '-' || text[13] != '-' || text[18] != '-' || text[23] != '-' {
			e.fail("UUID %q: want the form 8-4-4-4-12", text)
			return
		}
		for i, at := range uuidText {
			hi, ok1 := hexDigit(text[at])
			lo, ok2 := hexDigit(text[at+1])
			if !ok1 || !ok2 {
				e.fail("UUID %q: want digits 0-9A-F", text)
				return
			}
			b[i] = byte(hi<<4 | lo)
		}
		e.buffer(b[:])
	})
}
