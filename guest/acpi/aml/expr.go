package aml

// Statement and expression opcodes, section 20.2.5.3 and 20.2.5.4.
const (
	opLocal0      = 0x60
	opArg0        = 0x68
	opStore       = 0x70
	opAdd         = 0x72
	opSubtract    = 0x74
	opShiftLeft   = 0x79
	opShiftRight  = 0x7A
	opAnd         = 0x7B
	opOr          = 0x7D
	opDerefOf     = 0x83
	opNotify      = 0x86
	opIndex       = 0x88
	opCreateDWord = 0x8A
	opLAnd        = 0x90
	opLOr         = 0x91
	opLNot        = 0x92
	opLEqual      = 0x93
	opLGreater    = 0x94
	opLLess       = 0x95
	opIf          = 0xA0
	opElse        = 0xA1
	opReturn      = 0xA4

	maxLocals = 8
)

// Discard is the target of an expression whose result is only used in place.
var Discard Term = termFunc(func(e *encoder) { e.bytes(0) })

// op is an opcode followed by its operands.
func op(code byte, operands ...Term) Term {
	return termFunc(func(e *encoder) {
		e.bytes(code)
		e.terms(operands)
	})
}

// Local is a method's local variable 0 to 7.
func Local(n int) Term {
	return termFunc(func(e *encoder) {
		if n < 0 || n >= maxLocals {
			e.fail("Local%d: want 0 to %d", n, maxLocals-1)
			return
		}
		e.bytes(opLocal0 + byte(n))
	})
}

// Arg is a method's argument 0 to 6.
func Arg(n int) Term {
	return termFunc(func(e *encoder) {
		if n < 0 || n >= maxArgs {
			e.fail("Arg%d: want 0 to %d", n, maxArgs-1)
			return
		}
		e.bytes(opArg0 + byte(n))
	})
}

// Store assigns source to target: target = source.
func Store(source, target Term) Term { return op(opStore, source, target) }

// Add is a + b, also stored in target (Discard for none).
func Add(a, b, target Term) Term { return op(opAdd, a, b, target) }

// Subtract is a - b, also stored in target (Discard for none).
func Subtract(a, b, target Term) Term { return op(opSubtract, a, b, target) }

// And is a & b, also stored in target (Discard for none).
func And(a, b, target Term) Term { return op(opAnd, a, b, target) }

// Or is a | b, also stored in target (Discard for none).
func Or(a, b, target Term) Term { return op(opOr, a, b, target) }

// ShiftLeft is a << n, also stored in target (Discard for none).
func ShiftLeft(a, n, target Term) Term { return op(opShiftLeft, a, n, target) }

// ShiftRight is a >> n, also stored in target (Discard for none).
func ShiftRight(a, n, target Term) Term { return op(opShiftRight, a, n, target) }

// LAnd is a && b.
func LAnd(a, b Term) Term { return op(opLAnd, a, b) }

// LOr is a || b.
func LOr(a, b Term) Term { return op(opLOr, a, b) }

// LNot is !a.
func LNot(a Term) Term { return op(opLNot, a) }

// LEqual is a == b.
func LEqual(a, b Term) Term { return op(opLEqual, a, b) }

// LGreater is a > b.
func LGreater(a, b Term) Term { return op(opLGreater, a, b) }

// LLess is a < b.
func LLess(a, b Term) Term { return op(opLLess, a, b) }

// DerefOf is the object that a reference leads to.
func DerefOf(reference Term) Term { return op(opDerefOf, reference) }

// Index is a reference to element i of a buffer or package, also stored in
// target (Discard for none).
func Index(object, i, target Term) Term { return op(opIndex, object, i, target) }

// Notify tells the operating system's driver of a device of an event.
func Notify(object, event Term) Term { return op(opNotify, object, event) }

// Return ends a method with a value.
func Return(value Term) Term { return op(opReturn, value) }

// CreateDWordField names the four bytes of a buffer from a byte index up.
func CreateDWordField(buffer, index Term, name string) Term {
	return op(opCreateDWord, buffer, index, Path(name))
}

// Call runs a method with arguments. AML holds no argument count: it has to be
// right, and the method has to be declared before.
func Call(method string, args ...Term) Term {
	return termFunc(func(e *encoder) {
		e.nameString(method)
		e.terms(args)
	})
}

// If runs body when the predicate is not zero.
func If(predicate Term, body ...Term) Term {
	return termFunc(func(e *encoder) {
		e.bytes(opIf)
		e.packaged(func() {
			e.term(predicate)
			e.terms(body)
		})
	})
}

// Else follows an If and runs body when that If's predicate was zero.
func Else(body ...Term) Term {
	return termFunc(func(e *encoder) {
		e.bytes(opElse)
		e.packaged(func() { e.terms(body) })
	})
}
