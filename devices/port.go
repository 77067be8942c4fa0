package devices

import "sync/atomic"

// Port92 is system control port A: fast A20 and fast reset. The A20 line is always
// open in a KVM guest; the bit is only remembered.
type Port92 struct {
	events EventFunc
	value  atomic.Uint32
}

// NewPort92 makes the port; events may be nil.
func NewPort92(events EventFunc) *Port92 {
	p := &Port92{events: events}
	p.value.Store(port92A20)
	return p
}

// Name is the device's name in messages.
func (p *Port92) Name() string { return "port 92" }

// Read reads what was written last.
func (p *Port92) Read(_ uint64, data []byte) { fill(data, uint8(p.value.Load())) }

// Write sets A20, and resets the machine when the reset bit rises.
func (p *Port92) Write(_ uint64, data []byte) {
	for _, v := range data {
		old := uint8(p.value.Swap(uint32(v)))
		if v&^old&port92Reset != 0 {
			p.events.emit(Reset)
		}
	}
}

// POST is the port of the power-on self-test display. Firmware writes progress
// codes to it, and old kernels write to it as a delay. It only remembers.
type POST struct {
	code atomic.Uint32
}

// NewPOST makes the port.
func NewPOST() *POST { return &POST{} }

// Name is the device's name in messages.
func (p *POST) Name() string { return "post" }

// Code is the code that was written last.
func (p *POST) Code() uint8 { return uint8(p.code.Load()) }

// Read reads the last code.
func (p *POST) Read(_ uint64, data []byte) { fill(data, p.Code()) }

// Write shows a code.
func (p *POST) Write(_ uint64, data []byte) {
	for _, v := range data {
		p.code.Store(uint32(v))
	}
}

// Absent is a place where a guest looks for hardware that the machine does not
// have, such as the PCI configuration ports. It answers as an empty bus does, but
// the accesses do not count as unhandled: they are expected.
type Absent struct{ name string }

// NewAbsent makes a hole; the name is that of the hardware that is not there.
func NewAbsent(name string) *Absent { return &Absent{name: name} }

// Name is the device's name in messages.
func (a *Absent) Name() string { return "absent " + a.name }

// Read reads all ones.
func (a *Absent) Read(_ uint64, data []byte) { fill(data, allOnes) }

// Write does nothing.
func (a *Absent) Write(uint64, []byte) {}
