package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/spf13/cobra"

	"github.com/gureum/gureum/fleet"
	"github.com/gureum/gureum/fleet/spec"
	"github.com/gureum/gureum/vm"
)

// runOptions are the flags of gureum run, and what becomes of them.
type runOptions struct {
	spec    spec.Spec
	console string
	timeout time.Duration
	json    bool
	detach  bool
	waiting waitOptions
	mode    sessionMode
	plan    *spec.Plan // by check
	config  *vm.Config // the plan's
}

const runExample = `  gureum run                                a shell in the embedded guest
  gureum run -- uname -a                    one command, its output and its exit status
  gureum run --cpus 4 --memory 2G -- nproc
  echo 'ip addr' | gureum run -- sh         a script from standard input
  gureum run --kernel vmlinuz -- dmesg      a distribution's kernel, as it is shipped
  gureum run --kernel vmlinuz --initrd initrd.img --append "console=ttyS0 ro"
                                            a kernel and RAM disk of your own, on its console
  gureum run --memory 1G --disk debian:12 -- systemctl list-units
                                            a command in an image's own system, by its agent
  gureum run --memory 1G --disk debian:12 --ssh-key ~/.ssh/id_ed25519.pub --net user
                                            an image (see gureum image), on a scratch layer
  gureum run --json -- cat /proc/cpuinfo    output, status and timings as one JSON object`

const runLong = `Run starts a virtual machine and waits for its end.

With a command, the command runs in the guest: its output comes out here, apart
from the kernel's messages, and its exit status is gureum's. Without one, a shell
runs on this terminal; with --initrd alone, the terminal is the guest's
console. Ctrl-] q stops the machine.

Exit status: the command's own; 2 for wrong input; 69 if this host cannot run
machines; 124 if --timeout ran out; 125 if the machine failed.`

func newRunCommand(s Streams) *cobra.Command {
	var o runOptions
	cmd := &cobra.Command{
		Use:     "run [flags] [-- COMMAND [ARG...]]",
		Short:   "Run a virtual machine",
		Long:    runLong,
		Example: runExample,
		Args:    guestCommand("run"),

		Annotations: smallPages,
		RunE: func(cmd *cobra.Command, args []string) error {
			o.spec.Command = args
			if o.detach {
				return fleetError(o.runDetached(cmd.Context(), s))
			}
			if on, err := o.ofFleet(); err != nil || on {
				if err == nil {
					err = fleetError(o.runLeashed(cmd.Context(), s))
				}
				return err
			}
			return o.run(cmd.Context(), s)
		},
	}
	f := cmd.Flags()
	f.SetInterspersed(false)
	addMachineFlags(f, &o.spec)
	f.BoolVarP(&o.detach, "detach", "d", false, "run the machine in the background and print its id")
	f.StringVar(&o.console, "console", "auto", "where the guest's console goes: auto, serial or virtio (this terminal, by that device), stderr, off or file:PATH")
	f.DurationVar(&o.timeout, "timeout", 0, "stop the machine after this `DURATION`, such as 30s")
	f.BoolVar(&o.json, "json", false, "print output, status and timings as one JSON object")
	o.waiting.addFlags(f)
	return cmd
}

// guestCommand checks that arguments are behind --.
func guestCommand(name string) cobra.PositionalArgs {
	return func(cmd *cobra.Command, args []string) error {
		if n := cmd.ArgsLenAtDash(); len(args) > 0 && n != 0 {
			return fmt.Errorf("%q: write the guest's command behind --, as in: gureum %s -- %s", args[0], name, args[0])
		}
		return nil
	}
}

// errNoCPUs refuses a 0 that was written; one that was not is the default.
var errNoCPUs = fmt.Errorf("cpus: 0: give a number from 1 to %d", vm.MaxCPUs)

// check turns the flags into a Config. Its errors are the user's.
func (o *runOptions) check() (err error) {
	if o.spec.CPUs == 0 {
		return errNoCPUs
	}
	if o.timeout < 0 {
		return fmt.Errorf("timeout %s: give a positive duration", o.timeout)
	}
	if o.json && len(o.spec.Command) == 0 {
		return errors.New("--json needs a command: gureum run --json -- COMMAND")
	}
	if o.plan, err = o.spec.Plan(); err != nil {
		return err
	}
	if err := o.checkForeground(); err != nil {
		return err
	}
	o.config = &o.plan.Config
	if err := o.plan.Prepare(""); err != nil {
		return errors.Join(imageError(err), o.plan.Close())
	}
	if err := o.checkConsole(); err != nil {
		return errors.Join(err, o.plan.Close())
	}
	return nil
}

// checkForeground refuses what only a machine of the fleet can have.
func (o *runOptions) checkForeground() error {
	switch s := &o.spec; {
	case s.Restart != "" || s.Rm || len(s.Label) > 0 || o.waiting.stage != "":
		return errors.New("restart, rm, label and wait-for are for machines in the background: give --detach")
	}
	return nil
}

// checkDetached refuses what only a machine in the foreground can have.
func (o *runOptions) checkDetached() error {
	switch {
	case o.spec.CPUs == 0:
		return errNoCPUs
	case o.console != "auto":
		return errors.New("console: that of a machine in the background is logged: see gureum logs and gureum attach")
	case o.timeout != 0, o.json:
		return errors.New("timeout and json are for machines in the foreground: leave out --detach")
	}
	return nil
}

func (o *runOptions) run(ctx context.Context, s Streams) error {
	if err := o.check(); err != nil {
		return err
	}
	defer func() { _ = o.plan.Close() }() // what is left, the next run removes
	if o.config.Terminal == vm.TerminalAuto && o.config.Kernel != "" && !isTerminal(s) {
		// A script is not to be cut in two where the guest changes consoles.
		o.config.Terminal = vm.TerminalSerial
	}
	console, err := o.openConsole(s)
	if err != nil {
		return err
	}
	defer console.Close()
	if o.timeout > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeoutCause(ctx, o.timeout, errTimeout)
		defer cancel()
	}
	for {
		outcome, err := o.session(ctx, s, console)
		if err != nil || outcome.Reason != vm.Rebooted || o.spec.NoReboot {
			return err
		}
	}
}

// errTimeout is the cause of a context that --timeout ended.
var errTimeout = errors.New("the time of --timeout is over")

// session runs one machine from its start to its end.
func (o *runOptions) session(ctx context.Context, s Streams, console io.Writer) (vm.Outcome, error) {
	config := *o.config
	config.Console = console
	r := &session{options: o, streams: s, started: time.Now()}
	m, err := vm.New(config)
	if err != nil {
		return vm.Outcome{}, err
	}
	r.machine = m
	err = r.run(ctx)
	return r.outcome, errors.Join(err, m.Close())
}

// runDetached makes a machine of the fleet and starts it. One that does not start is
// removed again; one whose guest does not come up stays, to be looked at.
func (o *runOptions) runDetached(ctx context.Context, s Streams) error {
	if err := o.waiting.check(); err != nil {
		return err
	}
	fl, err := openFleet()
	if err != nil {
		return err
	}
	record, err := o.create(ctx, fl)
	if err != nil {
		return err
	}
	if err := fl.Start(ctx, record.ID, fleet.StartOptions{}); err != nil {
		return errors.Join(err, fl.Remove(context.WithoutCancel(ctx), record.ID, true))
	}
	fmt.Fprintln(s.Out, record.ID)
	return o.waiting.wait(ctx, fl, record.ID)
}
