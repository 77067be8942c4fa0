package lab

import (
	"context"
	"errors"
	"os"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/gureum/gureum/guest/agent"
)

// killDelay is how long a command has to end when its time is up.
const killDelay = 2 * time.Second

// SignalError is why a run ended that a signal has ended.
type SignalError struct{ Signal syscall.Signal }

func (e *SignalError) Error() string { return "ended by signal: " + e.Signal.String() }

// Run boots L1, runs one command in it and returns the command's exit status
// (128+n when signal n ended it). Errors: *agent.ExecError with status 126 or
// 127, *SignalError, context.DeadlineExceeded within a *HostError when the
// time was up, and anything else that keeps L1 from working.
func Run(ctx context.Context, o Options) (int, error) {
	o, err := o.withDefaults()
	if err != nil {
		return 0, err
	}
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	if o.Timeout > 0 {
		var done context.CancelFunc
		ctx, done = context.WithTimeout(ctx, o.Timeout)
		defer done()
	}
	r := &run{cancel: cancel}
	if o.Signals != nil {
		stop := make(chan struct{})
		defer close(stop)
		go r.relay(o.Signals, o.Terminal, stop)
	}
	host, err := Boot(ctx, o)
	if err != nil {
		return 0, cause(ctx, err)
	}
	defer host.Close()
	return r.command(ctx, host, o)
}

// run is one command on its way through L1.
type run struct {
	cancel context.CancelCauseFunc

	mu      sync.Mutex
	host    *Host
	session *Session // nil before the command runs
	asked   bool     // to end, by a signal
}

func (r *run) command(ctx context.Context, host *Host, o Options) (int, error) {
	c := agent.Command{
		Args: o.Args, Env: o.Env, CleanEnv: true, Dir: o.Dir,
		Stdin: o.Stdin, Stdout: o.Stdout, Stderr: o.Stderr, KillDelay: killDelay,
	}
	if t := o.Terminal; t != nil {
		c.TTY = true
		c.Rows, c.Cols = t.size()
		if err := t.raw(); err != nil {
			return 0, err
		}
		defer t.restore()
	}
	s, err := host.Start(ctx, c)
	if err != nil {
		return 0, cause(ctx, err)
	}
	r.mu.Lock()
	r.host, r.session = host, s
	r.mu.Unlock()
	status, err := s.Wait()
	if err != nil {
		if ctx.Err() != nil {
			err = &HostError{Err: context.Cause(ctx), Console: host.Console()}
		}
		return status, cause(ctx, err)
	}
	return status, host.Sync(context.WithoutCancel(ctx))
}

// cause prefers the signal that ended a run to what followed from it.
func cause(ctx context.Context, err error) error {
	var sig *SignalError
	if errors.As(context.Cause(ctx), &sig) {
		return sig
	}
	return err
}

// relay passes signals on to the command. One that comes before the command
// runs, or a second one that asks it to end, ends L1.
func (r *run) relay(signals <-chan os.Signal, t *Terminal, stop <-chan struct{}) {
	for {
		select {
		case <-stop:
			return
		case s := <-signals:
			if sig, ok := s.(syscall.Signal); ok {
				r.pass(sig, t)
			}
		}
	}
}

func (r *run) pass(sig syscall.Signal, t *Terminal) {
	r.mu.Lock()
	defer r.mu.Unlock()
	switch {
	case sig == unix.SIGWINCH:
		if r.session != nil && t != nil {
			rows, cols := t.size()
			_ = r.session.Resize(rows, cols)
		}
	case r.session == nil:
		r.cancel(&SignalError{sig})
	case r.asked:
		r.cancel(&SignalError{sig})
		r.host.Kill()
	default:
		r.asked = true
		if err := r.session.Signal(int(sig)); err != nil && !errors.Is(err, agent.ErrNoCommand) {
			r.cancel(&SignalError{sig})
		}
	}
}
