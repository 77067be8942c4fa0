package virtiotest

import (
	"github.com/gureum/gureum/guest/memory"
	"github.com/gureum/gureum/virtio"
)

// rule is a way to break one: in the parts of a chain before it is written, or
// afterwards in what was written.
type rule struct {
	parts     func(*hammer, *ring)
	published func(h *hammer, r *ring, head uint16)
}

func before(f func(*hammer, *ring)) rule {
	return rule{f, func(*hammer, *ring, uint16) {}}
}

func after(f func(*hammer, *ring, uint16)) rule {
	return rule{func(*hammer, *ring) {}, f}
}

// any is one of the parts.
func (h *hammer) any() *Descriptor { return &h.parts[h.rnd.IntN(len(h.parts))] }

// rules has all ways in which a driver can break its ring.
var rules = [...]rule{
	before(func(h *hammer, _ *ring) { h.any().Addr = h.rnd.Uint64() }),
	before(func(h *hammer, _ *ring) { h.any().Addr = memorySize - uint64(h.rnd.IntN(64)) }),
	before(func(h *hammer, _ *ring) { h.any().Addr = memory.HoleStart + uint64(h.rnd.Uint32()>>2) }),
	before(func(h *hammer, _ *ring) { h.any().Addr = -uint64(h.rnd.IntN(4096)) }),
	before(func(h *hammer, _ *ring) { h.any().Len = h.rnd.Uint32() }),
	before(func(h *hammer, _ *ring) { h.any().Flags = uint16(h.rnd.Uint32()) }),
	before(func(h *hammer, _ *ring) { h.any().Flags ^= FlagWrite }),
	before(func(h *hammer, _ *ring) { h.any().Flags |= FlagIndirect }),
	before(func(h *hammer, _ *ring) { // totals that no memory has
		for i := range h.parts {
			h.parts[i].Addr, h.parts[i].Len = 0, memorySize
		}
	}),
	before(func(h *hammer, _ *ring) { // a table within a table, of any length
		inner := h.table(h.parts)
		inner.Len += h.rnd.Uint32N(32)
		h.parts = append(h.parts[:0], h.table([]Descriptor{inner}))
	}),
	before(func(h *hammer, _ *ring) {
		t := h.table(h.parts)
		t.Len = h.length()
		t.Flags |= uint16(h.rnd.Uint32N(4))
		h.parts = append(h.parts[:0], t)
	}),
	// Buffers on the rings themselves, which the device may then overwrite.
	before(func(h *hammer, r *ring) { h.any().Addr = r.q.Desc + uint64(h.rnd.IntN(int(r.q.end-r.q.Desc))) }),
	after(func(_ *hammer, r *ring, head uint16) { r.publish(head) }),
	after(func(h *hammer, r *ring, _ uint16) { r.publish(uint16(h.rnd.Uint32())) }),
	after(func(h *hammer, r *ring, _ uint16) {
		_ = h.d.Memory.WriteU16(r.q.Avail+2, r.avail+uint16(h.rnd.Uint32()))
	}),
	after(func(h *hammer, r *ring, head uint16) { // a loop, or a chain into others
		r.q.WriteDesc(head, Descriptor{Addr: h.place(1), Len: 1, Flags: FlagNext, Next: uint16(h.rnd.IntN(int(r.q.Size)))})
	}),
	after(func(h *hammer, r *ring, head uint16) {
		r.q.WriteDesc(head, Descriptor{Addr: h.place(1), Len: 1, Flags: FlagNext, Next: uint16(h.rnd.Uint32())})
	}),
	after(func(h *hammer, r *ring, _ uint16) {
		_ = h.d.Memory.WriteU16(r.q.Desc+2*h.rnd.Uint64N((r.q.end-r.q.Desc)/2), uint16(h.rnd.Uint32()))
	}),
}

// mischief is what a driver does while the device works.
func (h *hammer) mischief(r *ring) {
	switch p := h.rnd.IntN(100); {
	case p < 40:
		gpa := scratch + uint64(h.rnd.IntN(scratchSize))&^3
		_ = h.d.Memory.WriteU32(gpa, h.rnd.Uint32()>>h.rnd.IntN(32))
	case p < 80:
		h.configuration()
	case p < 84: // a descriptor that may be in use, its address or length as well
		i := uint16(h.rnd.IntN(int(r.q.Size)))
		n := h.length()
		r.q.WriteDesc(i, Descriptor{Addr: h.place(n), Len: n, Flags: uint16(h.rnd.IntN(4)), Next: uint16(h.rnd.IntN(int(r.q.Size)))})
	case p < 90:
		h.register()
	case p < 92:
		h.resetRing(h.rnd.IntN(len(h.rings)))
	default:
		h.rings[h.rnd.IntN(len(h.rings))].q.Kick()
	}
}

// configuration reads or writes the configuration space, of any width, anywhere.
func (h *hammer) configuration() {
	var b [8]byte
	p := b[:1+h.rnd.IntN(8)]
	off := uint64(h.rnd.IntN(128))
	if h.rnd.IntN(16) == 0 {
		off = h.rnd.Uint64()
	}
	if h.rnd.IntN(2) == 0 {
		h.d.Core.ReadConfig(off, p)
		return
	}
	for i := range p {
		p[i] = byte(h.rnd.Uint32())
	}
	h.d.Core.WriteConfig(off, p)
}

// resetRing resets one ring, if the driver may, and sets it up anew.
func (h *hammer) resetRing(n int) {
	c := h.d.Core
	if c.DriverFeatures(1)>>(virtio.FeatureRingReset-32)&1 == 0 {
		return
	}
	h.rest("a reset of one ring", func() { c.ResetQueue(n) })
	if h.rnd.IntN(8) == 0 {
		return // left disabled
	}
	q := newQueue(h.d, n, h.rings[n].q.Size, h.rings[n].q.Desc)
	q.enable()
	h.rings[n], h.d.queues[n] = h.newRing(q, h.rings[n].style), q
}

// register writes any of the transport's registers at any time.
func (h *hammer) register() {
	c, n := h.d.Core, h.rnd.IntN(len(h.rings)+1)
	switch h.rnd.IntN(6) {
	case 0:
		c.SetQueueSize(n, uint16(h.rnd.Uint32()))
	case 1:
		c.SetQueueAddr(n, virtio.Part(h.rnd.IntN(4)), h.rnd.IntN(2) == 0, h.rnd.Uint32())
	case 2:
		c.SetQueueEnabled(n, h.rnd.IntN(2) == 0)
	case 3:
		c.SetDriverFeatures(uint32(h.rnd.IntN(3)), h.rnd.Uint32())
	case 4:
		h.rest("a write of the status", func() { c.SetStatus(uint8(h.rnd.Uint32())) })
	case 5:
		c.SetQueueSize(-1, 1)
	}
}
