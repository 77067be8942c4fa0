package lab

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/gureum/gureum/guest/agent"
)

// Host is a running L1. It ends when closed, and with this process.
type Host struct {
	qemu   *emulator
	client *agent.Client
	kernel hostKernel
	shares bool

	watching sync.WaitGroup
	stop     chan struct{}
	closing  sync.Once
	hung     error // set before QEMU is killed by the watch
}

// HostError is a failure of L1 itself.
type HostError struct {
	Err     error
	Console string // last lines of L1's console
}

func (e *HostError) Error() string {
	if e.Console == "" {
		return e.Err.Error() + "; its console is empty"
	}
	return e.Err.Error() + "; its console ends with:\n" + e.Console
}

// Unwrap gives the cause.
func (e *HostError) Unwrap() error { return e.Err }

// consoleLines is how much of the console goes into an error: a kernel panic with
// its trace takes up to sixty lines.
const consoleLines = 100

// Boot starts L1 and waits for its agent. The caller must Close it.
func Boot(ctx context.Context, o Options) (*Host, error) {
	o, err := o.withDefaults()
	if err != nil {
		return nil, err
	}
	khz := make(chan uint64, 1)
	go func() { khz <- tscKHz() }()
	k, err := prepareKernel(ctx, o)
	tsc := <-khz
	if err != nil {
		return nil, err
	}
	qemu, err := startEmulator(machine{
		vmlinuz: k.boot, initrd: k.initrd, cpus: o.CPUs, memory: o.Memory,
		deterministic: o.Deterministic, agent: o.Agent, shares: o.Shares,
		firmware: findFirmware(), tscKHz: tsc,
	}, o.Console)
	if err != nil {
		k.release()
		return nil, err
	}
	h := &Host{qemu: qemu, kernel: k, shares: len(o.Shares) > 0, stop: make(chan struct{})}
	s := setup{modules: k.modules, dir: o.Dir, shares: o.Shares, hold: !o.Deterministic} // there, one CPU alone translates
	if err := h.connect(ctx, o, s); err != nil {
		k.release()
		return nil, err
	}
	if !o.Deterministic { // there, pings would be noise
		h.watching.Add(1)
		go h.watch()
	}
	return h, nil
}

// connect sends the set-up and waits for the agent; it ends QEMU on failure.
func (h *Host) connect(ctx context.Context, o Options, s setup) error {
	fail := func(err error) error {
		h.qemu.kill()
		h.qemu.conn.Close()
		return err
	}
	if _, err := h.qemu.conn.Write(s.encode()); err != nil {
		return fail(fmt.Errorf("send the set-up to L1: %w", err))
	}
	boot, cancel := context.WithTimeoutCause(ctx, o.BootTimeout, fmt.Errorf("nothing heard from it within %v", o.BootTimeout))
	defer cancel()
	client, err := agent.DialContext(boot, h.qemu.conn)
	if err == nil {
		h.client = client
		return nil
	}
	if ctx.Err() != nil {
		return fail(h.explain(context.Cause(ctx)))
	}
	return fail(h.explain(fmt.Errorf("L1 did not come up: %w", err)))
}

// explain adds what L1 has to say to an error that is its fault.
func (h *Host) explain(err error) error {
	if errors.Is(err, agent.ErrDisconnected) {
		err = h.howEnded()
	}
	return &HostError{Err: err, Console: h.qemu.console.tail(consoleLines)}
}

// howEnded says why L1 went away.
func (h *Host) howEnded() error {
	select {
	case <-h.qemu.done:
	case <-time.After(5 * time.Second): // QEMU is about to end
		return errors.New("L1's agent went away")
	}
	switch {
	case h.hung != nil:
		return h.hung
	case h.qemu.console.contains("Kernel panic - not syncing"):
		return errors.New("L1 panicked")
	case h.qemu.err != nil:
		return fmt.Errorf("QEMU ended: %w", h.qemu.err)
	}
	return errors.New("L1 powered off or restarted")
}

// How often L1 is asked for a sign of life, and how long it has to give one.
const (
	pingEvery = 20 * time.Second
	pingLimit = 5 * time.Minute
)

// watch ends an L1 that hangs.
func (h *Host) watch() {
	defer h.watching.Done()
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	go func() {
		select {
		case <-h.stop:
		case <-ctx.Done():
		}
		cancel()
	}()
	for {
		select {
		case <-h.client.Done():
			return
		case <-ctx.Done():
			return
		case <-time.After(pingEvery):
		}
		ping, done := context.WithTimeout(ctx, pingLimit)
		err := h.client.Ping(ping)
		late := ping.Err() != nil && ctx.Err() == nil
		done()
		if err != nil && late {
			h.hung = fmt.Errorf("L1 hangs: no sign of life for %v", pingLimit)
			h.qemu.kill()
			return
		}
	}
}

// Start starts a command in L1.
func (h *Host) Start(ctx context.Context, c agent.Command) (*Session, error) {
	s, err := h.client.Start(ctx, c)
	if err != nil {
		return nil, h.explain(err)
	}
	return &Session{Session: s, host: h}, nil
}

// Run runs a command in L1 and returns its exit status, 128+n for signal n.
// An *agent.ExecError comes with status 126 or 127, a *HostError is L1's fault.
func (h *Host) Run(ctx context.Context, c agent.Command) (int, error) {
	s, err := h.Start(ctx, c)
	if err != nil {
		return 0, err
	}
	return s.Wait()
}

// Session is a command that runs in L1.
type Session struct {
	*agent.Session
	host *Host
}

// Wait waits for the command's end and returns what Host.Run does.
func (s *Session) Wait() (int, error) {
	st, err := s.Session.Wait()
	if errors.Is(err, agent.ErrDisconnected) {
		return 0, s.host.explain(err)
	}
	return st.ExitCode(), err
}

// Sync writes what L1 still holds of the shared folders back to them.
func (h *Host) Sync(ctx context.Context) error {
	if !h.shares {
		return nil
	}
	_, err := h.Run(ctx, agent.Command{Args: []string{"/bin/sync"}})
	return err
}

// Console returns the last lines of L1's console.
func (h *Host) Console() string { return h.qemu.console.tail(consoleLines) }

// Kill ends L1 at once, as a pulled plug does. Close must still be called.
func (h *Host) Kill() { h.qemu.kill() }

// Close ends L1 and all that runs in it.
func (h *Host) Close() {
	h.closing.Do(func() {
		close(h.stop)
		h.qemu.kill()
		h.client.Close()
		h.watching.Wait()
		h.kernel.release()
	})
}
