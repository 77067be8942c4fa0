package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"os"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"github.com/gureum/gureum/fleet"
)

func newStatsCommand(s Streams) *cobra.Command {
	var o statsOptions
	cmd := &cobra.Command{
		Use:   "stats [MACHINE...]",
		Short: "Show what machines use of the host",
		Long: `Stats shows what the machines that run use, all of them if none are named: the share
of a CPU since the line before (or in half a second, with --no-stream), the host's
memory that the guest's takes up and what the machine's process takes up beside it,
what it read and wrote, and how often its virtual CPUs left the guest for the process.

On a terminal the table is drawn again; else each sample follows the one before, with
-o json as one object a line. A machine that does not answer within 2 s is told of.`,
		Example: "  gureum stats\n  gureum stats --no-stream web db\n  gureum stats -o json --interval 10s >> stats.jsonl",
		RunE: func(cmd *cobra.Command, args []string) error {
			if o.interval < minInterval {
				return fmt.Errorf("interval %s: give at least %s", o.interval, minInterval)
			}
			fl, err := openFleet()
			if err != nil {
				return err
			}
			return fleetError(following(cmd.Context(), func(ctx context.Context) error { return o.run(ctx, s, fl, args) }))
		},
	}
	addOutputFlag(cmd.Flags(), &o.form, "table")
	cmd.Flags().BoolVar(&o.once, "no-stream", false, "print one sample and end")
	cmd.Flags().DurationVar(&o.interval, "interval", 2*time.Second, "time between samples, a `DURATION`")
	return cmd
}

// statsOptions are the flags of gureum stats.
type statsOptions struct {
	form     outputForm
	once     bool
	interval time.Duration
}

const (
	minInterval = 100 * time.Millisecond
	// onceInterval is the time over which --no-stream looks at the CPUs.
	onceInterval = 500 * time.Millisecond
)

func (o *statsOptions) run(ctx context.Context, s Streams, fl *fleet.Fleet, refs []string) error {
	before := map[string]*fleet.Sample{}
	for first := true; ; first = false {
		machines, err := statsMachines(fl, refs)
		if err != nil {
			return err
		}
		samples := fl.Stats(ctx, machines)
		if ctx.Err() != nil {
			return ctx.Err()
		}
		for i := range samples {
			if old := before[samples[i].ID]; old != nil {
				samples[i].Since(old)
			}
			before[samples[i].ID] = &samples[i]
		}
		if !first || !o.once {
			if err := o.print(s.Out, samples); err != nil {
				return err
			}
		}
		interval := o.interval
		if o.once {
			if !first {
				return nil
			}
			interval = onceInterval
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(interval):
		}
	}
}

// statsMachines are those to tell of. One that was named must run.
func statsMachines(fl *fleet.Fleet, refs []string) ([]*fleet.Machine, error) {
	if len(refs) == 0 {
		list, broken := fl.List()
		list = running(list)
		if len(list) > 0 {
			broken = nil // ps tells of it
		}
		return list, broken
	}
	var out []*fleet.Machine
	var errs []error
	for _, ref := range refs {
		m, err := fl.Get(ref)
		if err == nil && len(running([]*fleet.Machine{m})) == 0 {
			err = fmt.Errorf("%s: %w: gureum start %s", m.Name, fleet.ErrNotRunning, m.Name)
		}
		errs = append(errs, err)
		out = append(out, m)
	}
	return out, errors.Join(errs...)
}

// clearScreen moves to the top of a terminal and empties it (ECMA-48, CUP and ED).
const clearScreen = "\x1b[H\x1b[J"

func (o *statsOptions) print(w io.Writer, samples []fleet.Sample) error {
	if o.form.form != "table" {
		if o.once {
			return o.form.print(w, samples, nil)
		}
		for i := range samples {
			if err := o.form.printLine(w, samples[i], nil); err != nil {
				return err
			}
		}
		return nil
	}
	if f, is := w.(*os.File); is && !o.once && term.IsTerminal(int(f.Fd())) {
		if _, err := io.WriteString(w, clearScreen); err != nil {
			return err
		}
	}
	return printSamples(w, samples)
}

func printSamples(w io.Writer, samples []fleet.Sample) error {
	table := tabwriter.NewWriter(w, 0, 8, 2, ' ', 0)
	fmt.Fprintln(table, "ID\tNAME\tCPU\tGUEST RSS\tOF\tVMM RSS\tDISK R/W\tNET IN/OUT\tEXITS")
	for i := range samples {
		m := &samples[i]
		if m.Error != "" {
			fmt.Fprintf(table, "%s\t%s\tdoes not answer\t\t\t\t\t\t\n", m.ID, m.Name)
			continue
		}
		cpu := "-"
		if m.CPUPercent != nil {
			cpu = fmt.Sprintf("%.1f%%", *m.CPUPercent)
		}
		fmt.Fprintf(table, "%s\t%s\t%s\t%s\t%s\t%s\t%s / %s\t%s / %s\t%d\n", m.ID, m.Name, cpu, sizeText(m.Guest), sizeText(m.Memory), sizeText(m.VMM),
			sizeText(m.DiskRead), sizeText(m.DiskWritten), sizeText(m.NetIn), sizeText(m.NetOut), m.Exits)
	}
	return table.Flush()
}

// sizeText writes a size with three digits, as 7.2M.
func sizeText(n uint64) string {
	if n < 1024 {
		return fmt.Sprintf("%dB", n)
	}
	f, unit := float64(n), ""
	for _, u := range []string{"K", "M", "G", "T", "P", "E"} {
		if f < 1000 {
			break
		}
		f, unit = f/1024, u
	}
	if f >= 99.95 {
		return fmt.Sprintf("%d%s", int(math.Round(f)), unit)
	}
	return fmt.Sprintf("%.1f%s", f, unit)
}
