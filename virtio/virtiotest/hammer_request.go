package virtiotest

// scratch is where the hammer puts buffers and indirect tables.
const (
	scratch     = bufferBase
	scratchSize = 4 << 20
)

// sizes are lengths that requests have.
var sizes = [...]uint32{1, 1, 1, 2, 4, 8, 10, 12, 16, 20, 24, 32, 40, 44, 64, 256, 512, 512, 1024, 1514, 4096, 4096, 8192, 65536}

// length is a number of bytes: mostly one that requests have.
func (h *hammer) length() uint32 {
	switch h.rnd.IntN(64) {
	case 0:
		return 0
	case 1:
		return 1 << h.rnd.IntN(21)
	case 2, 3, 4, 5, 6, 7:
		return uint32(h.rnd.IntN(1 << 13))
	}
	return sizes[h.rnd.IntN(len(sizes))]
}

// place is where a buffer of n bytes goes, over others as it happens. Half of them
// are aligned as disks like it.
func (h *hammer) place(n uint32) uint64 {
	gpa := scratch + uint64(h.rnd.IntN(scratchSize-int(min(n, scratchSize-512))))
	if h.rnd.IntN(2) == 0 {
		gpa &^= 511
	}
	return gpa
}

// request makes one chain available on r, which has a free descriptor.
func (h *hammer) request(r *ring) {
	h.requests++
	h.compose(r.style)
	h.styles[r.q.index][r.style].made++
	indirect := h.rnd.IntN(3) == 0 && h.d.Core.DriverFeatures(0)>>28&1 != 0
	rule := -1
	if h.rnd.IntN(300) == 0 {
		rule = h.rnd.IntN(len(rules))
	}
	if limit := int(r.q.Size); len(h.parts) > limit {
		h.parts = h.parts[:limit]
	}
	if !indirect && len(h.parts) > len(r.free) {
		h.parts = h.parts[:len(r.free)]
	}
	if rule >= 0 {
		rules[rule].parts(h, r)
	}
	if indirect {
		h.parts = append(h.parts[:0], h.table(h.parts))
	}
	head := h.write(r)
	r.publish(head)
	r.underWay++
	if rule >= 0 {
		rules[rule].published(h, r, head)
	}
}

// compose makes the parts of a request: readable ones, the first often with the
// contents of a seed, then writable ones, as the ring's style has it.
func (h *hammer) compose(s style) {
	h.parts = h.parts[:0]
	if s == answerAtEnd {
		if len(h.seeds) > 0 {
			h.plant(h.rnd.IntN(64) == 0)
		} else {
			h.add(h.length(), 0)
		}
		h.add(4096, FlagWrite)
		return
	}
	if s != writableOnly {
		if len(h.seeds) > 0 && h.rnd.IntN(8) != 0 {
			h.plant(true)
		}
		for h.rnd.IntN(3) == 0 {
			h.add(h.length(), 0)
		}
	}
	if s != readableOnly {
		for h.rnd.IntN(3) != 0 {
			h.add(h.length(), FlagWrite)
		}
	}
	if s == statusAtEnd {
		h.add(1, FlagWrite)
	}
	if len(h.parts) > 0 {
		return
	}
	if s == readableOnly {
		h.add(h.length(), 0)
		return
	}
	h.add(h.length(), FlagWrite)
}

func (h *hammer) add(n uint32, flags uint16) {
	h.parts = append(h.parts, Descriptor{Addr: h.place(n), Len: n, Flags: flags})
}

// plant puts a mutated seed into guest memory, in one part or in several. It may be
// cut short only where the caller says so.
func (h *hammer) plant(cut bool) {
	h.bytes = append(h.bytes[:0], h.seeds[h.rnd.IntN(len(h.seeds))]...)
	h.mutate(cut)
	gpa := h.place(uint32(len(h.bytes)))
	_ = h.d.Memory.WriteAt(h.bytes, gpa)
	for left := uint32(len(h.bytes)); left > 0; {
		n := left
		if h.rnd.IntN(4) == 0 {
			n = 1 + h.rnd.Uint32N(left)
		}
		h.parts = append(h.parts, Descriptor{Addr: gpa, Len: n})
		gpa += uint64(n)
		left -= n
	}
}

// mutate changes bytes, words and the length of the contents.
func (h *hammer) mutate(cut bool) {
	for h.rnd.IntN(3) != 0 && len(h.bytes) > 0 {
		at := h.rnd.IntN(len(h.bytes))
		switch h.rnd.IntN(8) {
		case 0:
			if cut {
				h.bytes = h.bytes[:at]
			}
		case 1:
			for range 1 + h.rnd.IntN(64) {
				h.bytes = append(h.bytes, byte(h.rnd.Uint32()))
			}
		case 2:
			h.bytes[at] ^= 1 << h.rnd.IntN(8)
		case 3:
			for i := range min(8, len(h.bytes)-at) {
				h.bytes[at+i] = byte(-h.rnd.IntN(2))
			}
		case 4:
			h.bytes[at] += byte(h.rnd.IntN(5) - 2)
		default:
			h.bytes[at] = byte(h.rnd.Uint32())
		}
	}
}

// table puts the parts into an indirect table and gives the descriptor of it.
func (h *hammer) table(parts []Descriptor) Descriptor {
	size := uint32(descSize * len(parts))
	gpa := h.place(size) &^ 15
	for i, p := range parts {
		if i < len(parts)-1 && p.Flags&FlagIndirect == 0 {
			p.Flags |= FlagNext
			p.Next = uint16(i + 1)
		}
		h.d.queues[0].writeDesc(gpa+descSize*uint64(i), p)
	}
	return Descriptor{Addr: gpa, Len: size, Flags: FlagIndirect}
}

// write puts the parts into the descriptor table, as far as there is room, and
// gives the head.
func (h *hammer) write(r *ring) uint16 {
	n := min(len(h.parts), len(r.free))
	head := r.free[len(r.free)-1]
	chain := r.chains[head][:0]
	for range n {
		chain = append(chain, r.take())
	}
	for i, p := range h.parts[:n] {
		if i < n-1 {
			p.Flags |= FlagNext
			p.Next = chain[i+1]
		}
		r.q.WriteDesc(chain[i], p)
	}
	r.chains[head] = chain
	return head
}
