package memory

import "fmt"

// maxRemaps bounds how many pieces of mapped files Discard replaces. Each piece
// can cut a mapping of the host in two, and the host gives a process 65530 of
// them (sysctl vm.max_map_count), which the guest must not use up.
const maxRemaps = 1024

// span is a range of guest physical addresses.
type span struct{ start, end uint64 }

// Discard gives the n bytes at gpa back to the host: they read as zero from now
// on, and cost memory again once somebody touches them. gpa and n are multiples
// of PageBytes and the range lies in one region. Whoever uses these pages in the
// meantime (a running guest, the host's kernel on behalf of a device) sees them
// either as they were or zero.
//
// Pages that stand for a mapped file (see MapFile) become ordinary zero pages,
// the file stays as it is. Huge pages are cleared and kept: the host would not
// hold the reservation for a page that was given back, and a guest that touches
// it again would die.
func (m *Memory) Discard(gpa, n uint64) error {
	if gpa%PageBytes != 0 || n%PageBytes != 0 {
		return fmt.Errorf("discard %#x bytes at %#x: not page aligned", n, gpa)
	}
	m.mapMu.Lock()
	defer m.mapMu.Unlock()
	mem := m.find(gpa, n)
	if mem == nil {
		return m.bad(gpa, n)
	}
	if m.huge != PageDefault {
		clear(mem)
		return nil
	}
	end := gpa + n
	for at := gpa; at < end; {
		stop, isFile := m.run(at, end)
		if err := m.discardRun(mem[at-gpa:stop-gpa], span{at, stop}, isFile); err != nil {
			return fmt.Errorf("give %d bytes of guest memory at %#x back to the host: %w", stop-at, at, err)
		}
		at = stop
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

// run tells up to which address below end the memory is of the same kind as at
// start, and whether that is a mapped file. The caller holds mapMu.
func (m *Memory) run(start, end uint64) (stop uint64, isFile bool) {
	stop = end
	for _, s := range m.files {
		switch {
		case s.start <= start && start < s.end:
			return min(end, s.end), true
		case start < s.start && s.start < stop:
			stop = s.start
		}
	}
	return stop, false
}

// discardRun discards pages of one kind. The caller holds mapMu.
func (m *Memory) discardRun(mem []byte, gone span, isFile bool) error {
	if isFile {
		return m.discardFile(mem, gone)
	}
	return dontNeed(mem)
}

// discardFile discards pages of a mapped file, which lie at gone. Without its
// copy, a private page of a file would show the file again. The caller holds
// mapMu.
func (m *Memory) discardFile(mem []byte, gone span) error {
	if m.remaps == maxRemaps {
		clear(mem)
		return nil
	}
	m.remaps++
	if err := mapZero(mem, m.thp); err != nil {
		return err
	}
	kept := make([]span, 0, len(m.files)+1)
	for _, s := range m.files {
		for _, part := range [...]span{{s.start, min(s.end, gone.start)}, {max(s.start, gone.end), s.end}} {
			if part.start < part.end {
				kept = append(kept, part)
			}
		}
	}
	m.files = kept
	return nil
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
