package cli

import (
	"context"
	"fmt"
	"os"

	"github.com/spf13/cobra"

	"github.com/gureum/gureum/fleet"
	"github.com/gureum/gureum/fleet/state"
	"github.com/gureum/gureum/vm"
)

func newCreateCommand(s Streams) *cobra.Command {
	var o runOptions
	o.console = "auto"
	cmd := &cobra.Command{
		Use:   "create [flags] [-- COMMAND [ARG...]]",
		Short: "Make a machine without starting it",
		Long: `Create makes a machine, as gureum run --detach does, and prints its id. gureum start
starts it.`,
		Example: `  gureum create --name web --memory 1G --disk debian:12
  gureum start web`,
		Args: guestCommand("create"),
		RunE: func(cmd *cobra.Command, args []string) error {
			o.spec.Command = args
			fl, err := openFleet()
			if err != nil {
				return err
			}
			record, err := o.create(cmd.Context(), fl)
			if err != nil {
				return fleetError(err)
			}
			fmt.Fprintln(s.Out, record.ID)
			return nil
		},
	}
	cmd.Flags().SetInterspersed(false)
	addMachineFlags(cmd.Flags(), &o.spec)
	return cmd
}

func newRestartCommand(s Streams) *cobra.Command {
	timeout := fleet.DefaultStop
	cmd := eachNamed(s, &cobra.Command{
		Use:     "restart MACHINE...",
		Short:   "Stop machines and start them again",
		Long:    "Restart stops machines, as gureum stop does, and starts them; those that do not run\nare just started.",
		Example: "  gureum restart web",
	}, func(ctx context.Context, fl *fleet.Fleet, ref string) error {
		return fl.Restart(ctx, ref, timeout)
	})
	cmd.Flags().DurationVarP(&timeout, "timeout", "t", timeout, "kill a guest that takes longer than this `DURATION` to stop")
	return cmd
}

func newPauseCommand(s Streams) *cobra.Command {
	return eachNamed(s, &cobra.Command{
		Use:     "pause MACHINE...",
		Short:   "Stop machines' CPUs, between two instructions",
		Long:    "Pause stops the virtual CPUs. Memory, disks and connections stay as they are; the\nguest's clock stands still, and commands that need the guest are refused.",
		Example: "  gureum pause web",
	}, func(ctx context.Context, fl *fleet.Fleet, ref string) error { return fl.Pause(ctx, ref) })
}

func newResumeCommand(s Streams) *cobra.Command {
	return eachNamed(s, &cobra.Command{
		Use:     "resume MACHINE...",
		Short:   "Let paused machines go on",
		Example: "  gureum resume web",
	}, func(ctx context.Context, fl *fleet.Fleet, ref string) error { return fl.Resume(ctx, ref) })
}

func newRenameCommand() *cobra.Command {
	return &cobra.Command{
		Use:     "rename MACHINE NAME",
		Short:   "Give a machine another name",
		Long:    "Rename gives a machine another name. A guest that runs has it as its host name from\nits next start on.",
		Example: "  gureum rename web old-web",
		Args:    cobra.ExactArgs(2),
		RunE: func(cmd *cobra.Command, args []string) error {
			fl, err := openFleet()
			if err != nil {
				return err
			}
			return fleetError(fl.Rename(cmd.Context(), args[0], args[1]))
		},
	}
}

// create makes a machine of the flags.
func (o *runOptions) create(ctx context.Context, fl *fleet.Fleet) (*state.VM, error) {
	if err := o.checkDetached(); err != nil {
		return nil, &vm.InputError{Err: err}
	}
	dir, err := os.Getwd()
	if err != nil {
		return nil, err
	}
	o.spec.Anchor(dir)
	return fl.Create(ctx, o.spec)
}
