package boot

import (
	"cmp"
	"errors"
	"fmt"
	"slices"

	"github.com/gureum/gureum/guest/memory"
)

// Types of a memory map's entries: those of the BIOS call INT 15h, AX=E820h,
// which both protocols use.
const (
	typeRAM      = 1
	typeReserved = 2
)

// maxMapEntries is what fits in the zero page (E820_MAX_ENTRIES_ZEROPAGE), less
// the entry for the ISA range that Linux adds when it starts by PVH.
const maxMapEntries = 127

// mapEntry is one range of the memory map.
type mapEntry struct {
	Range
	kind uint32
}

// fixedReserved is what every machine reserves: from the EBDA with the MP table
// up to the end of the ACPI tables, and the pages in the MMIO hole that VT-x
// needs, so that the guest puts no device there.
var fixedReserved = [...]Range{
	{memory.EBDA, memory.LowEnd},
	{memory.IdentityMapPage, memory.TSSPages + 3*memory.PageBytes},
}

// memoryMap is the RAM less everything reserved, and what is reserved, by
// ascending address and without an overlap.
func memoryMap(ram []memory.Region, reserved []Range) ([]mapEntry, error) {
	holes, err := mergeReserved(reserved)
	if err != nil {
		return nil, err
	}
	var entries []mapEntry
	for _, h := range holes {
		entries = append(entries, mapEntry{h, typeReserved})
	}
	for _, r := range ram {
		at, end := r.GPA, r.GPA+r.Size
		for _, h := range holes {
			if h.End <= at || h.Start >= end {
				continue
			}
			if h.Start > at {
				entries = append(entries, mapEntry{Range{at, h.Start}, typeRAM})
			}
			at = h.End
		}
		if at < end {
			entries = append(entries, mapEntry{Range{at, end}, typeRAM})
		}
	}
	if len(entries) > maxMapEntries {
		return nil, fmt.Errorf("memory map of %d ranges: at most %d can be told to a kernel", len(entries), maxMapEntries)
	}
	slices.SortFunc(entries, func(a, b mapEntry) int { return cmp.Compare(a.Start, b.Start) })
	return entries, nil
}

// mergeReserved sorts the reserved ranges, fixed ones too, and joins those that
// touch or overlap.
func mergeReserved(reserved []Range) ([]Range, error) {
	all := slices.Concat(fixedReserved[:], reserved)
	slices.SortFunc(all, func(a, b Range) int { return cmp.Compare(a.Start, b.Start) })
	merged := all[:0]
	for _, r := range all {
		if r.Start > r.End {
			return nil, fmt.Errorf("reserved memory from %#x to %#x: %w", r.Start, r.End, errBackwards)
		}
		last := len(merged) - 1
		switch {
		case r.Start == r.End:
		case last >= 0 && r.Start <= merged[last].End:
			merged[last].End = max(merged[last].End, r.End)
		default:
			merged = append(merged, r)
		}
	}
	return merged, nil
}

var errBackwards = errors.New("the range ends before it starts")
