package cli

import (
	"context"
	"errors"
	"fmt"
	"os/signal"

	"github.com/spf13/cobra"
	"golang.org/x/sys/unix"

	"github.com/gureum/gureum/fleet"
)

func newLogsCommand(s Streams) *cobra.Command {
	o := fleet.LogOptions{Tail: -1}
	cmd := &cobra.Command{
		Use:   "logs MACHINE",
		Short: "Print what a machine wrote",
		Long: `Logs prints the output of the machine's command, or its console's if it has no command.
The last 2 to 4 MiB are kept, of all its runs.`,
		Example: "  gureum logs job\n  gureum logs -f web\n  gureum logs --console --tail 50 job",
		Args:    cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if cmd.Flags().Changed("tail") && o.Tail < 0 {
				return fmt.Errorf("tail %d: give a number of lines", o.Tail)
			}
			fl, err := openFleet()
			if err != nil {
				return err
			}
			return fleetError(following(cmd.Context(), func(ctx context.Context) error {
				return fl.Logs(ctx, args[0], o, s.Out)
			}))
		},
	}
	f := cmd.Flags()
	f.BoolVarP(&o.Follow, "follow", "f", false, "go on until the machine has ended")
	f.BoolVar(&o.Console, "console", false, "of the console, even if the machine has a command")
	f.IntVarP(&o.Tail, "tail", "n", -1, "the last `LINES` alone")
	return cmd
}

// following calls what may go on until somebody has seen enough: Ctrl-C is no failure,
// and neither is a reader that went away.
func following(ctx context.Context, f func(context.Context) error) error {
	ctx, stop := signal.NotifyContext(ctx, unix.SIGINT, unix.SIGTERM)
	defer stop()
	err := f(ctx)
	if ctx.Err() != nil && errors.Is(err, context.Canceled) || errors.Is(err, unix.EPIPE) {
		return nil
	}
	return err
}
