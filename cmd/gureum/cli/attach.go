package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/sys/unix"

	"github.com/gureum/gureum/fleet"
	"github.com/gureum/gureum/fleet/api"
)

func newAttachCommand(s Streams) *cobra.Command {
	o := attachOptions{tail: -1}
	cmd := &cobra.Command{
		Use:     "attach MACHINE",
		Aliases: []string{"console"},
		Short:   "Join a machine's console",
		Long: `Attach joins this terminal to the console of a machine that runs, or passes standard
input to it where there is no terminal. The machine runs on when attach ends; several
may be attached at once.

Keys on a terminal: Ctrl-] d detaches, Ctrl-] p presses the machine's power button,
Ctrl-] q kills it, Ctrl-] Ctrl-] sends Ctrl-]. Press Enter to see a login's prompt.

Without a terminal, attach ends with the machine, by a signal, or, with --no-stdin or at
the end of standard input together with --detach-at-eof, by itself.`,
		Example: "  gureum attach web\n  gureum console --tail 20 web\n  echo reboot | gureum attach --detach-at-eof web",
		Args:    cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if cmd.Flags().Changed("tail") && o.tail < 0 {
				return fmt.Errorf("tail %d: give a number of lines", o.tail)
			}
			fl, err := openFleet()
			if err != nil {
				return err
			}
			return fleetError(o.run(cmd.Context(), s, fl, args[0]))
		},
	}
	f := cmd.Flags()
	f.BoolVar(&o.noStdin, "no-stdin", false, "only watch the console")
	f.BoolVar(&o.atEOF, "detach-at-eof", false, "detach a second after the end of standard input")
	f.IntVarP(&o.tail, "tail", "n", -1, "first print the last `LINES` of the console's log")
	return cmd
}

// attachOptions are the flags of gureum attach.
type attachOptions struct {
	noStdin, atEOF bool
	tail           int
}

func (o *attachOptions) run(ctx context.Context, s Streams, fl *fleet.Fleet, ref string) error {
	m, err := fl.Get(ref)
	if err != nil {
		return err
	}
	console, err := fl.Console(ctx, m.ID)
	if err != nil {
		return err
	}
	defer console.Close()
	if o.tail >= 0 {
		if err := fl.Logs(ctx, m.ID, fleet.LogOptions{Console: true, Tail: o.tail}, s.Out); err != nil {
			return err
		}
	}
	ctx, stop := signal.NotifyContext(ctx, unix.SIGINT, unix.SIGTERM, unix.SIGHUP)
	defer stop()
	a := &attachment{fleet: fl, machine: m, console: console, ctx: ctx}
	a.ctx, a.leave = context.WithCancel(ctx)
	defer a.leave()
	in, err := newInput(s.In)
	if err != nil {
		return err
	}
	defer in.Close()
	keys := io.Reader(in)
	if isTerminal(s) && !o.noStdin {
		fmt.Fprintf(s.Err, "gureum: attached to %s; Ctrl-] d detaches\r\n", m.Name)
		terminal, err := openTerminal(s.In, a.resize)
		if err != nil {
			return fmt.Errorf("take the terminal: %w", err)
		}
		defer terminal.Close()
		a.resize(windowSize(s.In))
		keys = &escapeReader{in: in, keys: "dpq", help: s.Err, text: attachHelp, escape: a.escape}
	}
	if !o.noStdin {
		go a.send(keys, o.atEOF)
	}
	return a.receive(s.Out)
}

const attachHelp = "\r\ngureum: Ctrl-] d detaches, Ctrl-] p presses the machine's power button, " +
	"Ctrl-] q kills it, Ctrl-] Ctrl-] sends Ctrl-]\r\n"

// attachment is a user at a machine's console.
type attachment struct {
	fleet   *fleet.Fleet
	machine *fleet.Machine
	console io.ReadWriteCloser
	ctx     context.Context // ends when the user leaves
	leave   context.CancelFunc
}

// send passes what the user types on.
func (a *attachment) send(keys io.Reader, atEOF bool) {
	_, _ = io.Copy(a.console, keys)
	if c, is := a.console.(interface{ CloseWrite() error }); is {
		_ = c.CloseWrite()
	}
	if !atEOF {
		return
	}
	select {
	case <-time.After(lastAnswer):
		a.leave()
	case <-a.ctx.Done():
	}
}

// lastAnswer is how long --detach-at-eof goes on printing what the guest says to the end
// of its input.
const lastAnswer = time.Second

// receive prints what the machine writes until it ends or the user leaves.
func (a *attachment) receive(out io.Writer) error {
	defer context.AfterFunc(a.ctx, func() { _ = a.console.Close() })()
	_, err := io.Copy(out, a.console)
	if a.ctx.Err() != nil || errors.Is(err, os.ErrClosed) {
		return nil
	}
	return err
}

// escape does what a key behind Ctrl-] says.
func (a *attachment) escape(key byte) {
	switch key {
	case 'd':
		a.leave()
	case 'p':
		go func() { _ = a.fleet.Client(a.machine.ID).Stop(a.ctx, fleet.DefaultStop) }()
	case 'q':
		go func() { _ = a.fleet.Client(a.machine.ID).Kill(a.ctx) }()
	}
}

// resize tells the machine the size of the window.
func (a *attachment) resize(rows, cols uint16) {
	_ = a.fleet.ResizeConsole(a.ctx, a.machine.ID, api.Size{Rows: rows, Cols: cols})
}
