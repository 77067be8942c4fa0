package virtiotest

import (
	"log/slog"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/gureum/gureum/virtio"
)

// Hammer drives a device as a hostile guest would: it does steps random things,
// which break every rule that a driver can break. It changes descriptors, rings and
// buffers while the device reads them, writes registers and configuration at any
// time, resets the device in the middle of its work, and now and then keeps the
// rules, so that the device gets far enough to be hurt. Guest RAM has unmapped pages
// round it, so that an access outside faults.
//
// seeds are bytes that requests begin with, so that the device's parser gets past
// its first check; each is mutated as well. The device must survive: no panic, no
// data race, no goroutine left (the package's TestMain looks for those), and it must
// come to rest within Timeout when it is reset. newDevice is called once.
//
// The same seed does the same things, as far as the device's goroutines allow.
func Hammer(t *testing.T, newDevice func() virtio.Device, steps int, seed uint64, seeds ...[]byte) {
	t.Helper()
	d, err := build(newDevice(), slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	d.t = t
	defer d.Close()
	h := &hammer{d: d, rnd: rand.New(rand.NewPCG(seed, 0x6875_7274)), seeds: seeds}
	h.restart()
	for range steps {
		h.step()
	}
	if h.requests == 0 {
		t.Error("the hammer never hit: no request was made available")
	}
	h.rest("the end", d.Reset)
}

type hammer struct {
	d        *Driver
	rnd      *rand.Rand
	seeds    [][]byte
	requests int
}

// scratch is where the hammer puts buffers and indirect tables.
const (
	scratch     = bufferBase
	scratchSize = 1 << 20
)

// step does one thing. Most are cheap; those that start the device anew are rare.
func (h *hammer) step() {
	switch p := h.rnd.IntN(1000); {
	case p < 400:
		h.request()
	case p < 600:
		h.kick()
	case p < 700:
		h.spoilDescriptor()
	case p < 780:
		h.spoilBuffer()
	case p < 840:
		h.configuration()
	case p < 880:
		h.register()
	case p < 890:
		h.spoilRing()
	case p < 895:
		h.rest("a reset", h.d.Reset)
		h.restart()
	default:
		// A driver that has broken its queue resets the device, or nothing would
		// happen any more.
		if h.d.Core.Status()&virtio.StatusNeedsReset != 0 {
			h.rest("a reset", h.d.Reset)
			h.restart()
		}
	}
}

// rest does what must bring the device to rest, and fails if it does not.
func (h *hammer) rest(when string, do func()) {
	watchdog := time.AfterFunc(Timeout, func() { panic("virtiotest: the device does not come to rest at " + when) })
	do()
	watchdog.Stop()
}

// restart sets the device up, with features of which some may be missing.
func (h *hammer) restart() {
	features := h.rnd.Uint64() | h.rnd.Uint64()
	if h.rnd.IntN(4) == 0 {
		features = AllFeatures
	}
	h.d.Negotiate(features)
	h.d.SetUpQueues()
	if h.rnd.IntN(20) == 0 {
		h.register()
	}
	h.d.Core.SetStatus(h.d.Core.Status() | virtio.StatusDriverOK)
}

func (h *hammer) queue() *Queue { return h.d.queues[h.rnd.IntN(len(h.d.queues))] }

// address is a GPA: mostly a good one.
func (h *hammer) address() uint64 {
	switch h.rnd.IntN(40) {
	case 0:
		return h.rnd.Uint64()
	case 1:
		return memorySize - uint64(h.rnd.IntN(64))
	case 2:
		return ringBase + uint64(h.rnd.IntN(1<<16)) // the rings themselves
	}
	return scratch + uint64(h.rnd.IntN(scratchSize))
}

// length is a number of bytes: mostly one that requests have.
func (h *hammer) length() uint32 {
	switch h.rnd.IntN(40) {
	case 0:
		return h.rnd.Uint32()
	case 1:
		return 0
	case 2:
		return 1 << h.rnd.IntN(24)
	case 3, 4, 5:
		return uint32(h.rnd.IntN(1 << 14))
	}
	return uint32([...]int{1, 4, 8, 10, 12, 16, 24, 32, 40, 44, 64, 256, 512, 1024, 4096}[h.rnd.IntN(15)])
}

func (h *hammer) descriptor(write bool) Descriptor {
	d := Descriptor{Addr: h.address(), Len: h.length()}
	if write {
		d.Flags = FlagWrite
	}
	if h.rnd.IntN(100) == 0 {
		d.Flags = uint16(h.rnd.Uint32())
	}
	return d
}

// request makes a chain available: first readable parts, then writable ones, the
// first of them often with the contents of a seed.
func (h *hammer) request() {
	q := h.queue()
	readable, writable := h.rnd.IntN(4), h.rnd.IntN(4)
	if readable+writable == 0 {
		return
	}
	if h.rnd.IntN(50) == 0 {
		writable = h.rnd.IntN(int(q.Size))
	}
	parts := make([]Descriptor, 0, readable+writable)
	for i := range readable + writable {
		parts = append(parts, h.descriptor(i >= readable))
	}
	if readable > 0 && len(h.seeds) > 0 && h.rnd.IntN(8) != 0 {
		h.plant(&parts[0])
	}
	if h.rnd.IntN(4) == 0 {
		parts = []Descriptor{h.table(parts)}
	}
	first := uint16(h.rnd.IntN(int(q.Size)))
	for i, p := range parts {
		at := (first + uint16(i)) % q.Size
		if i < len(parts)-1 {
			p.Flags |= FlagNext
			p.Next = (at + 1) % q.Size
		}
		q.WriteDesc(at, p)
	}
	// A full ring is waited out now and then, so that not every run ends in a
	// broken queue.
	if q.avail-q.UsedIndex() >= q.Size {
		q.Kick()
		time.Sleep(time.Duration(h.rnd.IntN(20)) * time.Microsecond)
		if q.avail-q.UsedIndex() >= q.Size && h.rnd.IntN(50) != 0 {
			return
		}
	}
	q.Publish(first)
	h.requests++
}

// plant puts a seed, with a few bytes changed at times, where d points to.
func (h *hammer) plant(d *Descriptor) {
	b := append([]byte(nil), h.seeds[h.rnd.IntN(len(h.seeds))]...)
	for h.rnd.IntN(2) == 0 && len(b) > 0 {
		b[h.rnd.IntN(len(b))] = byte(h.rnd.Uint32())
	}
	d.Addr = scratch + uint64(h.rnd.IntN(scratchSize))&^7
	if h.rnd.IntN(8) != 0 {
		d.Len = uint32(len(b))
	}
	_ = h.d.Memory.WriteAt(b, d.Addr)
}

// table puts parts into an indirect table, whose length may be wrong.
func (h *hammer) table(parts []Descriptor) Descriptor {
	gpa := scratch + uint64(h.rnd.IntN(scratchSize))&^15
	for i, p := range parts {
		if i < len(parts)-1 {
			p.Flags |= FlagNext
			p.Next = uint16(i + 1)
		}
		h.d.queues[0].writeDesc(gpa+descSize*uint64(i), p)
	}
	d := Descriptor{Addr: gpa, Len: uint32(descSize * len(parts)), Flags: FlagIndirect}
	if h.rnd.IntN(50) == 0 {
		d.Len = h.length()
	}
	return d
}

func (h *hammer) kick() { h.queue().Kick() }

// spoilDescriptor changes one that may be in use.
func (h *hammer) spoilDescriptor() {
	q := h.queue()
	d := h.descriptor(h.rnd.IntN(2) == 0)
	d.Next = uint16(h.rnd.IntN(int(q.Size)))
	if h.rnd.IntN(4) == 0 {
		d.Flags |= FlagNext
	}
	q.WriteDesc(uint16(h.rnd.IntN(int(q.Size))), d)
}

// spoilBuffer changes a word that a device may be reading.
func (h *hammer) spoilBuffer() {
	_ = h.d.Memory.WriteU32(scratch+uint64(h.rnd.IntN(scratchSize))&^3, h.rnd.Uint32()>>h.rnd.IntN(32))
}

// spoilRing writes any word of a ring, indices and events included.
func (h *hammer) spoilRing() {
	q := h.queue()
	_ = h.d.Memory.WriteU16(q.Avail+2*uint64(h.rnd.IntN(int(q.Size)+3)), uint16(h.rnd.Uint32()))
	if h.rnd.IntN(8) == 0 {
		_ = h.d.Memory.WriteU16(q.Used+2*uint64(h.rnd.IntN(4*int(q.Size)+3)), uint16(h.rnd.Uint32()))
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

// register writes any of the transport's registers at any time.
func (h *hammer) register() {
	c, n := h.d.Core, h.rnd.IntN(len(h.d.queues)+1)
	switch h.rnd.IntN(7) {
	case 0:
		c.SetQueueSize(n, uint16(h.rnd.Uint32()))
	case 1:
		c.SetQueueAddr(n, virtio.Part(h.rnd.IntN(4)), h.rnd.IntN(2) == 0, uint32(h.address()))
	case 2:
		c.SetQueueEnabled(n, h.rnd.IntN(2) == 0)
	case 3:
		h.rest("a reset of one ring", func() { c.ResetQueue(n) })
	case 4:
		c.SetDriverFeatures(uint32(h.rnd.IntN(3)), h.rnd.Uint32())
	case 5:
		h.rest("a write of the status", func() { c.SetStatus(uint8(h.rnd.Uint32())) })
	case 6:
		c.Counters()
	}
}
