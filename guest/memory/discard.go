package memory

import "fmt"

// Discard gives the n bytes at gpa back to the host: they read as zero from now
// on, and cost memory again once somebody touches them. gpa and n are multiples
// of PageBytes and the range lies in one region. Whoever uses these pages in the
// meantime (a running guest, the host's kernel on behalf of a device) sees them
// either as they were or zero.
//
// Pages of hugetlbfs are cleared and kept: the host would not hold the reservation
// for a page that was given back, and a guest that touches it again would die.
func (m *Memory) Discard(gpa, n uint64) error {
	if gpa%PageBytes != 0 || n%PageBytes != 0 {
		return fmt.Errorf("discard %#x bytes at %#x: not page aligned", n, gpa)
	}
	m.giveBack.Lock()
	defer m.giveBack.Unlock()
	mem := m.find(gpa, n)
	if mem == nil {
		return m.bad(gpa, n)
	}
	if m.huge != PageDefault {
		clear(mem)
		return nil
	}
	if err := dontNeed(mem); err != nil {
		return fmt.Errorf("give %d bytes of guest memory at %#x back to the host: %w", n, gpa, err)
	}
	return nil
}

// DiscardSlice is Discard for the whole pages of a view that Slice gave. What
// shares a page with bytes outside the view stays as it is.
func (m *Memory) DiscardSlice(view []byte) error {
	gpa, ok := m.gpaOf(view)
	if !ok {
		return m.bad(0, uint64(len(view)))
	}
	start := (gpa + PageBytes - 1) &^ (PageBytes - 1)
	end := (gpa + uint64(len(view))) &^ (PageBytes - 1)
	if start >= end {
		return nil
	}
	return m.Discard(start, end-start)
}

// gpaOf is where a view of RAM begins. A view that runs out of its region is
// none.
func (m *Memory) gpaOf(view []byte) (uint64, bool) {
	if len(view) == 0 {
		return 0, false
	}
	at, n := uint64(hostAddr(view)), uint64(len(view))
	blocks := m.blocks()
	for i := range blocks {
		b := &blocks[i]
		off, size := at-uint64(hostAddr(b.mem)), uint64(len(b.mem))
		if off < size && n <= size-off {
			return b.gpa + off, true
		}
	}
	return 0, false
}
