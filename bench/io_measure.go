package bench

import (
	"context"
	"fmt"
	"io"
	"os/exec"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"text/tabwriter"
	"time"
)

// IOResult is a contestant's figures: for each row, and for each row of costs,
// what each round gave.
type IOResult struct {
	Name    string
	Figures [][]float64
	Costs   [][]float64
}

// ioCost is what all rows together cost the host.
type ioCost struct {
	name, unit string
	of         func(*syscall.Rusage) float64
}

// ioCosts are taken of the VMM's process, its guest included.
var ioCosts = []ioCost{
	{"CPU, guest and VMM", "s, less is better", func(u *syscall.Rusage) float64 { return seconds(u.Utime) }},
	{"CPU, host's kernel", "s, less is better", func(u *syscall.Rusage) float64 { return seconds(u.Stime) }},
	{"waits of its threads", "less is better", func(u *syscall.Rusage) float64 { return float64(u.Nvcsw) }},
	{"threads taken off a CPU", "less is better", func(u *syscall.Rusage) float64 { return float64(u.Nivcsw) }},
}

func seconds(t syscall.Timeval) float64 { return time.Duration(t.Nano()).Seconds() }

// ioTimeout ends a contestant that hangs. It is virtual time in the lab's
// deterministic mode.
const ioTimeout = 10 * time.Minute

// MeasureIO has each contestant's guest make all rows, in a number of rounds. A
// round that fails is told on progress and left out; a contestant that is not a
// peer must succeed in one of them.
func MeasureIO(ctx context.Context, contestants []Contestant, rows []IORow, rounds int, progress io.Writer) ([]IOResult, error) {
	results := make([]IOResult, len(contestants))
	for i, c := range contestants {
		results[i] = IOResult{Name: c.Name, Figures: make([][]float64, len(rows)), Costs: make([][]float64, len(ioCosts))}
	}
	var last error
	for range rounds {
		for i, c := range contestants {
			figures, costs, err := ioOnce(ctx, c, rows)
			if ctx.Err() != nil {
				return nil, context.Cause(ctx)
			}
			if err != nil {
				last = fmt.Errorf("%s: %w", c.Name, err)
				fmt.Fprintf(progress, "a round is left out: %v\n", last)
				continue
			}
			results[i].add(figures, costs)
			fmt.Fprintf(progress, "%s: done, %.1f s of CPU\n", c.Name, costs[0]+costs[1])
		}
	}
	var done []IOResult
	for i, r := range results {
		switch {
		case len(r.Costs[0]) > 0:
			done = append(done, r)
		case !contestants[i].Peer:
			return nil, last
		}
	}
	return done, nil
}

func (r *IOResult) add(figures, costs []float64) {
	for i, f := range figures {
		r.Figures[i] = append(r.Figures[i], f)
	}
	for i, c := range costs {
		r.Costs[i] = append(r.Costs[i], c)
	}
}

// rowMark is what a guest prints for each row.
var rowMark = regexp.MustCompile(`gureum-bench row (\d+) ([^\r\n]*)`)

func ioOnce(ctx context.Context, c Contestant, rows []IORow) (figures, costs []float64, err error) {
	ctx, cancel := context.WithTimeout(ctx, ioTimeout)
	defer cancel()
	cmd := exec.CommandContext(ctx, c.Args[0], c.Args[1:]...)
	out, err := cmd.CombinedOutput()
	if err != nil {
		return nil, nil, fmt.Errorf("%w\n%s", err, out)
	}
	usage := cmd.ProcessState.SysUsage().(*syscall.Rusage)
	for _, cost := range ioCosts {
		costs = append(costs, cost.of(usage))
	}
	figures = make([]float64, len(rows))
	for _, m := range rowMark.FindAllSubmatch(out, -1) {
		i, err := strconv.Atoi(string(m[1]))
		if err != nil || i >= len(rows) {
			return nil, nil, fmt.Errorf("its guest printed %q", m[0])
		}
		figures[i] = figure(string(m[2]), rows[i].figure)
	}
	for i, f := range figures {
		if f == 0 {
			return nil, nil, fmt.Errorf("its guest gave no figure for %q:\n%s", rows[i].Name, out)
		}
	}
	return figures, costs, nil
}

// figure finds NAME=NUMBER in a line of the load program; 0 if it is not there.
func figure(line, name string) float64 {
	for _, word := range strings.Fields(line) {
		if value, ok := strings.CutPrefix(word, name+"="); ok {
			f, err := strconv.ParseFloat(value, 64)
			if err == nil {
				return f
			}
		}
	}
	return 0
}

// PrintIO prints a table with a column for each contestant: the median of the
// rounds, and with several of them the smallest and the largest figure.
func PrintIO(w io.Writer, rows []IORow, results []IOResult) error {
	table := tabwriter.NewWriter(w, 0, 8, 2, ' ', 0)
	fmt.Fprint(table, "load\tunit")
	for _, r := range results {
		fmt.Fprintf(table, "\t%s", r.Name)
	}
	fmt.Fprintln(table)
	line := func(name, unit string, of func(IOResult) []float64) {
		fmt.Fprintf(table, "%s\t%s", name, unit)
		for _, r := range results {
			fmt.Fprintf(table, "\t%s", spread(of(r)))
		}
		fmt.Fprintln(table)
	}
	for i, row := range rows {
		line(row.Name, row.unit, func(r IOResult) []float64 { return r.Figures[i] })
	}
	for i, c := range ioCosts {
		line(c.name, c.unit, func(r IOResult) []float64 { return r.Costs[i] })
	}
	return table.Flush()
}

// spread is the median of some figures, and their range.
func spread(f []float64) string {
	if len(f) == 1 {
		return fmt.Sprintf("%.4g", f[0])
	}
	f = slices.Clone(f)
	slices.Sort(f)
	return fmt.Sprintf("%.4g (%.4g to %.4g)", f[len(f)/2], f[0], f[len(f)-1])
}
