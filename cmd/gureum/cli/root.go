// Package cli is the gureum command line: it parses, calls package vm and its
// neighbours, and prints. It holds no logic that a user of those packages would
// miss. Only the gureum program and the generator of its manual pages import it.
package cli

import (
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"

	"github.com/spf13/cobra"

	"github.com/gureum/gureum/bench/cpu"
	"github.com/gureum/gureum/vm"
)

// The exit statuses of gureum's own; a guest command's status passes through.
const (
	// StatusUsage: wrong input, found before anything was created.
	StatusUsage = 2
	// StatusHost: this host cannot run machines (EX_UNAVAILABLE of sysexits.h).
	StatusHost = 69
	// StatusTimeout: --timeout ran out, as timeout(1) reports it.
	StatusTimeout = 124
	// StatusMachine: the machine failed: it panicked, reset itself before its
	// command had ended, or never came up.
	StatusMachine = 125
)

// Streams are the standard streams of one call.
type Streams struct {
	In  *os.File
	Out io.Writer
	Err io.Writer
}

// statusError carries the exit status of an error that is not wrong usage.
type statusError struct {
	status int
	err    error
}

func (e *statusError) Error() string {
	if e.err == nil {
		return ""
	}
	return e.err.Error()
}

func (e *statusError) Unwrap() error { return e.err }

// machineErrorf is an error with StatusMachine.
func machineErrorf(format string, args ...any) error {
	return &statusError{status: StatusMachine, err: fmt.Errorf(format, args...)}
}

// Main runs one command line and returns its exit status.
func Main(args []string, s Streams) int {
	if cpu.Other(args) { // of a measurement; it has no time for the rest
		return 0
	}
	root := NewRoot(s)
	root.SetArgs(args)
	cmd, err := root.ExecuteC()
	if err == nil {
		return 0
	}
	status := statusOf(err)
	msg := err.Error()
	if msg == "" { // the status is that of a command in a guest
		return status
	}
	fmt.Fprintf(s.Err, "gureum: %s\n", msg)
	if status == StatusUsage {
		fmt.Fprintf(s.Err, "Try '%s --help'.\n", cmd.CommandPath())
	}
	return status
}

// statusOf maps an error to the exit status. What no layer below has typed came
// from the parsing of the command line.
func statusOf(err error) int {
	var status *statusError
	var host *vm.HostError
	switch {
	case errors.As(err, &status):
		return status.status
	case errors.As(err, &host):
		return StatusHost
	}
	return StatusUsage
}

// NewRoot builds the tree of commands.
func NewRoot(s Streams) *cobra.Command {
	var logs logOptions
	root := &cobra.Command{
		Use:           "gureum",
		Short:         "Run virtual machines on Linux KVM",
		Long:          "Gureum runs virtual machines on Linux KVM, from one small binary.",
		SilenceUsage:  true,
		SilenceErrors: true,
		Args:          cobra.NoArgs,
		RunE:          func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
		PersistentPreRunE: func(cmd *cobra.Command, _ []string) error {
			if cmd.Annotations[annotationPages] == "" {
				vm.AllowHugePages()
			}
			if err := checkGuestWait(cmd.Flags()); err != nil {
				return err
			}
			return logs.install(s.Err)
		},
	}
	root.SetIn(s.In)
	root.SetOut(s.Out)
	root.SetErr(s.Err)
	flags := root.PersistentFlags()
	flags.StringVar(&logs.level, "log-level", "off", "log to stderr: off, error, warn, info or debug")
	flags.StringVar(&logs.format, "log-format", "text", "form of the log: text or json")
	root.AddCommand(newRunCommand(s), newDoctorCommand(s), newKernelCommand(s), newVersionCommand(s),
		newGuardCommand(s), newBenchCommand(s), newBenchLoadCommand(s), newImageCommand(s), newNetworkCommand(s), newUpCommand(s), newDownCommand(s), newProcessCommand(), newSuperviseCommand(), newServiceCommand(),
		newPsCommand(s), newStartCommand(s), newStopCommand(s), newKillCommand(s), newRemoveCommand(s), newExecCommand(s), newWaitCommand(s),
		newCreateCommand(s), newRestartCommand(s), newPauseCommand(s), newResumeCommand(s), newRenameCommand(), newLogsCommand(s), newInspectCommand(s), newCopyCommand(),
		newAttachCommand(s), newSSHCommand(s), newSSHProxyCommand(s), newStatsCommand(s), newUpdateCommand(s), newEventsCommand(s), newPruneCommand(s))
	addCompletions(root)
	return root
}

// smallPages are the annotations of commands that go on without transparent huge pages, which
// the program began without: a VMM, which asks for them for its guest's memory (package vm), and
// other processes of the fleet. Others, and programs that they start, have what the host gives.
var smallPages = map[string]string{annotationPages: "small"}

const annotationPages = "pages"

// logOptions are the flags of the log.
type logOptions struct{ level, format string }

// install makes the log that the flags ask for the default one.
func (o *logOptions) install(w io.Writer) error {
	if o.format != "text" && o.format != "json" {
		return fmt.Errorf("log-format %q: give text or json", o.format)
	}
	if o.level == "off" {
		slog.SetDefault(slog.New(slog.DiscardHandler))
		return nil
	}
	var level slog.Level
	if err := level.UnmarshalText([]byte(o.level)); err != nil {
		return fmt.Errorf("log-level %q: give off, error, warn, info or debug", o.level)
	}
	options := &slog.HandlerOptions{Level: level}
	if o.format == "json" {
		slog.SetDefault(slog.New(slog.NewJSONHandler(w, options)))
		return nil
	}
	slog.SetDefault(slog.New(slog.NewTextHandler(w, options)))
	return nil
}
