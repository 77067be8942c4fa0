// Package aml encodes ACPI Machine Language, the byte code of the DSDT.
//
// It is a small set of typed builders: a [Term] stands for one AML object or
// expression, terms nest, and [Encode] turns a list of them into the bytes that
// follow a definition block's table header. Only what virtual machines need is
// here; a new opcode is one function of a few lines.
//
//	aml.Encode(
//		aml.Device("COM1",
//			aml.Name("_HID", aml.EISAID("PNP0501")),
//			aml.Name("_CRS", aml.ResourceTemplate(
//				aml.IO(0x3F8, 8),
//				aml.IRQNoFlags(4),
//			)),
//		),
//	)
//
// Package acpi calls it. It never decodes AML, never looks at guest memory, and
// does not check that a name which is referred to exists: that is what the tests
// with iasl are for.
//
// Numbers and grammar are those of the ACPI specification 6.5, chapter 20 ("ACPI
// Machine Language") and section 6.4 ("Resource Data Types").
package aml

import (
	"encoding/binary"
	"errors"
	"fmt"
)

// ErrInvalid is in the chain of every error that this package returns: a name,
// a number or a size that AML cannot express.
var ErrInvalid = errors.New("not expressible in AML")

// Term is one AML object, statement, expression or piece of data. Terms are
// immutable once made and may be used in several places.
type Term interface {
	encode(e *encoder)
}

// Encode returns the AML bytes of the terms, one after the other. An invalid
// name or number anywhere in them is an error (ErrInvalid) that says which.
func Encode(terms ...Term) ([]byte, error) {
	var e encoder
	e.terms(terms)
	if e.err != nil {
		return nil, e.err
	}
	return e.buf, nil
}

// termFunc lets a closure be a Term.
type termFunc func(e *encoder)

func (f termFunc) encode(e *encoder) { f(e) }

// encoder collects bytes and keeps the first error.
type encoder struct {
	buf   []byte
	depth int
	err   error
}

// maxDepth bounds nesting. Real tables have a depth of about ten; the bound
// keeps a runaway builder from exhausting the stack.
const maxDepth = 64

func (e *encoder) fail(format string, args ...any) {
	if e.err == nil {
		e.err = fmt.Errorf("%w: %s", ErrInvalid, fmt.Sprintf(format, args...))
	}
}

func (e *encoder) bytes(b ...byte)   { e.buf = append(e.buf, b...) }
func (e *encoder) string(s string)   { e.buf = append(e.buf, s...) }
func (e *encoder) uint16(v uint16)   { e.buf = binary.LittleEndian.AppendUint16(e.buf, v) }
func (e *encoder) uint32(v uint32)   { e.buf = binary.LittleEndian.AppendUint32(e.buf, v) }
func (e *encoder) uint64(v uint64)   { e.buf = binary.LittleEndian.AppendUint64(e.buf, v) }
func (e *encoder) terms(list []Term) { e.nest(func() { e.each(list) }) }

func (e *encoder) each(list []Term) {
	for _, t := range list {
		e.term(t)
	}
}

// term encodes one term; a nil term is a mistake of the caller that would
// otherwise be a panic in the middle of a start.
func (e *encoder) term(t Term) {
	if t == nil {
		e.fail("a nil term")
		return
	}
	e.nest(func() { t.encode(e) })
}

func (e *encoder) nest(body func()) {
	if e.err != nil {
		return
	}
	if e.depth >= maxDepth {
		e.fail("terms nested more than %d deep", maxDepth)
		return
	}
	e.depth++
	body()
	e.depth--
}

// Limits of PkgLength, section 20.2.4: one lead byte alone holds 6 bits; with
// 1 to 3 more bytes, 4 bits of the lead byte and 8 of each of the others.
const (
	maxPkgLength1 = 1<<6 - 1
	maxPkgLength2 = 1<<12 - 1
	maxPkgLength3 = 1<<20 - 1
	maxPkgLength4 = 1<<28 - 1
)

// packaged encodes body, and puts the PkgLength of itself and the body before it.
func (e *encoder) packaged(body func()) {
	start := len(e.buf)
	body()
	if e.err != nil {
		return
	}
	content := len(e.buf) - start
	var head [4]byte
	n := putPkgLength(&head, content)
	if n == 0 {
		e.fail("%d bytes in one package, more than %d", content, maxPkgLength4)
		return
	}
	e.bytes(head[:n]...)
	copy(e.buf[start+n:], e.buf[start:start+content])
	copy(e.buf[start:], head[:n])
}

// putPkgLength encodes the length of content bytes plus its own, and returns
// how many bytes that took; 0 when it cannot be expressed.
func putPkgLength(head *[4]byte, content int) int {
	switch {
	case content+1 <= maxPkgLength1:
		return putLength(head, content+1, 1)
	case content+2 <= maxPkgLength2:
		return putLength(head, content+2, 2)
	case content+3 <= maxPkgLength3:
		return putLength(head, content+3, 3)
	case content+4 <= maxPkgLength4:
		return putLength(head, content+4, 4)
	}
	return 0
}

// putLength writes v as a PkgLength of n bytes.
func putLength(head *[4]byte, v, n int) int {
	if n == 1 {
		head[0] = byte(v)
		return n
	}
	head[0] = byte(n-1)<<6 | byte(v&0xF)
	for i := 1; i < n; i++ {
		head[i] = byte(v >> (4 + 8*(i-1)))
	}
	return n
}
