package compare

import (
	"fmt"
	"math"
	"slices"

	"github.com/gureum/gureum/bench/result"
)

// gureum is the subject that reports are about, even where its version is the same twice.
const gureum = "gureum"

// control tells whether a subject is the same in both reports, and not the one in question.
func control(subject string, before, after *result.Report) bool {
	if subject == gureum {
		return false
	}
	old, known := before.Environment.Peers[subject]
	now, still := after.Environment.Peers[subject]
	return known == still && old == now // the host itself is in neither
}

// environments tells in which way the reports' hosts differ.
func environments(before, after *result.Report) []string {
	warnings := []string{}
	a, b := before.Environment, after.Environment
	for _, of := range []struct{ what, old, now string }{
		{"CPU", a.CPU, b.CPU},
		{"number of CPUs", fmt.Sprint(a.CPUs), fmt.Sprint(b.CPUs)},
		{"kernel", a.Kernel, b.Kernel},
		{"KVM", a.KVM, b.KVM},
		{"hypervisor below the host", a.Virtual, b.Virtual},
		{"governor", a.Governor, b.Governor},
		{"SMT", a.SMT, b.SMT},
		{"transparent huge pages", a.THP, b.THP},
		{"clock source", a.Clocksource, b.Clocksource},
		{"mitigations", fmt.Sprint(a.Mitigations), fmt.Sprint(b.Mitigations)},
	} {
		if of.old != of.now {
			warnings = append(warnings, fmt.Sprintf("the hosts' %s differs: %q, then %q", of.what, of.old, of.now))
		}
	}
	if differ(a.MemoryBytes, b.MemoryBytes) {
		warnings = append(warnings, fmt.Sprintf("the hosts' memory differs: %d MiB, then %d MiB", a.MemoryBytes>>20, b.MemoryBytes>>20))
	}
	for i, r := range []*result.Report{before, after} {
		name := [...]string{"old", "new"}[i]
		if r.Interrupted {
			warnings = append(warnings, "the "+name+" report was interrupted: it does not have all")
		}
		for _, n := range r.Notes {
			if n.Kind == result.KindNoise {
				warnings = append(warnings, "the "+name+" report says of its host: "+n.Text)
			}
		}
	}
	return warnings
}

// differ tells memory sizes apart by more than what a kernel of another size leaves.
func differ(a, b uint64) bool {
	return math.Abs(float64(a)-float64(b)) > 0.01*float64(max(a, b))
}

// means makes the geometric means, in the order of the figures.
func means(figures []Figure) []Mean {
	all, logs := []Mean{}, []float64{}
	for _, f := range figures {
		if f.Change == nil || f.New.Median <= 0 {
			continue
		}
		m := Mean{Group: f.Group, Subject: f.Subject, Unit: f.Unit, Direction: f.Direction}
		i := slices.IndexFunc(all, func(o Mean) bool {
			return o.Group == m.Group && o.Subject == m.Subject && o.Unit == m.Unit && o.Direction == m.Direction
		})
		if i < 0 {
			i, all, logs = len(all), append(all, m), append(logs, 0)
		}
		all[i].Figures++
		logs[i] += math.Log1p(*f.Change)
	}
	for i := range all {
		all[i].Change = math.Expm1(logs[i] / float64(all[i].Figures))
	}
	return all
}
