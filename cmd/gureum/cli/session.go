package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/gureum/gureum/guest/agent"
	"github.com/gureum/gureum/vm"
)

// How long a guest may take to switch itself off: the embedded user land, and a system
// with services, each of which systemd gives 90 s to end by default
// (DefaultTimeoutStopSec of systemd-system.conf(5)).
const (
	powerOffGrace = 15 * time.Second
	systemGrace   = 2 * time.Minute
)

// lastWords is how long a guest whose agent has gone may take to end: its devices are
// reset before the machine is.
const lastWords = 10 * time.Second

// session is one machine in the foreground.
type session struct {
	options  *runOptions
	streams  Streams
	machine  *vm.Machine
	client   atomic.Pointer[agent.Client]
	terminal *terminal
	started  time.Time
	outcome  vm.Outcome
	report   report
	signal   atomic.Int32 // the signal that ended the session, or 0
	quit     atomic.Bool  // the user ended the machine by an escape sequence
	pressed  atomic.Bool  // the user pressed the power button
	input    *input
}

// run starts the machine and stays with it to its end.
func (r *session) run(ctx context.Context) error {
	in, err := newInput(r.streams.In)
	if err != nil {
		return err
	}
	r.input = in
	defer in.Close()
	defer onSignals(r.handleSignal)()
	if err := r.machine.Start(); err != nil {
		return err
	}
	defer context.AfterFunc(ctx, r.machine.Kill)()
	err = r.attend(ctx)
	// A guest that ends by itself hangs up first: how it ends says why.
	gone := errors.Is(err, agent.ErrDisconnected) && r.ended(lastWords)
	if err != nil && !gone {
		// There is nothing left to wait for.
		r.machine.Kill()
	}
	r.outcome = r.machine.Wait()
	return r.verdict(ctx, err)
}

// attend does what the mode asks for while the machine runs.
func (r *session) attend(ctx context.Context) error {
	switch r.options.mode {
	case modeAgent:
		return r.attendAgent(ctx)
	case modeSerial:
		return r.attendSerial()
	}
	return nil
}

// attendAgent runs the command or the shell in the guest, then has the guest
// switch itself off.
func (r *session) attendAgent(ctx context.Context) error {
	client, err := r.machine.DialAgent(context.Background())
	if err != nil {
		return fmt.Errorf("the guest's agent did not answer: %w", err)
	}
	r.report.ready = time.Since(r.started)
	r.client.Store(client)
	defer client.Close()
	err = r.runCommand(ctx, client)
	r.client.Store(nil)
	if err != nil {
		return err
	}
	if err := client.Shutdown(agent.PowerOff); err != nil {
		return fmt.Errorf("switch the guest off: %w", err)
	}
	r.awaitPowerOff()
	return nil
}

// awaitPowerOff gives the guest its time to switch off, then ends it.
func (r *session) awaitPowerOff() {
	grace := powerOffGrace
	if r.options.config.OwnAgent {
		grace = systemGrace
	}
	if !r.ended(grace) {
		r.machine.Kill()
	}
}

// ended waits for the machine's end, but not for long.
func (r *session) ended(grace time.Duration) bool {
	timer := time.NewTimer(grace)
	defer timer.Stop()
	select {
	case <-r.machine.Done():
		return true
	case <-timer.C:
		return false
	}
}

// runCommand runs the command of the command line, or a shell.
func (r *session) runCommand(ctx context.Context, client *agent.Client) error {
	command := agent.Command{
		Args:   r.options.spec.Command,
		Env:    r.options.spec.Env,
		Dir:    r.options.spec.Workdir,
		Stdin:  r.input,
		Stdout: r.streams.Out,
		Stderr: r.streams.Err,
	}
	if len(command.Args) == 0 {
		command.Args = []string{"/bin/sh", "-l"}
	}
	if r.options.json {
		command.Stdout, command.Stderr = &r.report.stdout, &r.report.stderr
	}
	if isTerminal(r.streams) && !r.options.json {
		if err := r.useTerminal(&command); err != nil {
			return err
		}
		defer r.leaveTerminal()
	}
	defer r.input.Close()
	status, err := client.Run(ctx, command)
	var missing *agent.ExecError
	if errors.As(err, &missing) {
		// The status says it to programs, as a shell's does; people get the words.
		fmt.Fprintf(r.streams.Err, "gureum: %v\n", missing)
		err = nil
	}
	if err != nil {
		return err
	}
	r.report.exit = &status
	return nil
}

// useTerminal gives the command a terminal of its own, joined to the user's.
func (r *session) useTerminal(c *agent.Command) error {
	if err := r.openTerminal(); err != nil {
		return err
	}
	c.TTY = true
	c.Rows, c.Cols = windowSize(r.streams.In)
	if t := os.Getenv("TERM"); t != "" {
		c.Env = append([]string{"TERM=" + t}, c.Env...)
	}
	c.Stdin = r.keyboard()
	return nil
}

// openTerminal takes the user's terminal and says how to leave.
func (r *session) openTerminal() error {
	fmt.Fprintf(r.streams.Err, "gureum: Ctrl-] q stops the machine, Ctrl-] ? lists more keys\n")
	t, err := openTerminal(r.streams.In, func(rows, cols uint16) {
		if client := r.client.Load(); client != nil {
			_ = client.Resize(rows, cols)
		}
		r.machine.ResizeConsole(rows, cols)
	})
	if err != nil {
		return fmt.Errorf("take the terminal: %w", err)
	}
	r.terminal = t
	return nil
}

// leaveTerminal gives the terminal back; twice does no harm.
func (r *session) leaveTerminal() {
	if r.terminal == nil {
		return
	}
	_ = r.terminal.Close()
	r.terminal = nil
}

// keyboard reads the user's keys and acts on escape sequences.
func (r *session) keyboard() io.Reader {
	return &escapeReader{in: r.input, help: r.streams.Err, text: escapeHelp, keys: "pq", escape: func(key byte) {
		if key == 'p' {
			r.pressed.Store(true)
			_ = r.machine.PressPowerButton()
			return
		}
		r.quit.Store(true)
		r.machine.Kill()
	}}
}

// attendSerial joins the user's terminal, or standard input, to the guest's
// console until the machine ends.
func (r *session) attendSerial() error {
	in := io.Reader(r.input)
	if isTerminal(r.streams) {
		if err := r.openTerminal(); err != nil {
			return err
		}
		defer r.leaveTerminal()
		r.machine.ResizeConsole(windowSize(r.streams.In))
		in = r.keyboard()
	}
	copied := make(chan struct{})
	go func() {
		defer close(copied)
		_, _ = io.Copy(r.machine.ConsoleInput(), in)
	}()
	<-r.machine.Done()
	_ = r.input.Close()
	<-copied
	return nil
}

// handleSignal passes a signal on to the guest's command; where there is none it ends the
// machine. A second one ends it in any case.
func (r *session) handleSignal(s syscall.Signal) {
	client := r.client.Load()
	first := r.signal.CompareAndSwap(0, int32(s))
	if first && client != nil && client.Signal(int(s)) == nil {
		return
	}
	r.machine.Kill()
}
