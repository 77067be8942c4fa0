// Package bench measures what virtualization costs: from the exec of a virtual
// machine monitor (VMM) to the end of its guest, and the memory that it takes
// beside the guest's. Peers run side by side with Gureum, on the same kernel and
// initial RAM disk, in one run.
//
// The bench program calls it, on a host with KVM. In the lab's deterministic mode
// time is the count of instructions that the whole host executed, one a
// nanosecond: figures then agree from run to run, but they are not cycles, and
// say nothing of caches.
package bench

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os/exec"
	"regexp"
	"slices"
	"strconv"
	"text/tabwriter"
	"time"
)

// Contestant is one VMM, with the command line that boots the guest.
type Contestant struct {
	Name string
	Args []string
	// Peer says that a failure concerns this contestant alone: it is told on
	// progress, and the contestant is left out.
	Peer bool
	// AnyStatus accepts an exit status other than 0, for a VMM that ends on a
	// reset of its guest only by an error.
	AnyStatus bool
}

// Boot is what one contestant needed, the median of its runs.
type Boot struct {
	Name string
	// Total is the time from exec to the end of the VMM.
	Total time.Duration
	// Guest is the guest's own clock when its first program ran.
	Guest time.Duration
	Runs  int
}

// bootTimeout ends a contestant that hangs. It is virtual time in the lab's
// deterministic mode.
const bootTimeout = 15 * time.Second

// upMark is what the guest of a boot measurement prints: /proc/uptime.
var upMark = regexp.MustCompile(`gureum-bench up ([0-9.]+)`)

// MeasureBoot boots each contestant a number of times, in turns, and tells of each
// run on progress.
func MeasureBoot(ctx context.Context, contestants []Contestant, runs int, progress io.Writer) ([]Boot, error) {
	totals := make([][]time.Duration, len(contestants))
	guests := make([][]time.Duration, len(contestants))
	failed := make([]bool, len(contestants))
	for range runs {
		for i, c := range contestants {
			if failed[i] {
				continue
			}
			total, guest, err := bootOnce(ctx, c)
			if ctx.Err() != nil {
				return nil, context.Cause(ctx)
			}
			if err != nil && c.Peer {
				fmt.Fprintf(progress, "%s is left out: %v\n", c.Name, err)
				failed[i] = true
				continue
			}
			if err != nil {
				return nil, fmt.Errorf("%s: %w", c.Name, err)
			}
			fmt.Fprintf(progress, "%s: %.3f s\n", c.Name, total.Seconds())
			totals[i] = append(totals[i], total)
			guests[i] = append(guests[i], guest)
		}
	}
	var boots []Boot
	for i, c := range contestants {
		if !failed[i] {
			boots = append(boots, Boot{Name: c.Name, Total: median(totals[i]), Guest: median(guests[i]), Runs: runs})
		}
	}
	return boots, nil
}

func bootOnce(ctx context.Context, c Contestant) (total, guest time.Duration, err error) {
	ctx, cancel := context.WithTimeout(ctx, bootTimeout)
	defer cancel()
	cmd := exec.CommandContext(ctx, c.Args[0], c.Args[1:]...)
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	started := time.Now()
	err = cmd.Run()
	total = time.Since(started)
	var exit *exec.ExitError
	if err != nil && (!c.AnyStatus || !errors.As(err, &exit)) {
		return 0, 0, fmt.Errorf("%w\n%s", err, out.Bytes())
	}
	mark := upMark.FindSubmatch(out.Bytes())
	if mark == nil {
		return 0, 0, fmt.Errorf("its guest did not come up:\n%s", out.Bytes())
	}
	up, err := strconv.ParseFloat(string(mark[1]), 64)
	return total, time.Duration(up * float64(time.Second)), err
}

func median(d []time.Duration) time.Duration {
	d = slices.Clone(d)
	slices.Sort(d)
	return d[len(d)/2]
}

// PrintBoots prints a table of boots.
func PrintBoots(w io.Writer, boots []Boot) error {
	table := tabwriter.NewWriter(w, 0, 8, 2, ' ', 0)
	fmt.Fprintln(table, "VMM\texec to exit, s\tguest's clock at user space, s\truns")
	for _, b := range boots {
		fmt.Fprintf(table, "%s\t%.3f\t%.2f\t%d\n", b.Name, b.Total.Seconds(), b.Guest.Seconds(), b.Runs)
	}
	return table.Flush()
}
