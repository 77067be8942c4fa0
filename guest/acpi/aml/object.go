package aml

// Object opcodes, section 20.2.5.
const (
	opName   = 0x08
	opScope  = 0x10
	opMethod = 0x14
	extOp    = 0x5B

	extOpRegion = 0x80
	extField    = 0x81
	extDevice   = 0x82
)

// Scope opens an existing object and puts terms into it.
func Scope(path string, terms ...Term) Term {
	return termFunc(func(e *encoder) {
		e.bytes(opScope)
		e.packaged(func() {
			e.nameString(path)
			e.terms(terms)
		})
	})
}

// Device declares a device with its children.
func Device(name string, terms ...Term) Term {
	return termFunc(func(e *encoder) {
		e.bytes(extOp, extDevice)
		e.packaged(func() {
			e.nameString(name)
			e.terms(terms)
		})
	})
}

// Name declares a named data object.
func Name(name string, value Term) Term {
	return termFunc(func(e *encoder) {
		e.bytes(opName)
		e.nameString(name)
		e.term(value)
	})
}

// Serialized says that a method is run by one caller at a time. A method that
// declares names has to be.
const Serialized = true

// maxArgs is the highest number of arguments of a method.
const maxArgs = 7

// Method declares a control method with 0 to 7 arguments. A method that
// declares named objects must be Serialized.
func Method(name string, args int, serialized bool, body ...Term) Term {
	return termFunc(func(e *encoder) {
		if args < 0 || args > maxArgs {
			e.fail("method %s with %d arguments: want 0 to %d", name, args, maxArgs)
			return
		}
		flags := byte(args)
		if serialized {
			flags |= 1 << 3
		}
		e.bytes(opMethod)
		e.packaged(func() {
			e.nameString(name)
			e.bytes(flags)
			e.terms(body)
		})
	})
}

// RegionSpace is where an operation region lies (section 19.6.100).
type RegionSpace byte

// The address spaces in use.
const (
	SystemMemory RegionSpace = 0
	SystemIO     RegionSpace = 1
	PCIConfig    RegionSpace = 2
)

// OpRegion declares length bytes from offset in an address space.
func OpRegion(name string, space RegionSpace, offset, length uint64) Term {
	return termFunc(func(e *encoder) {
		e.bytes(extOp, extOpRegion)
		e.nameString(name)
		e.bytes(byte(space))
		e.integer(offset)
		e.integer(length)
	})
}

// AccessWidth is the width of each access to a field (section 19.6.48).
type AccessWidth byte

// The access widths.
const (
	AnyAccess   AccessWidth = 0
	ByteAccess  AccessWidth = 1
	WordAccess  AccessWidth = 2
	DWordAccess AccessWidth = 3
	QWordAccess AccessWidth = 4
)

// UpdateRule says what is written to the bits of an access unit that do not
// belong to the field.
type UpdateRule byte

// The update rules. Preserve reads before it writes.
const (
	Preserve     UpdateRule = 0
	WriteAsOnes  UpdateRule = 1
	WriteAsZeros UpdateRule = 2
)

// FieldUnit is one field of an operation region: Bits bits, skipped over when
// Name is empty.
type FieldUnit struct {
	Name string
	Bits int
}

// Field declares the fields of an operation region, from its first bit up. No
// global lock is taken for accesses.
func Field(region string, width AccessWidth, rule UpdateRule, units ...FieldUnit) Term {
	return termFunc(func(e *encoder) {
		if width > QWordAccess || rule > WriteAsZeros {
			e.fail("field of region %s: access width %d, update rule %d", region, width, rule)
			return
		}
		e.bytes(extOp, extField)
		e.packaged(func() {
			e.nameString(region)
			e.bytes(byte(width) | byte(rule)<<5)
			for _, u := range units {
				e.fieldUnit(u)
			}
		})
	})
}

func (e *encoder) fieldUnit(u FieldUnit) {
	if u.Name == "" {
		e.bytes(0) // ReservedField
	} else {
		e.nameSeg(u.Name)
	}
	// A field's width is written in the form of a PkgLength, but, other than a
	// PkgLength, without its own bytes.
	var head [4]byte
	switch {
	case u.Bits < 0 || u.Bits > maxPkgLength4:
		e.fail("field %q of %d bits", u.Name, u.Bits)
	case u.Bits <= maxPkgLength1:
		e.bytes(head[:putLength(&head, u.Bits, 1)]...)
	case u.Bits <= maxPkgLength2:
		e.bytes(head[:putLength(&head, u.Bits, 2)]...)
	case u.Bits <= maxPkgLength3:
		e.bytes(head[:putLength(&head, u.Bits, 3)]...)
	default:
		e.bytes(head[:putLength(&head, u.Bits, 4)]...)
	}
}
