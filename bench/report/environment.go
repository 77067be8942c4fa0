package report

import (
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/gureum/gureum/bench/result"
)

// Row is a line of a table of two columns. A value may have several lines.
type Row struct{ Name, Value string }

// Environment is what decides on figures, in words; what the host does not tell is "".
func Environment(e result.Environment) []Row {
	rows := []Row{
		{"CPU", e.CPU},
		{"CPUs", strconv.Itoa(e.CPUs)},
		{"memory", quantity(float64(e.MemoryBytes), result.Bytes)},
		{"kernel", e.Kernel},
		{"KVM", e.KVM},
		{"below this host", e.Virtual},
		{"governor", e.Governor},
		{"SMT", e.SMT},
		{"huge pages", e.THP},
		{"clock source", e.Clocksource},
		{"mitigations", strings.Join(e.Mitigations, "\n")},
	}
	for _, name := range slices.Sorted(maps.Keys(e.Peers)) {
		rows = append(rows, Row{name, e.Peers[name]})
	}
	return rows
}
