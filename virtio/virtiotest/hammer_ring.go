package virtiotest

import (
	"encoding/binary"
	"runtime"
	"time"
)

// ring is the hostile driver's side of a queue: honest bookkeeping, so that it can
// break one rule at a time.
type ring struct {
	q        *Queue
	style    style
	free     []uint16
	chains   [][]uint16 // by head: the descriptors of what is under way
	underWay int
	avail    uint16
	seen     uint16
	patience *time.Duration // how long it is worth waiting for chains to come back
}

const (
	maxPatience = 2 * time.Millisecond
	minPatience = 50 * time.Microsecond
)

func (h *hammer) newRing(q *Queue, s style) *ring {
	return &ring{q: q, style: s, free: q.free, chains: make([][]uint16, q.Size), patience: &h.patience[q.index]}
}

// publish makes the chain at head available.
func (r *ring) publish(head uint16) {
	m := r.q.d.Memory
	_ = m.WriteU16(r.q.Avail+4+2*uint64(r.avail%r.q.Size), head)
	r.avail++
	_ = m.WriteU16(r.q.Avail+2, r.avail)
}

// take is a free descriptor; the caller knows that there is one.
func (r *ring) take() uint16 {
	last := len(r.free) - 1
	i := r.free[last]
	r.free = r.free[:last]
	return i
}

// reap takes back what the device has given back. It gives false for what no honest
// device could have written: the hammer may have had its own rings overwritten.
func (r *ring) reap() bool {
	m := r.q.d.Memory
	idx, err := m.ReadU16(r.q.Used + 2)
	if err != nil || int(idx-r.seen) > r.underWay {
		return false
	}
	for ; r.seen != idx; r.seen++ {
		var elem [4]byte
		if m.ReadAt(elem[:], r.q.Used+4+8*uint64(r.seen%r.q.Size)) != nil {
			return false
		}
		id := binary.LittleEndian.Uint32(elem[:])
		if id >= uint32(r.q.Size) || len(r.chains[id]) == 0 {
			return false
		}
		r.free = append(r.free, r.chains[id]...)
		r.chains[id] = r.chains[id][:0]
		r.underWay--
	}
	return true
}

// settle gives the device time to give chains back. Queues whose chains do not come
// back (a device keeps buffers until it has something for them) are soon no longer
// waited for.
func (h *hammer) settle(r *ring) {
	m := r.q.d.Memory
	before := r.underWay
	if !h.look(r) || r.underWay == 0 {
		return
	}
	// At times no interrupt is wanted: then the driver comes back to it later.
	silent := h.rnd.IntN(8) / 7
	_ = m.WriteU16(r.q.Avail, uint16(silent))
	_ = m.WriteU16(r.q.Avail+4+2*uint64(r.q.Size), r.seen)
	if silent == 1 || *r.patience < minPatience && h.rnd.IntN(256) != 0 {
		runtime.Gosched()
		return
	}
	h.timer.Reset(max(*r.patience, minPatience))
	for h.look(r) && r.underWay > 0 && !h.broken() {
		// What came back before the device saw the wish would raise no interrupt.
		seen := r.seen
		_ = m.WriteU16(r.q.Avail+4+2*uint64(r.q.Size), seen)
		if h.look(r); r.seen != seen {
			continue
		}
		select {
		case <-h.d.irq.wake:
			continue
		case <-h.timer.C:
		}
		break
	}
	h.timer.Stop()
	if h.look(r); r.underWay < before {
		*r.patience = maxPatience
	} else {
		*r.patience /= 2
	}
}

func (h *hammer) look(r *ring) bool {
	if !r.reap() {
		h.lost = true
	}
	return !h.lost
}
