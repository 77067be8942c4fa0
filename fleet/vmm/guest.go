package vmm

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/gureum/gureum/fleet/api"
	"github.com/gureum/gureum/fleet/state"
	"github.com/gureum/gureum/guest/agent"
	"github.com/gureum/gureum/vm"
)

// guest is the process's connection to the guest's agent: it learns that the guest is
// up, runs the machine's command, and asks the guest to end.
type guest struct {
	mu     sync.Mutex
	client *agent.Client // nil until it answers
	status *int          // of the machine's command, once it has ended
	fault  error         // of the command

	work   sync.WaitGroup
	cancel context.CancelFunc
}

// attend waits for the agent in the background and runs the command.
func (g *guest) attend(p *process) {
	c := &p.plan.Config
	if !c.Agent && !c.OwnAgent {
		return
	}
	var ctx context.Context
	ctx, g.cancel = context.WithCancel(context.Background())
	g.work.Go(func() {
		err := g.follow(ctx, p)
		if err != nil && !errors.Is(err, agent.ErrDisconnected) && ctx.Err() == nil {
			slog.Warn("the guest's agent", "name", p.record.Name, "error", err)
		}
	})
}

// follow talks to one agent after the other: one that starts anew, as by an upgrade,
// is taken again.
func (g *guest) follow(ctx context.Context, p *process) error {
	first := true
	for {
		client, err := p.machine.DialAgent(ctx)
		if err != nil {
			return err
		}
		g.set(client)
		if first {
			first = false
			if err := p.journal.Add(state.Entry{Event: state.EventStage, Stage: string(state.StageAgent)}); err != nil {
				slog.Error("write the journal", "name", p.record.Name, "error", err)
			}
			p.rest.disturbed()
			if len(p.record.Spec.Command) > 0 {
				return g.runCommand(ctx, p, client)
			}
		}
		select {
		case <-client.Done():
			g.set(nil)
			_ = client.Close()
		case <-ctx.Done():
			return ctx.Err()
		}
		if !p.plan.Config.OwnAgent {
			return nil // the embedded one is init, which ends once
		}
	}
}

// runCommand runs the machine's command and has the guest end with it.
func (g *guest) runCommand(ctx context.Context, p *process, client *agent.Client) error {
	s := &p.record.Spec
	status, err := client.Run(ctx, agent.Command{
		Args: s.Command, Env: s.Env, Dir: s.Workdir, Stdout: p.output, Stderr: p.output,
	})
	var missing *agent.ExecError
	if errors.As(err, &missing) {
		fmt.Fprintf(p.output, "gureum: %v\n", missing)
		err = nil
	}
	g.mu.Lock()
	if g.fault = err; err == nil {
		code := status.ExitCode()
		g.status = &code
	}
	g.mu.Unlock()
	if err != nil {
		return err
	}
	p.server.stop(defaultStop)
	return nil
}

func (g *guest) set(c *agent.Client) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.client = c
}

func (g *guest) get() *agent.Client {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.client
}

func (g *guest) stage() state.Stage {
	if g.get() != nil {
		return state.StageAgent
	}
	return state.StageKernel
}

// infoTimeout is how long the agent may take to tell how the guest fares. A guest that
// is busy or hostile must not hold up whoever asks for the machine.
const infoTimeout = 2 * time.Second

// info asks the agent; nil if there is none or it does not answer.
func (g *guest) info(ctx context.Context) *api.Guest {
	client := g.get()
	if client == nil {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, infoTimeout)
	defer cancel()
	i, err := client.Info(ctx)
	if err != nil {
		return nil
	}
	out := &api.Guest{
		Hostname: i.Hostname, Kernel: i.Kernel, Uptime: i.Uptime.Seconds(), Load: i.Load,
		Total: i.MemTotal, Available: i.MemAvailable, Addresses: []string{},
	}
	for _, a := range i.Addresses {
		if text, ok := addressText(a); ok {
			out.Addresses = append(out.Addresses, text)
		}
	}
	return out
}

// shutdown asks the guest to switch itself off: its agent if it answers, else by the
// power button.
func (g *guest) shutdown(m *vm.Machine) error {
	if client := g.get(); client != nil {
		if err := client.Shutdown(agent.PowerOff); err == nil {
			return nil
		}
	}
	return m.PressPowerButton()
}

// verdict is how the machine ended, for its journal.
func (g *guest) verdict(o vm.Outcome) state.Entry {
	g.mu.Lock()
	defer g.mu.Unlock()
	e := state.Entry{Event: state.EventEnd, Reason: o.Reason.String(), Status: g.status}
	if o.Err != nil && !errors.Is(o.Err, vm.ErrStopped) {
		e.Error = o.Err.Error()
	}
	if e.Status != nil {
		return e
	}
	status := 0
	switch {
	case o.Reason == vm.Panicked, o.Reason == vm.TripleFaulted, o.Reason == vm.Failed, g.fault != nil:
		status = statusMachine
	case o.Reason == vm.Killed:
		status = state.StatusKilled
	}
	if g.fault != nil && e.Error == "" {
		e.Error = g.fault.Error()
	}
	e.Status = &status
	return e
}

// statusMachine is the exit status of a machine that failed, as the command line has it.
const statusMachine = 125

func (g *guest) close() {
	if g.cancel != nil {
		g.cancel()
	}
	if client := g.get(); client != nil {
		_ = client.Close()
	}
	g.work.Wait()
}
