package pci

import (
	"cmp"
	"slices"
)

// decodeTable says which BAR answers where in the window, by ascending address and
// without an overlap. It is never changed, only replaced.
type decodeTable struct {
	entries []decodeEntry
}

type decodeEntry struct {
	base, last uint64
	handler    Handler
	bar        int
}

// find returns the BAR that has all size bytes at gpa, or nil.
func (t *decodeTable) find(gpa uint64, size int) *decodeEntry {
	lo, hi := 0, len(t.entries)
	for lo < hi {
		mid := int(uint(lo+hi) >> 1)
		if t.entries[mid].base <= gpa {
			lo = mid + 1
		} else {
			hi = mid
		}
	}
	if lo == 0 {
		return nil
	}
	e := &t.entries[lo-1]
	if gpa > e.last || uint64(size)-1 > e.last-gpa {
		return nil
	}
	return e
}

// Memory is the window that BARs lie in, a devices.Device to be put at Window.First.
func (h *Host) Memory() *Memory { return &Memory{h} }

// Memory implements devices.Device, see Host.Memory.
type Memory struct{ h *Host }

// Name is the device's name in messages.
func (m *Memory) Name() string { return "pci-memory" }

// Read implements devices.Device. Where no BAR answers all bits are ones.
func (m *Memory) Read(offset uint64, data []byte) {
	gpa := m.h.window.First + offset
	if e := m.h.table.Load().find(gpa, len(data)); e != nil {
		e.handler.ReadBAR(e.bar, gpa-e.base, data)
		return
	}
	for i := range data {
		data[i] = 0xFF
	}
}

// Write implements devices.Device. Where no BAR answers it is lost.
func (m *Memory) Write(offset uint64, data []byte) {
	gpa := m.h.window.First + offset
	if e := m.h.table.Load().find(gpa, len(data)); e != nil {
		e.handler.WriteBAR(e.bar, gpa-e.base, data)
	}
}

// remap follows the guest where it has put BARs. The Host is locked. What goes is
// taken away before anything new is put in its place.
func (h *Host) remap() {
	changed := false
	for _, on := range [...]bool{false, true} {
		for _, f := range h.functions[:h.count] {
			for i := range f.bars {
				if f.bars[i].Size != 0 && h.remapBAR(f, i, on) {
					changed = true
				}
			}
		}
	}
	if changed {
		h.table.Store(h.decode())
	}
}

// remapBAR takes a BAR away from where it no longer belongs, or puts it there.
func (h *Host) remapBAR(f *Function, bar int, on bool) (changed bool) {
	was, now := f.mapped[bar], f.barAt(bar)
	switch {
	case was == now:
		return false
	case !on && was.on:
		f.mapped[bar] = mapping{}
		f.handler.MapBAR(bar, was.gpa, false)
		return true
	case on && now.on && h.free(f, bar, now.gpa):
		f.mapped[bar] = now
		f.handler.MapBAR(bar, now.gpa, true)
		return true
	}
	return false
}

// free tells whether a BAR can answer at gpa: wholly in the window, and where no
// other one does. A guest can put BARs anywhere, and two to one place.
func (h *Host) free(f *Function, bar int, gpa uint64) bool {
	last := gpa + uint64(f.bars[bar].Size) - 1
	if gpa < h.window.First || last > h.window.Last {
		return false
	}
	for _, other := range h.functions[:h.count] {
		for i, o := range other.mapped {
			if o.on && gpa < o.gpa+uint64(other.bars[i].Size) && o.gpa <= last {
				return false
			}
		}
	}
	return true
}

// decode makes the table of all BARs that answer.
func (h *Host) decode() *decodeTable {
	t := &decodeTable{}
	for _, f := range h.functions[:h.count] {
		for i, m := range f.mapped {
			if m.on {
				t.entries = append(t.entries, decodeEntry{m.gpa, m.gpa + uint64(f.bars[i].Size) - 1, f.handler, i})
			}
		}
	}
	slices.SortFunc(t.entries, func(a, b decodeEntry) int { return cmp.Compare(a.base, b.base) })
	return t
}
