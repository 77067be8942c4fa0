package pci

import (
	"fmt"
	"math/bits"
)

// Handler is what a function does behind its configuration space.
//
// ReadBAR and WriteBAR come from vCPU threads, several at once and without a lock
// of the Host's; offset+len(data) lies in the BAR. A guest that moves a BAR while
// another of its CPUs uses it may see one last access arrive.
//
// The other methods come with the Host locked, one at a time, and must not call
// into the Host.
type Handler interface {
	ReadBAR(bar int, offset uint64, data []byte)
	WriteBAR(bar int, offset uint64, data []byte)
	// MapBAR tells that a BAR now answers at gpa, or (on is false) no longer does.
	MapBAR(bar int, gpa uint64, on bool)
	// BeforeRead is called before the guest reads its capabilities, so that the
	// handler can bring what it keeps there up to date, with Function.SetConfig.
	BeforeRead(offset, size int)
	// AfterWrite is called when the guest has written to them.
	AfterWrite(offset, size int)
}

// BAR is a function's memory BAR. Zero Size means there is none.
type BAR struct {
	// Size in bytes, a power of two of at least 16.
	Size uint32
}

// Function is one PCI function: function 0 of a device of its own.
type Function struct {
	config  *configSpace
	bars    [maxBARs]BAR
	handler Handler
	device  int // number on the bus, once added

	// mapped is where a BAR answers; guarded by the Host's lock.
	mapped [maxBARs]mapping
}

type mapping struct {
	gpa uint64
	on  bool
}

// NewFunction makes a function. A handler may be nil if there are no BARs and no
// capabilities with a life of their own.
func NewFunction(id Identity, bars [maxBARs]BAR, h Handler) (*Function, error) {
	f := &Function{config: newConfigSpace(id), bars: bars, handler: h}
	for i, b := range bars {
		if b.Size == 0 {
			continue
		}
		if b.Size < minBAR || bits.OnesCount32(b.Size) != 1 || h == nil {
			return nil, fmt.Errorf("PCI BAR %d of %d bytes: want a power of two from %d up", i, b.Size, minBAR)
		}
		f.config.allow32(regBAR0+4*i, -b.Size&barAddressLow)
	}
	return f, nil
}

// AddCapability adds a capability of the given ID, to be called before the function
// is added to a Host. body is what follows ID and pointer, writable has the bits of
// it that the guest may change. It returns the capability's offset.
func (f *Function) AddCapability(id byte, body, writable []byte) (int, error) {
	at := f.config.addCapability(id, body, writable)
	if at == 0 {
		return 0, fmt.Errorf("PCI capability %#x: no room for %d bytes", id, len(body))
	}
	return at, nil
}

// Config copies bytes of the configuration space. Only for a Handler's methods that
// are called with the Host locked, and before the function is added.
func (f *Function) Config(offset int, data []byte) { f.config.read(offset, data) }

// SetConfig changes bytes of the configuration space, also those that the guest
// cannot. When it may be called: see Config.
func (f *Function) SetConfig(offset int, data []byte) {
	copy(f.config.bytes[offset:], data)
}

// barAt is where the guest has put a BAR, and whether it is to answer there.
func (f *Function) barAt(i int) mapping {
	if f.config.u16(regCommand)&commandMemory == 0 {
		return mapping{}
	}
	return mapping{gpa: uint64(f.config.u32(regBAR0+4*i) & barAddressLow), on: true}
}

// read serves a read of configuration space.
func (f *Function) read(offset int, data []byte) {
	if f.handler != nil && offset+len(data) > regFirstCap && offset < configSize {
		f.handler.BeforeRead(offset, len(data))
	}
	f.config.read(offset, data)
}

// write serves a write of configuration space and tells whether BARs may have moved.
func (f *Function) write(offset int, data []byte) (moved bool) {
	f.config.write(offset, data)
	if f.handler != nil && offset+len(data) > regFirstCap && offset < configSize {
		f.handler.AfterWrite(offset, len(data))
	}
	return offset < regBAR0+4*maxBARs
}
