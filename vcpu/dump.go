package vcpu

import (
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/gureum/gureum/kvm"
)

// Dump writes what each vCPU is doing, for a person to read: registers, the instruction, exit
// counts. Running vCPUs are paused for the while.
func (g *Group) Dump(w io.Writer) error {
	g.op.Lock()
	defer g.op.Unlock()
	state := g.State()
	if state == StateClosed {
		return &StateError{Op: "dump", State: state}
	}
	if state == StateRunning {
		if err := g.pause(); err == nil {
			defer func() { _ = g.resume() }()
		} else if errors.Is(err, errThread) {
			return err
		}
		// A group that stopped meanwhile is as good to look at.
	}
	var b strings.Builder
	fmt.Fprintf(&b, "%d vcpus, %s\n", len(g.cpus), state)
	if cause, ok := g.Cause(); ok {
		fmt.Fprintf(&b, "ended by %v\n", cause.Err)
	}
	for _, c := range g.cpus {
		fmt.Fprintf(&b, "vcpu %d, APIC id %d\n", c.index, g.topology.APICID(c.index))
		r := c.registers()
		r.write(&b, "  ")
		c.writeCounters(&b)
	}
	_, err := io.WriteString(w, b.String())
	return err
}

func (c *cpu) writeCounters(b *strings.Builder) {
	k := c.counters()
	fmt.Fprintf(b, "  exits %d", k.Total())
	k.Each(func(r kvm.ExitReason, n uint64) { fmt.Fprintf(b, ", %s %d", r, n) })
	fmt.Fprintf(b, "; interrupted %d\n", k.Interrupted)
}
