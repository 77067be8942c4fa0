package vm

import (
	"context"
	"errors"
	"io"

	"github.com/gureum/gureum/guest/agent"
)

// DialAgent waits for the guest's agent to come up and connects to it. It comes by
// vsock where the guest's kernel has that built in, as the embedded one does, else by
// the second serial port: the first to answer is taken. A guest's own agent comes by
// vsock. When the machine ends before, the error wraps agent.ErrDisconnected.
func (m *Machine) DialAgent(ctx context.Context) (*agent.Client, error) {
	if m.vsock.calls == nil {
		return agent.DialContext(ctx, m.AgentPort())
	}
	if m.config.OwnAgent {
		return m.dialVsock(ctx)
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	type answer struct {
		client *agent.Client
		err    error
	}
	answers := make(chan answer, 2)
	ways := []func(context.Context) (*agent.Client, error){
		m.dialVsock,
		func(ctx context.Context) (*agent.Client, error) { return agent.DialContext(ctx, m.AgentPort()) },
	}
	for _, way := range ways {
		go func() {
			c, err := way(ctx)
			answers <- answer{c, err}
		}()
	}
	var won *agent.Client
	var fault error
	for range ways {
		a := <-answers
		switch {
		case a.err == nil && won == nil:
			won = a.client
			cancel() // the other one
		case a.err == nil:
			_ = a.client.Close()
		case fault == nil || errors.Is(a.err, agent.ErrDisconnected):
			fault = a.err
		}
	}
	if won != nil {
		return won, nil
	}
	return nil, fault
}

// dialVsock waits for the agent's call on the vsock.
func (m *Machine) dialVsock(ctx context.Context) (*agent.Client, error) {
	return answerCalls(ctx, func(ctx context.Context) (io.ReadWriteCloser, error) {
		return m.vsock.accept(ctx, m.stopped)
	})
}

// answerCalls takes calls of the guest until an agent speaks in one. A guest that gave
// up waiting for the host to take its call, as it may on a busy host, calls again.
func answerCalls(ctx context.Context, accept func(context.Context) (io.ReadWriteCloser, error)) (*agent.Client, error) {
	for {
		call, err := accept(ctx)
		if err != nil {
			return nil, err
		}
		client, err := agent.DialContext(ctx, call)
		if !errors.Is(err, agent.ErrDisconnected) {
			return client, err
		}
	}
}
