package vcpu

import "github.com/gureum/gureum/kvm"

// Counters count one vCPU's exits to user space since Start.
type Counters struct {
	CPU         int
	Interrupted uint64 // returns of KVM_RUN without an exit: kicks and signals

	byReason [kvm.NumExitReasons + 1]uint64
}

// Exits counts the exits with this reason. Reasons that have no name are counted as one.
func (c *Counters) Exits(r kvm.ExitReason) uint64 {
	return c.byReason[min(int(r), kvm.NumExitReasons)]
}

// Total counts the exits of all reasons.
func (c *Counters) Total() uint64 {
	var n uint64
	for _, x := range c.byReason {
		n += x
	}
	return n
}

// Each calls f for each reason that there have been exits with.
func (c *Counters) Each(f func(r kvm.ExitReason, n uint64)) {
	for r, n := range c.byReason {
		if n != 0 {
			f(kvm.ExitReason(r), n)
		}
	}
}

// Counters reads all vCPUs' counters. Allowed in any state; running vCPUs go on counting.
func (g *Group) Counters() []Counters {
	all := make([]Counters, len(g.cpus))
	for i, c := range g.cpus {
		all[i] = c.counters()
	}
	return all
}

func (c *cpu) counters() Counters {
	k := Counters{CPU: c.index, Interrupted: c.interrupted.Load()}
	for r := range c.exits {
		k.byReason[r] = c.exits[r].Load()
	}
	return k
}
