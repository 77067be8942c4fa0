package cli

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"github.com/gureum/gureum/fleet"
)

func newPruneCommand(s Streams) *cobra.Command {
	var force, dry bool
	cmd := &cobra.Command{
		Use:   "prune",
		Short: "Remove machines that have ended, and what crashes left",
		Long: `Prune removes machines that ran and have ended, unless --restart has them start again,
with the layers that they wrote on images and their logs; folders and processes
without a machine, which a crash left; and what is left of them on the host's switch.
What looks after machines that run is started again, if a crash ended it.
It prints what it removed. Machines that were only created stay.

On a terminal it asks first; else it wants --force.`,
		Example: "  gureum prune\n  gureum prune --force\n  gureum prune --dry-run",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			fl, err := openFleet()
			if err != nil {
				return err
			}
			machines, strays, broken := fl.Prunable()
			switch {
			case dry:
				listPrunable(s.Out, machines, strays)
				return fleetError(broken)
			case !force && len(machines)+len(strays) > 0:
				if err := askPrune(s, machines, strays); err != nil {
					return err
				}
			}
			return fleetError(errors.Join(broken, prune(cmd.Context(), s.Out, fl, machines, strays)))
		},
	}
	cmd.Flags().BoolVarP(&force, "force", "f", false, "do not ask")
	cmd.Flags().BoolVar(&dry, "dry-run", false, "print what would be removed, and remove nothing")
	return cmd
}

func listPrunable(w io.Writer, machines []*fleet.Machine, strays []string) {
	for _, m := range machines {
		fmt.Fprintf(w, "machine %s %s\n", m.ID, m.Name)
	}
	for _, id := range strays {
		fmt.Fprintf(w, "stray %s\n", id)
	}
}

// askPrune asks on the terminal whether to go on.
func askPrune(s Streams, machines []*fleet.Machine, strays []string) error {
	if s.In == nil || !term.IsTerminal(int(s.In.Fd())) {
		return &statusError{StatusUsage, errors.New("prune asks on a terminal: give --force, or --dry-run to see what it would remove")}
	}
	listPrunable(s.Err, machines, strays)
	fmt.Fprint(s.Err, "Remove these? [y/N] ")
	answer, err := bufio.NewReader(io.LimitReader(s.In, 1<<10)).ReadString('\n')
	if err != nil && !errors.Is(err, io.EOF) {
		return err
	}
	switch strings.ToLower(strings.TrimSpace(answer)) {
	case "y", "yes":
		return nil
	}
	return machineErrorf("nothing was removed")
}

func prune(ctx context.Context, out io.Writer, fl *fleet.Fleet, machines []*fleet.Machine, strays []string) error {
	var errs []error
	for _, m := range machines {
		err := fl.Prune(ctx, m.ID)
		switch {
		case err == nil:
			listPrunable(out, []*fleet.Machine{m}, nil)
		case !isGone(err) && !errors.Is(err, fleet.ErrRunning): // started or removed meanwhile
			errs = append(errs, err)
		}
	}
	for _, id := range strays {
		err := fl.RemoveStray(ctx, id)
		if err == nil {
			listPrunable(out, nil, []string{id})
		}
		errs = append(errs, err)
	}
	errs = append(errs, fl.Tidy(ctx))
	if os.Geteuid() == 0 {
		errs = append(errs, fl.Repair(ctx))
	}
	return errors.Join(append(errs, fl.Attend())...)
}
