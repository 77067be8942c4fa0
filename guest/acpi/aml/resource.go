package aml

// Resource descriptor tags, section 6.4.2 (small) and 6.4.3 (large).
const (
	tagIRQNoFlags    = 0x22
	tagIO            = 0x47
	tagEnd           = 0x79
	tagMemory32Fixed = 0x86
	tagDWordSpace    = 0x87
	tagWordSpace     = 0x88
	tagInterrupt     = 0x89
	tagQWordSpace    = 0x8A

	maxISAIRQ = 15
)

// Resource is one descriptor of a resource template.
type Resource interface {
	resource(e *encoder)
}

type resourceFunc func(e *encoder)

func (f resourceFunc) resource(e *encoder) { f(e) }

// ResourceTemplate is the buffer that _CRS returns.
func ResourceTemplate(resources ...Resource) Term {
	return termFunc(func(e *encoder) {
		var list encoder
		for _, r := range resources {
			if r == nil {
				e.fail("a nil resource")
				return
			}
			r.resource(&list)
		}
		if list.err != nil {
			e.err = list.err
			return
		}
		// A checksum of zero tells the reader not to check.
		list.bytes(tagEnd, 0)
		e.buffer(list.buf)
	})
}

// IO is a fixed range of length I/O ports from port up, all 16 address bits
// decoded (section 6.4.2.5).
func IO(port uint16, length uint8) Resource {
	return resourceFunc(func(e *encoder) {
		const decode16 = 1
		e.bytes(tagIO, decode16)
		e.uint16(port)
		e.uint16(port)
		e.bytes(1, length)
	})
}

// IRQNoFlags is one of the ISA interrupts 0 to 15: edge triggered, active high,
// not shared (section 6.4.2.1).
func IRQNoFlags(irq uint32) Resource {
	return resourceFunc(func(e *encoder) {
		if irq > maxISAIRQ {
			e.fail("ISA interrupt %d: want 0 to %d; use Interrupt for a GSI", irq, maxISAIRQ)
			return
		}
		e.bytes(tagIRQNoFlags)
		e.uint16(1 << irq)
	})
}

// Trigger is how an interrupt line signals.
type Trigger byte

// The triggers that virtual devices use.
const (
	LevelHigh Trigger = 0
	EdgeHigh  Trigger = 1 << 1
	LevelLow  Trigger = 1 << 2
)

// Sharing says whether several devices may use an interrupt.
type Sharing byte

// The values of Sharing.
const (
	Exclusive Sharing = 0
	Shared    Sharing = 1 << 3
)

// Interrupt is one global system interrupt, consumed by the device
// (section 6.4.3.6).
func Interrupt(gsi uint32, trigger Trigger, sharing Sharing) Resource {
	return resourceFunc(func(e *encoder) {
		const (
			length   = 6
			consumer = 1
			count    = 1
		)
		e.bytes(tagInterrupt)
		e.uint16(length)
		e.bytes(consumer|byte(trigger)|byte(sharing), count)
		e.uint32(gsi)
	})
}

// Memory32Fixed is a fixed range of readable and writable addresses under 4 GiB
// (section 6.4.3.4).
func Memory32Fixed(base, length uint32) Resource {
	return resourceFunc(func(e *encoder) {
		const (
			size      = 9
			readWrite = 1
		)
		e.bytes(tagMemory32Fixed)
		e.uint16(size)
		e.bytes(readWrite)
		e.uint32(base)
		e.uint32(length)
	})
}

// Address space descriptors, section 6.4.3.5: what is described, and the flags
// of a range that a bridge passes on with its first and last address fixed.
const (
	spaceMemory = 0
	spaceIO     = 1
	spaceBus    = 2

	producerFixed = 1<<2 | 1<<3 // _MIF, _MAF; consumer bit clear

	memReadWrite    = 1
	memPrefetchable = 3 << 1
	ioEntireRange   = 3
)

// BusNumbers is the range of bus numbers first to last under a PCI host bridge.
func BusNumbers(first, last uint8) Resource {
	return resourceFunc(func(e *encoder) {
		e.wordSpace(spaceBus, 0, uint16(first), uint16(last))
	})
}

// IOWindow is the range of I/O ports first to last that a bridge passes on.
func IOWindow(first, last uint16) Resource {
	return resourceFunc(func(e *encoder) {
		e.wordSpace(spaceIO, ioEntireRange, first, last)
	})
}

// MemoryWindow32 is the range of addresses first to last, under 4 GiB and not
// cached, that a bridge passes on.
func MemoryWindow32(first, last uint32) Resource {
	return resourceFunc(func(e *encoder) {
		const size = 23
		if first > last {
			e.fail("window %#x-%#x is empty", first, last)
			return
		}
		e.bytes(tagDWordSpace)
		e.uint16(size)
		e.bytes(spaceMemory, producerFixed, memReadWrite)
		for _, v := range [...]uint32{0, first, last, 0, last - first + 1} {
			e.uint32(v)
		}
	})
}

// MemoryWindow64 is the range of prefetchable addresses first to last that a
// bridge passes on.
func MemoryWindow64(first, last uint64) Resource {
	return resourceFunc(func(e *encoder) {
		const size = 43
		if first > last {
			e.fail("window %#x-%#x is empty", first, last)
			return
		}
		e.bytes(tagQWordSpace)
		e.uint16(size)
		e.bytes(spaceMemory, producerFixed, memReadWrite|memPrefetchable)
		for _, v := range [...]uint64{0, first, last, 0, last - first + 1} {
			e.uint64(v)
		}
	})
}

func (e *encoder) wordSpace(kind, specific byte, first, last uint16) {
	const size = 13
	if first > last {
		e.fail("range %#x-%#x is empty", first, last)
		return
	}
	e.bytes(tagWordSpace)
	e.uint16(size)
	e.bytes(kind, producerFixed, specific)
	for _, v := range [...]uint16{0, first, last, 0, last - first + 1} {
		e.uint16(v)
	}
}
