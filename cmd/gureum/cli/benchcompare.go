package cli

import (
	"cmp"
	"fmt"
	"io"
	"strings"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"github.com/gureum/gureum/bench/compare"
	"github.com/gureum/gureum/bench/host"
	benchreport "github.com/gureum/gureum/bench/report"
	"github.com/gureum/gureum/bench/result"
)

// statusWorse: something got worse by more than the threshold.
const statusWorse = 1

const compareHelp = `Compare says what changed between two results that --json wrote: for each figure the
medians with their 95% interval, the change, and how likely samples so far apart would be
if nothing had changed (p, by the Mann-Whitney U test). ~ is no difference.

A figure got worse or better if p is at most 0.05 and its median changed by more than the
threshold. The threshold is there for what one run cannot know: two starts of a host, or
of a program, differ a little. Four runs or more of each are needed to see any difference.

Figures of the host, and of a peer of one version, are controls: when these change it is
the host that changed. That is told, and does not count.

Exit status: 0, or 1 if a figure got worse, 2 for wrong input.`

func newBenchCompareCommand(s Streams) *cobra.Command {
	var threshold float64
	var output outputForm
	cmd := &cobra.Command{
		Use: "compare OLD.json NEW.json", Short: "Say what changed between two results", Long: compareHelp,
		Example: `  gureum bench compare old.json new.json
  gureum bench compare old.json new.json --threshold 2
  gureum bench compare old.json new.json -o json`,
		Args: cobra.ExactArgs(2),
		RunE: func(_ *cobra.Command, args []string) error {
			if !(threshold >= 0 && threshold <= 1000) {
				return fmt.Errorf("threshold %v: give 0 to 1000 percent", threshold)
			}
			before, err := result.Read(args[0])
			if err != nil {
				return err
			}
			after, err := result.Read(args[1])
			if err != nil {
				return err
			}
			c, err := compare.Reports(before, after, compare.Options{Threshold: threshold / 100})
			if err != nil {
				return fmt.Errorf("%s and %s: %w", args[0], args[1], err)
			}
			err = output.print(s.Out, c, func(w io.Writer) error { return benchreport.Changes(w, c, styleOf(s.Out)) })
			if err != nil {
				return machineErrorf("%w", err)
			}
			if c.Worse > 0 {
				return &statusError{status: statusWorse}
			}
			return nil
		},
	}
	cmd.Flags().Float64Var(&threshold, "threshold", 5, "a change counts if it is larger than this many `PERCENT`")
	addOutputFlag(cmd.Flags(), &output, "table")
	return cmd
}

func newBenchEnvCommand(s Streams) *cobra.Command {
	var output outputForm
	cmd := &cobra.Command{
		Use: "env", Short: "Show what of this host decides on figures", Args: cobra.NoArgs,
		Long:    "Env shows the host's CPU, kernel, mitigations, governor and kind of KVM, as they are\nrecorded with each result.",
		Example: "  gureum bench env\n  gureum bench env -o json",
		RunE: func(*cobra.Command, []string) error {
			e := host.Root("/").Environment()
			return output.print(s.Out, e, func(w io.Writer) error { return printEnvironment(w, e) })
		},
	}
	addOutputFlag(cmd.Flags(), &output, "table")
	return cmd
}

func printEnvironment(w io.Writer, e result.Environment) error {
	table := tabwriter.NewWriter(w, 0, 8, 2, ' ', 0)
	for _, row := range benchreport.Environment(e) {
		fmt.Fprintf(table, "%s\t%s\n", row.Name, strings.ReplaceAll(cmp.Or(row.Value, "-"), "\n", "\n\t"))
	}
	return table.Flush()
}
