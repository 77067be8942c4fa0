package cli

import (
	"errors"
	"fmt"
	"slices"

	"github.com/spf13/cobra"

	benchreport "github.com/gureum/gureum/bench/report"
	"github.com/gureum/gureum/bench/result"
	"github.com/gureum/gureum/bench/suite"
)

const showHelp = `Show prints results that --json wrote, as bench itself does, and writes them in the other
forms. Several files are joined: one host's results of one version, of other groups each.`

func newBenchShowCommand(s Streams) *cobra.Command {
	var o benchFiles
	cmd := &cobra.Command{
		Use: "show FILE.json...", Short: "Show results again, or join those of several groups", Long: showHelp,
		Example: `  gureum bench show result.json
  gureum bench show result.json --html report.html
  gureum bench show boot.json net.json --json both.json`,
		Args: cobra.MinimumNArgs(1),
		RunE: func(_ *cobra.Command, args []string) error {
			if err := o.check(); err != nil {
				return err
			}
			r, err := readReports(args)
			if err != nil {
				return err
			}
			if err := errors.Join(benchreport.Table(s.Out, r, styleOf(s.Out)), o.write(r)); err != nil {
				return machineErrorf("%w", err)
			}
			return nil
		},
	}
	o.addFlags(cmd.Flags())
	return cmd
}

// readReports reads reports and joins them, groups in their order.
func readReports(paths []string) (*result.Report, error) {
	var all []*result.Report
	for _, path := range paths {
		r, err := result.Read(path)
		if err != nil {
			return nil, err
		}
		all = append(all, r)
	}
	r, err := result.Join(all...)
	if err != nil {
		return nil, fmt.Errorf("these do not fit together: %w", err)
	}
	names, _ := suite.Groups()
	place := func(group string) int { return slices.Index(names, group) }
	slices.SortStableFunc(r.Series, func(a, b result.Series) int { return place(a.Group) - place(b.Group) })
	slices.SortStableFunc(r.Notes, func(a, b result.Note) int { return place(a.Group) - place(b.Group) })
	return r, nil
}
