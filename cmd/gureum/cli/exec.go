package cli

import (
	"context"
	"errors"
	"fmt"
	"os"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"github.com/gureum/gureum/fleet"
	"github.com/gureum/gureum/guest/agent"
)

// execOptions are the flags of gureum exec.
type execOptions struct {
	interactive, tty bool
	env              []string
	dir              string
	wait             time.Duration
}

func newExecCommand(s Streams) *cobra.Command {
	var o execOptions
	cmd := &cobra.Command{
		Use:   "exec [flags] MACHINE COMMAND [ARG...]",
		Short: "Run a command in a machine",
		Long: `Exec runs a command in the guest of a machine that runs, by its agent: its output
comes out here, stdout and stderr apart, and its exit status is gureum's.

A guest that has not come up yet is waited for, as long as --wait or GUREUM_WAIT in
the environment says.`,
		Example: `  gureum exec web uname -a
  gureum exec -it web sh
  tar c . | gureum exec -i web tar x -C /srv`,
		Args: cobra.MinimumNArgs(2),
		RunE: func(cmd *cobra.Command, args []string) error {
			fl, err := openFleet()
			if err != nil {
				return err
			}
			return fleetError(o.run(cmd.Context(), s, fl, args[0], args[1:]))
		},
	}
	f := cmd.Flags()
	f.SetInterspersed(false)
	f.BoolVarP(&o.interactive, "interactive", "i", false, "pass standard input on")
	f.BoolVarP(&o.tty, "tty", "t", false, "give the command a terminal")
	f.StringArrayVarP(&o.env, "env", "e", nil, "set `NAME=VALUE` in the command's environment")
	f.StringVarP(&o.dir, "workdir", "w", "", "run the command in this `DIR` of the guest")
	f.DurationVar(&o.wait, "wait", 30*time.Second, "how long to wait for the guest's agent, a `DURATION`")
	return cmd
}

func (o *execOptions) run(ctx context.Context, s Streams, fl *fleet.Fleet, ref string, args []string) error {
	if o.tty && !isTerminal(s) {
		return &statusError{StatusUsage, errors.New("--tty: standard input and output are no terminal: leave it out")}
	}
	client, err := fl.Agent(ctx, ref, o.wait)
	if err != nil {
		return err
	}
	defer client.Close()
	command := agent.Command{Args: args, Env: o.env, Dir: o.dir, Stdout: s.Out, Stderr: s.Err}
	in, err := newInput(s.In)
	if err != nil {
		return err
	}
	defer in.Close()
	if o.interactive {
		command.Stdin = in
	}
	if o.tty {
		command.TTY = true
		command.Rows, command.Cols = windowSize(s.In)
		if t := os.Getenv("TERM"); t != "" {
			command.Env = append([]string{"TERM=" + t}, command.Env...)
		}
		terminal, err := openTerminal(s.In, func(rows, cols uint16) { _ = client.Resize(rows, cols) })
		if err != nil {
			return fmt.Errorf("take the terminal: %w", err)
		}
		defer terminal.Close()
	}
	defer onSignals(func(sig syscall.Signal) { _ = client.Signal(int(sig)) })()
	status, err := client.Run(ctx, command)
	var missing *agent.ExecError
	if errors.As(err, &missing) {
		fmt.Fprintf(s.Err, "gureum: %v\n", missing)
		err = nil
	}
	if err != nil {
		return err
	}
	return exitError(status.ExitCode())
}
