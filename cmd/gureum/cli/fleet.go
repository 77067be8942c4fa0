package cli

import (
	"context"
	"errors"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/gureum/gureum/fleet"
	"github.com/gureum/gureum/fleet/state"
	"github.com/gureum/gureum/vm"
)

// openFleet names the fleet of this user.
func openFleet() (*fleet.Fleet, error) {
	return fleet.Open(Version + revision())
}

// fleetError gives errors of the fleet their exit status: what the user named or asked
// for wrong is usage, what the host cannot do is the host's, anything else the machine's.
func fleetError(err error) error {
	var input *vm.InputError
	var host *vm.HostError
	var status *statusError
	switch {
	case err == nil, errors.As(err, &status), errors.As(err, &host):
		return err
	case errors.As(err, &input), errors.Is(err, state.ErrNotFound), errors.Is(err, state.ErrNoNetwork), errors.Is(err, state.ErrAmbiguous), errors.Is(err, state.ErrExists):
		return err
	}
	return machineErrorf("%w", err)
}

// isGone tells whether the error is that a machine is not there.
func isGone(err error) bool { return errors.Is(err, state.ErrNotFound) }

// each makes a command of a function that is called for each machine or network named.
// All are tried, and what the function answers is printed.
func each(s Streams, cmd *cobra.Command, f func(ctx context.Context, fl *fleet.Fleet, ref string) (line any, err error)) *cobra.Command {
	cmd.Args = cobra.MinimumNArgs(1)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		fl, err := openFleet()
		if err != nil {
			return err
		}
		var errs []error
		for _, ref := range args {
			line, err := f(cmd.Context(), fl, ref)
			if err != nil {
				errs = append(errs, err)
				continue
			}
			fmt.Fprintln(s.Out, line)
		}
		return fleetError(errors.Join(errs...))
	}
	return cmd
}

// eachNamed is each, and prints the names of those that the function worked for.
func eachNamed(s Streams, cmd *cobra.Command, f func(ctx context.Context, fl *fleet.Fleet, ref string) error) *cobra.Command {
	return each(s, cmd, func(ctx context.Context, fl *fleet.Fleet, ref string) (any, error) { return ref, f(ctx, fl, ref) })
}

func newStartCommand(s Streams) *cobra.Command {
	var waiting waitOptions
	cmd := eachNamed(s, &cobra.Command{
		Use:   "start MACHINE...",
		Short: "Start machines that were created or have ended",
		Long: `Start starts machines. It returns when their first instruction ran, or with --wait-for
when the guest is up; one that does not come up runs on, and the error says how far it
came.`,
		Example: "  gureum start web\n  gureum start --wait-for ssh web db",
		PreRunE: func(*cobra.Command, []string) error { return waiting.check() },
	}, func(ctx context.Context, fl *fleet.Fleet, ref string) error {
		if err := fl.Start(ctx, ref, fleet.StartOptions{}); err != nil {
			return err
		}
		return waiting.wait(ctx, fl, ref)
	})
	waiting.addFlags(cmd.Flags())
	return cmd
}

func newStopCommand(s Streams) *cobra.Command {
	timeout := fleet.DefaultStop
	cmd := eachNamed(s, &cobra.Command{
		Use:   "stop MACHINE...",
		Short: "Have machines switch themselves off",
		Long: `Stop asks the guest to switch itself off, by its agent or the power button, and waits
for its end. A guest that takes longer than --timeout is killed.`,
		Example: "  gureum stop web\n  gureum stop --timeout 5s web db",
	}, func(ctx context.Context, fl *fleet.Fleet, ref string) error {
		return fl.Stop(ctx, ref, timeout)
	})
	cmd.Flags().DurationVarP(&timeout, "timeout", "t", timeout, "kill a guest that takes longer than this `DURATION`")
	return cmd
}

func newKillCommand(s Streams) *cobra.Command {
	return eachNamed(s, &cobra.Command{
		Use:     "kill MACHINE...",
		Short:   "End machines as if their power were cut",
		Example: "  gureum kill web",
	}, func(ctx context.Context, fl *fleet.Fleet, ref string) error {
		return fl.Kill(ctx, ref)
	})
}

func newRemoveCommand(s Streams) *cobra.Command {
	var force bool
	cmd := eachNamed(s, &cobra.Command{
		Use:     "rm MACHINE...",
		Short:   "Remove machines, their disks and logs",
		Long:    "Rm removes machines that do not run, with the layers that they wrote on images.\nDisks that were given as files stay.",
		Example: "  gureum rm web\n  gureum rm --force web db",
	}, func(ctx context.Context, fl *fleet.Fleet, ref string) error {
		err := fl.Remove(ctx, ref, force)
		if force && errors.Is(err, state.ErrNotFound) {
			return nil
		}
		return err
	})
	cmd.Flags().BoolVarP(&force, "force", "f", false, "kill those that run; one that is not there is no error")
	return cmd
}

func newWaitCommand(s Streams) *cobra.Command {
	return each(s, &cobra.Command{
		Use:   "wait MACHINE...",
		Short: "Wait for machines to end, and print their exit statuses",
		Long: `Wait waits until none of the machines runs, and prints for each the exit status of its
command. A machine without one has 0 when its guest switched itself off, 137 when it
was killed, 125 when it failed.`,
		Example: "  gureum wait job",
	}, func(ctx context.Context, fl *fleet.Fleet, ref string) (any, error) {
		status, err := fl.Wait(ctx, ref)
		return status.Status(), err
	})
}
