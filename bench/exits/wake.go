package exits

import (
	"cmp"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"sync"

	"github.com/gureum/gureum/bench/trace"
)

// wakeTrace records what wakes the guest's first CPU for its device: when KVM has the interrupt
// for the CPU's local APIC (trace event kvm:kvm_apic_accept_irq), by an irqfd or however the VMM
// does it, and when the CPU enters the guest again (kvm:kvm_entry). A thread of the kernel's own
// delivers an irqfd that goes by the I/O APIC, so the first are recorded of everybody. Times are
// ticks of the host's time-stamp counter: other clocks are told in microseconds.
type wakeTrace struct{ interrupts, entries *trace.Buffer }

func newWakeTrace() (*wakeTrace, error) {
	clock, room := trace.Setting{File: "trace_clock", Value: "x86-tsc"}, trace.Setting{File: "buffer_size_kb", Value: "2048"}
	interrupts, err := trace.New(
		clock, room,
		trace.Setting{File: "events/kvm/kvm_apic_accept_irq/filter", Value: fmt.Sprintf("apicid == 0 && vec == %d", deviceVector)},
		trace.Setting{File: "events/kvm/kvm_apic_accept_irq/enable", Value: "1"},
	)
	if err != nil {
		return nil, err
	}
	entries, err := trace.New(clock, room, trace.Setting{File: "events/kvm/kvm_entry/enable", Value: "1"})
	if err != nil {
		return nil, errors.Join(err, interrupts.Close())
	}
	return &wakeTrace{interrupts, entries}, nil
}

func (w *wakeTrace) close() error { return errors.Join(w.interrupts.Close(), w.entries.Close()) }

// follow runs something that starts a VMM on this thread, and gives what was recorded of that,
// for parseWakes.
func (w *wakeTrace) follow(run func() error) (string, error) {
	var entries string
	interrupts, err := w.interrupts.Record(func() (err error) {
		entries, err = w.entries.Follow(run)
		return err
	})
	return interrupts + entries, err
}

// deviceVector is VECTOR_DEVICE of guest/guest.h.
const deviceVector = 0x40

// wakeLine is "gureum-123  [000] d..1.  123456789: kvm_apic_accept_irq: apicid 0 vec 64 (Fixed|edge)",
// or "vcpu0-124 [000] d..1. 123456999: kvm_entry: vcpu 0, rip 0x101234".
var wakeLine = sync.OnceValue(func() *regexp.Regexp {
	return regexp.MustCompile(`(?m)^[^#\n]*-[0-9]+ +\[[0-9]+\] [^:\n]* ([0-9]+): (` + entryOfFirst + `\b|kvm_apic_accept_irq: )`)
})

const entryOfFirst = "kvm_entry: vcpu 0"

// parseWakes gives the time from each interrupt to the next entry, in their order. tick is the
// nanoseconds of one of the trace's.
func parseWakes(text string, tick float64) []float64 {
	type event struct {
		at    uint64
		entry bool
	}
	var events []event
	for _, line := range wakeLine().FindAllStringSubmatch(text, -1) {
		at, err := strconv.ParseUint(line[1], 10, 64)
		if err != nil {
			return nil
		}
		events = append(events, event{at, line[2] == entryOfFirst})
	}
	slices.SortStableFunc(events, func(a, b event) int { return cmp.Compare(a.at, b.at) })
	var wakes []float64
	var asked *event // that the CPU has not entered since
	for i, e := range events {
		switch {
		case !e.entry && asked == nil:
			asked = &events[i]
		case e.entry && asked != nil:
			wakes = append(wakes, float64(e.at-asked.at)*tick)
			asked = nil
		}
	}
	return wakes
}

// lastWakes are the events of a figure: the last so many, as the guest warms up first, in
// ascending order. There are fewer if the buffer was too small, or the interrupt came before
// the guest had halted.
func lastWakes(wakes []float64, events int) []float64 {
	last := slices.Clone(wakes[max(len(wakes)-events, 0):])
	slices.Sort(last)
	return last
}
