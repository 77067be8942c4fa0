package suite

import (
	"time"

	"github.com/gureum/gureum/bench/boot"
	"github.com/gureum/gureum/bench/footprint"
)

// groupCPU is the word for the cpu group.
const groupCPU = "cpu"

// lasts is about how long a step of a group takes beside the others: a machine's boot, seconds
// in which an idle one is looked at, a load. What the host does faster or slower it mostly does
// so for all.
func lasts(group string) time.Duration {
	switch group {
	case boot.Group:
		return time.Second
	case footprint.Group:
		return 8 * time.Second
	case groupCPU:
		return 10 * time.Second
	}
	return 3 * time.Second
}

// plan is how much work there is, and where in it one is.
type plan struct {
	groups  map[string]int // steps of each
	current string
	before  time.Duration // of the groups that are over
	steps   int           // made in the current group
	all     time.Duration
}

// newPlan asks each group for its steps, if nobody is left out.
func (r *run) newPlan() *plan {
	p := &plan{groups: map[string]int{}}
	for _, g := range r.Groups {
		one := *r
		one.Groups = []string{g}
		p.groups[g] = one.steps()
		p.all += time.Duration(p.groups[g]) * lasts(g)
	}
	return p
}

// enter goes on with a group. What the one before did not do of its steps is over as well.
func (p *plan) enter(group string) {
	p.before += time.Duration(p.groups[p.current]) * lasts(p.current)
	p.current, p.steps = group, 0
}

// next is how much is done, in milliseconds of the plan, when a step begins.
func (p *plan) next() (done, all int) {
	now := p.before + time.Duration(min(p.steps, p.groups[p.current]))*lasts(p.current)
	p.steps++
	return int(now.Milliseconds()), int(p.all.Milliseconds())
}
