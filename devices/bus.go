package devices

import (
	"errors"
	"fmt"
	"math"
	"sort"
	"sync/atomic"
)

// Bus kinds, for NewBus. The kind of a PIO bus bounds its addresses.
const (
	KindPIO  = "pio"
	KindMMIO = "mmio"
)

// maxPort is the highest I/O port of x86 (Intel SDM volume 1, section 19.3).
const maxPort = 0xFFFF

// Reasons for which Register refuses a range. Errors wrap one of them.
var (
	ErrOverlap = errors.New("address ranges overlap")
	ErrRange   = errors.New("bad address range")
	ErrSealed  = errors.New("bus is sealed")
)

// UnhandledFunc hears of each access that no device answered, in whole or in part.
// It runs on the vCPU thread and must be as careful as a Device.
type UnhandledFunc func(addr uint64, size int, write bool)

// Bus routes port or memory accesses to devices by address.
//
// It is built by one goroutine (Register, then Seal) and is immutable afterwards,
// so Read and Write take no lock. Ranges are kept in a sorted slice: with a dozen
// devices the binary search costs about ten nanoseconds more than a table of all
// ports would (BenchmarkBusRead), against more than a microsecond for the exit that
// brought the access here.
type Bus struct {
	kind        string
	maps        []mapping
	sealed      bool
	onUnhandled UnhandledFunc
	unhandled   atomic.Uint64
}

// mapping is one registered range; both ends are inclusive, so that a range may
// end at the top of the address space.
type mapping struct {
	base, last uint64
	dev        Device
}

// NewBus makes an empty bus. The kind, KindPIO or KindMMIO, names it in errors; on
// a PIO bus no range may pass port 0xFFFF. At most one function may be given: it
// is called for each unhandled access.
func NewBus(kind string, unhandled ...UnhandledFunc) *Bus {
	b := &Bus{kind: kind}
	if len(unhandled) > 0 {
		b.onUnhandled = unhandled[0]
	}
	return b
}

// Register puts d at [base, base+size). An empty range, a range that wraps around
// or leaves the address space, an overlap with a device registered before and a
// call after Seal are errors, and the bus stays as it was.
func (b *Bus) Register(base, size uint64, d Device) error {
	m := mapping{base: base, last: base + size - 1, dev: d}
	switch {
	case b.sealed:
		return fmt.Errorf("%s bus: register %s at %#x: %w", b.kind, deviceName(d), base, ErrSealed)
	case size == 0:
		return fmt.Errorf("%s bus: register %s at %#x: size is zero: %w", b.kind, deviceName(d), base, ErrRange)
	case m.last < base:
		return fmt.Errorf("%s bus: register %s at %#x, size %#x: wraps around: %w", b.kind, deviceName(d), base, size, ErrRange)
	case m.last > b.limit():
		return fmt.Errorf("%s bus: register %s: ends beyond %#x: %w", b.kind, m, b.limit(), ErrRange)
	}
	i := sort.Search(len(b.maps), func(i int) bool { return b.maps[i].last >= base })
	if i < len(b.maps) && b.maps[i].base <= m.last {
		return fmt.Errorf("%s bus: register %s: in the way is %s: %w", b.kind, m, b.maps[i], ErrOverlap)
	}
	b.maps = append(b.maps, mapping{})
	copy(b.maps[i+1:], b.maps[i:])
	b.maps[i] = m
	return nil
}

// Seal ends the building of the bus. It must be called before the first vCPU runs;
// starting the vCPU threads is what makes the ranges visible to them.
func (b *Bus) Seal() { b.sealed = true }

// Unhandled is the number of accesses so far of which at least one byte met no
// device.
func (b *Bus) Unhandled() uint64 { return b.unhandled.Load() }

// Read answers a read of len(data) bytes at addr. Bytes that no device claims read
// as all ones.
func (b *Bus) Read(addr uint64, data []byte) {
	if m := b.find(addr); m != nil && m.covers(addr, len(data)) {
		m.dev.Read(addr-m.base, data)
		return
	}
	b.split(addr, data, false)
}

// Write delivers a write of len(data) bytes at addr. Bytes that no device claims
// are lost.
func (b *Bus) Write(addr uint64, data []byte) {
	if m := b.find(addr); m != nil && m.covers(addr, len(data)) {
		m.dev.Write(addr-m.base, data)
		return
	}
	b.split(addr, data, true)
}

// find returns the mapping with the highest base that is not above addr. Whether
// it reaches addr is for the caller to see.
func (b *Bus) find(addr uint64) *mapping {
	lo, hi := 0, len(b.maps)
	for lo < hi {
		mid := int(uint(lo+hi) >> 1)
		if b.maps[mid].base <= addr {
			lo = mid + 1
		} else {
			hi = mid
		}
	}
	if lo == 0 {
		return nil
	}
	return &b.maps[lo-1]
}

// split answers an access that is not wholly inside one device. A PC cuts such an
// access into narrower cycles, and each device sees those that are its own.
func (b *Bus) split(addr uint64, data []byte, write bool) {
	missed := false
	for off := 0; off < len(data); {
		at := addr + uint64(off)
		if at < addr {
			// Past the top of the address space: nobody is there.
			missed = true
			b.miss(data[off:], write)
			break
		}
		m, n := b.piece(at, len(data)-off)
		part := data[off : off+n]
		off += n
		switch {
		case m == nil:
			missed = true
			b.miss(part, write)
		case write:
			m.dev.Write(at-m.base, part)
		default:
			m.dev.Read(at-m.base, part)
		}
	}
	if !missed {
		return
	}
	b.unhandled.Add(1)
	if b.onUnhandled != nil {
		b.onUnhandled(addr, len(data), write)
	}
}

// piece returns the device at addr, or nil if none is there, and for how many of
// the next n bytes that stays so.
func (b *Bus) piece(addr uint64, n int) (*mapping, int) {
	m := b.find(addr)
	if m != nil && addr <= m.last {
		if left := m.last - addr; left < uint64(n-1) {
			n = int(left) + 1
		}
		return m, n
	}
	// A gap: it lasts until the next base, if that is near.
	for i := 1; i < n; i++ {
		next := addr + uint64(i)
		if next < addr {
			break
		}
		if m := b.find(next); m != nil && next <= m.last {
			return nil, i
		}
	}
	return nil, n
}

// miss answers bytes that no device claims.
func (b *Bus) miss(data []byte, write bool) {
	if !write {
		fill(data, allOnes)
	}
}

// limit is the highest address of the bus.
func (b *Bus) limit() uint64 {
	if b.kind == KindPIO {
		return maxPort
	}
	return math.MaxUint64
}

// covers reports whether all n bytes at addr, which is not below the base, belong
// to the mapping. No device covers an access of no bytes.
func (m *mapping) covers(addr uint64, n int) bool {
	return addr <= m.last && uint64(n)-1 <= m.last-addr
}

// String is the range as in an error: "serial 0x3f8-0x3ff".
func (m mapping) String() string {
	return fmt.Sprintf("%s %#x-%#x", deviceName(m.dev), m.base, m.last)
}

// deviceName is the name that a device gives itself, or else its type.
func deviceName(d Device) string {
	if n, ok := d.(interface{ Name() string }); ok {
		return n.Name()
	}
	return fmt.Sprintf("%T", d)
}
