package suite

import (
	"cmp"
	"fmt"
	"io"
	"slices"
	"strings"
	"text/tabwriter"

	"github.com/gureum/gureum/bench/result"
)

// Print writes a table for each group: medians, with the range from the first to the third
// quartile as its share of the median, and the ratio to gureum's.
func Print(w io.Writer, r *result.Report) error {
	unit := "time is the host's clock"
	if r.Clock == result.ClockInstructions {
		unit = "time is counted in instructions of the emulated host, one a nanosecond: it says nothing of cycles and caches"
	}
	fmt.Fprintf(w, "%s; %s, %d CPUs; %s\n", r.Version, cmp.Or(r.Environment.CPU, "unknown CPU"), r.Environment.CPUs, unit)
	for _, g := range groups {
		if err := printGroup(w, r, g.name); err != nil {
			return err
		}
	}
	for _, n := range r.Notes {
		fmt.Fprintf(w, "\n%s: %s\n", strings.TrimPrefix(n.Group+" "+n.Kind, " "), n.Text)
	}
	if r.Interrupted {
		fmt.Fprintln(w, "\ninterrupted: not all that was asked for is here")
	}
	return nil
}

func printGroup(w io.Writer, r *result.Report, group string) error {
	var subjects []string
	type line struct{ figure, of string }
	var lines []line
	series := map[result.Key]result.Series{}
	for _, s := range r.Series {
		if s.Group != group {
			continue
		}
		series[s.Key] = s
		if !slices.Contains(subjects, s.Subject) {
			subjects = append(subjects, s.Subject)
		}
		if l := (line{s.Figure, s.Case}); !slices.Contains(lines, l) {
			lines = append(lines, l)
		}
	}
	if len(lines) == 0 {
		return nil
	}
	table := tabwriter.NewWriter(w, 0, 8, 2, ' ', 0)
	fmt.Fprintf(table, "\n%s", group)
	for _, s := range subjects {
		fmt.Fprintf(table, "\t%s\t", s)
	}
	fmt.Fprintln(table)
	for _, l := range lines {
		name := l.figure
		if l.of != "" {
			name += " (" + l.of + ")"
		}
		fmt.Fprint(table, name)
		own, ours := series[result.Key{Group: group, Figure: l.figure, Case: l.of, Subject: "gureum"}]
		for _, subject := range subjects {
			s, there := series[result.Key{Group: group, Figure: l.figure, Case: l.of, Subject: subject}]
			if !there {
				fmt.Fprint(table, "\t-\t")
				continue
			}
			fmt.Fprintf(table, "\t%s\t", quantity(s))
			if ours && subject != "gureum" && result.Median(own.Samples) > 0 {
				fmt.Fprintf(table, "×%.2f", result.Median(s.Samples)/result.Median(own.Samples))
			}
		}
		fmt.Fprintln(table)
	}
	return table.Flush()
}

// quantity is a series in words: its median, and how far its quartiles are apart.
func quantity(s result.Series) string {
	median := result.Median(s.Samples)
	text := human(median, s.Unit)
	if spread := result.Quantile(s.Samples, 0.75) - result.Quantile(s.Samples, 0.25); len(s.Samples) > 2 && median != 0 {
		text += fmt.Sprintf(" ±%.0f%%", 50*spread/median)
	}
	return text
}

// steps of units, each with what it is of the one before.
type step struct {
	name string
	of   float64
}

func human(v float64, unit string) string {
	var steps []step
	switch unit {
	case result.Nanoseconds:
		steps = []step{{"ns", 1}, {"µs", 1e3}, {"ms", 1e3}, {"s", 1e3}}
	case result.Bytes:
		steps = []step{{"B", 1}, {"KiB", 1024}, {"MiB", 1024}, {"GiB", 1024}}
	case result.BytesPerSec:
		steps = []step{{"B/s", 1}, {"kB/s", 1e3}, {"MB/s", 1e3}, {"GB/s", 1e3}}
	case result.PerSecond:
		steps = []step{{"/s", 1}, {"k/s", 1e3}, {"M/s", 1e3}}
	default:
		return fmt.Sprintf("%.4g", v)
	}
	name := steps[0].name
	for _, s := range steps[1:] {
		if v < s.of {
			break
		}
		v, name = v/s.of, s.name
	}
	return fmt.Sprintf("%.3g %s", v, name)
}
