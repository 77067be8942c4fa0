package vm

import (
	"context"
	"errors"
	"io"

	"github.com/gureum/gureum/guest/agent"
)

// DialAgent waits for the guest's agent to come up and connects to it. It comes by
// vsock where the guest's kernel has that built in, as the embedded one does, else by
// the second serial port: the first to answer is taken. When the machine ends
// before, the error wraps agent.ErrDisconnected.
func (m *Machine) DialAgent(ctx context.Context) (*agent.Client, error) {
	if m.vsock.calls == nil {
		return agent.DialContext(ctx, m.AgentPort())
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	type answer struct {
		client *agent.Client
		err    error
	}
	answers := make(chan answer, 2)
	ways := []func(context.Context) (io.ReadWriteCloser, error){
		func(ctx context.Context) (io.ReadWriteCloser, error) { return m.vsock.accept(ctx, m.stopped) },
		func(context.Context) (io.ReadWriteCloser, error) { return m.AgentPort(), nil },
	}
	for _, way := range ways {
		go func() {
			rw, err := way(ctx)
			if err != nil {
				answers <- answer{nil, err}
				return
			}
			c, err := agent.DialContext(ctx, rw)
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
