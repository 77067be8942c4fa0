package queue

// State is what a queue knows beside its Config: where both sides stand in the
// rings. All else is in guest memory.
type State struct {
	// NextAvail and NextUsed are the indices of the next entries to take and to
	// write (last_avail_idx and the used index of other implementations).
	NextAvail, NextUsed uint16
	// Signalled is NextUsed as it was at the last decision about an interrupt.
	Signalled uint16
}

// State is for the owner, or for anybody once the owner has ended: what Config.Start
// takes to go on with the same rings, in a machine restored from a snapshot. Chains
// under way are not in it, so a device first finishes them (see UnderWay).
func (q *Queue) State() State {
	return State{NextAvail: q.nextAvail, NextUsed: q.nextUsed, Signalled: q.signalled}
}

// Overlaps tells whether a part of q shares a byte with a part of o. Two queues
// that do would each undo what the other one has checked.
func (q *Queue) Overlaps(o *Queue) bool {
	for _, a := range q.cfg.parts() {
		for _, b := range o.cfg.parts() {
			if a.overlaps(b) {
				return true
			}
		}
	}
	return false
}

// part is one of the three parts of a queue.
type part struct {
	name             string
	gpa, size, align uint64
}

// parts are descriptor table, available ring and used ring, with their sizes and
// alignments (section 2.7).
func (c *Config) parts() [3]part {
	n := uint64(c.Size)
	return [3]part{
		{"descriptor table", c.Desc, descSize * n, 16},
		{"available ring", c.Driver, availHead + 2*n + eventSize, 2},
		{"used ring", c.Device, usedHead + usedElem*n + eventSize, 4},
	}
}

// overlaps is for parts that lie in RAM, whose ends do not wrap around.
func (p part) overlaps(o part) bool { return p.gpa < o.gpa+o.size && o.gpa < p.gpa+p.size }
