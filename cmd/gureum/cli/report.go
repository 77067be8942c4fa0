package cli

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/gureum/gureum/guest/agent"
	"github.com/gureum/gureum/vm"
)

// maxCapture bounds what --json keeps of each output stream, in bytes.
const maxCapture = 64 << 20

// errCapture is the end of a command that printed more.
var errCapture = fmt.Errorf("the command printed more than %s: run it without --json", vm.FormatSize(maxCapture))

// capture keeps an output stream for the report.
type capture struct{ bytes.Buffer }

// Write implements io.Writer.
func (c *capture) Write(p []byte) (int, error) {
	if c.Len()+len(p) > maxCapture {
		return 0, errCapture
	}
	return c.Buffer.Write(p)
}

// report is what a session measured and, for --json, captured.
type report struct {
	ready          time.Duration // from the start to the agent's answer
	exit           *agent.ExitStatus
	stdout, stderr capture
}

// jsonReport is the object that --json prints.
type jsonReport struct {
	Name    string            `json:"name,omitempty"`
	CPUs    int               `json:"cpus"`
	Memory  uint64            `json:"memory_bytes"`
	Kernel  string            `json:"kernel"`
	Outcome string            `json:"outcome"`
	Status  *int              `json:"exit_status"`
	Error   string            `json:"error,omitempty"`
	Ready   float64           `json:"ready_seconds"`
	Total   float64           `json:"total_seconds"`
	Exits   map[string]uint64 `json:"exits"`
	Stdout  string            `json:"stdout"`
	Stderr  string            `json:"stderr"`
}

// print writes the report of a session whose verdict is err.
func (r *session) printReport(w io.Writer, err error) error {
	info := r.machine.Info()
	out := jsonReport{
		Name: info.Name, CPUs: info.CPUs, Memory: info.Memory, Kernel: info.Kernel,
		Outcome: r.outcome.Reason.String(),
		Ready:   r.report.ready.Seconds(), Total: time.Since(r.started).Seconds(),
		Exits:  r.machine.Exits(),
		Stdout: r.report.stdout.String(), Stderr: r.report.stderr.String(),
	}
	if r.report.exit != nil {
		status := r.report.exit.ExitCode()
		out.Status = &status
	}
	if err != nil {
		out.Error = err.Error()
	}
	encoder := json.NewEncoder(w)
	encoder.SetEscapeHTML(false)
	return encoder.Encode(out)
}

// verdict turns the machine's end and what attend met into the session's error,
// which holds the exit status.
func (r *session) verdict(ctx context.Context, err error) error {
	err = r.judge(ctx, err)
	if !r.options.json {
		return err
	}
	return errors.Join(err, r.printReport(r.streams.Out, err))
}

func (r *session) judge(ctx context.Context, err error) error {
	switch {
	case errors.Is(context.Cause(ctx), errTimeout) && r.report.exit == nil:
		return &statusError{StatusTimeout, r.explain(errTimeout)}
	case errors.Is(err, errCapture):
		return &statusError{StatusMachine, err}
	case r.outcome.Reason == vm.Panicked, r.outcome.Reason == vm.TripleFaulted, r.outcome.Reason == vm.Failed:
		return &statusError{StatusMachine, r.explain(r.outcomeError())}
	case r.report.exit != nil && r.report.exit.Signal != 0 && r.pressed.Load():
		// The guest's shutdown killed the shell.
		return nil
	case r.report.exit != nil:
		return exitError(r.report.exit.ExitCode())
	case r.signal.Load() != 0:
		return exitError(128 + int(r.signal.Load()))
	case r.quit.Load(), r.options.mode != modeAgent, r.shell() && r.outcome.Reason != vm.Killed:
		// The user ended it, from here or from inside.
		return nil
	}
	return &statusError{StatusMachine, r.explain(errors.Join(r.outcomeError(), err))}
}

// shell tells whether the session is a shell rather than a command.
func (r *session) shell() bool { return len(r.options.spec.Command) == 0 && r.report.ready > 0 }

// exitError is the error that carries a command's exit status, without words.
func exitError(status int) error {
	if status == 0 {
		return nil
	}
	return &statusError{status: status}
}

// outcomeError says how the machine ended.
func (r *session) outcomeError() error {
	switch r.outcome.Reason {
	case vm.PoweredOff:
		return errors.New("the guest switched itself off before its command had ended")
	case vm.Rebooted:
		return errors.New("the guest reset itself before its command had ended")
	case vm.Panicked:
		return errors.New("the guest's kernel panicked")
	case vm.TripleFaulted:
		return fmt.Errorf("the guest crashed with a triple fault: %w", r.outcome.Err)
	case vm.Failed:
		return fmt.Errorf("the machine failed: %w", r.outcome.Err)
	}
	return nil
}

// explain adds the stage that the guest had reached, and its last words.
func (r *session) explain(err error) error {
	stage := "the kernel was booting"
	switch {
	case r.options.mode != modeAgent:
		stage = "the guest was running"
	case r.report.ready > 0:
		stage = "the guest's command was running"
	}
	tail := bytes.TrimSpace(r.machine.ConsoleTail())
	if len(tail) == 0 {
		return fmt.Errorf("%w (%s; nothing on its console: try --console stderr)", err, stage)
	}
	return fmt.Errorf("%w (%s; the end of its console follows)\n%s", err, stage, lastLines(tail, 30))
}

// lastLines is the end of a text, at most n lines of it.
func lastLines(text []byte, n int) []byte {
	for i := len(text) - 1; i >= 0; i-- {
		if text[i] != '\n' {
			continue
		}
		if n--; n == 0 {
			return text[i+1:]
		}
	}
	return text
}
