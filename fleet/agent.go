package fleet

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"time"

	"github.com/gureum/gureum/fleet/state"
	"github.com/gureum/gureum/guest/agent"
)

// pollAgent is how often a guest's agent is tried for.
const pollAgent = 50 * time.Millisecond

// Agent connects to the agent of a machine's guest. One that has not come up yet is
// waited for, but not longer than limit; the error then says how far the guest came.
func (f *Fleet) Agent(ctx context.Context, ref string, limit time.Duration) (*agent.Client, error) {
	record, err := f.Dirs.FindVM(ref)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	for {
		status, err := f.reachable(record.ID)
		if err != nil {
			return nil, err
		}
		client, err := f.dialAgent(ctx, record.ID)
		if err == nil {
			return client, nil
		}
		select {
		case <-ctx.Done():
			return nil, f.explain(record, status, err)
		case <-time.After(pollAgent):
		}
	}
}

// reachable tells what a machine is whose guest is to be reached. One that has ended but
// is wanted to run may be started again in a moment; that is the supervisor's to decide.
func (f *Fleet) reachable(id string) (state.Status, error) {
	status, err := f.Dirs.Status(id)
	if err != nil {
		return status, err
	}
	record, err := f.Dirs.GetVM(id)
	switch {
	case err != nil:
		return status, err
	case status.Phase == state.Running:
		return status, nil
	case status.Phase == state.Paused:
		return status, fmt.Errorf("%s: the machine is paused: gureum resume %s", record.Name, record.Name)
	case record.Want == state.WantRunning:
		return status, f.ensureSupervisor()
	}
	return status, fmt.Errorf("%s: %w: gureum start %s", record.Name, ErrNotRunning, record.Name)
}

// explain says how far a guest came whose agent does not answer.
func (f *Fleet) explain(record *state.VM, status state.Status, err error) error {
	if status.Stage == state.StageAgent {
		return fmt.Errorf("%s: the guest's agent answered once, and does not now: %w", record.Name, err)
	}
	return f.NotUp(record.ID, fmt.Errorf("%s: the guest's agent has not come up (its kernel was started %s ago): see gureum logs --console %s: %w",
		record.Name, time.Since(status.Started).Round(time.Second), record.Name, err))
}

// dialAgent calls the agent by the machine's socket.
func (f *Fleet) dialAgent(ctx context.Context, id string) (*agent.Client, error) {
	conn, err := f.DialGuest(ctx, id, agent.VsockPort)
	if err != nil {
		return nil, err
	}
	return agent.DialContext(ctx, conn)
}

// maxAnswer is longer than any "OK port" line.
const maxAnswer = 32

// DialGuest connects to a port of a machine's guest, by its vsock.
func (f *Fleet) DialGuest(ctx context.Context, id string, port uint32) (io.ReadWriteCloser, error) {
	conn, err := (&net.Dialer{}).DialContext(ctx, "unix", f.Dirs.Vsock(id))
	if err != nil {
		return nil, err
	}
	stop := context.AfterFunc(ctx, func() { _ = conn.SetDeadline(time.Unix(1, 0)) })
	defer stop()
	if _, err := fmt.Fprintf(conn, "CONNECT %d\n", port); err != nil {
		return nil, errors.Join(err, conn.Close())
	}
	r := bufio.NewReaderSize(conn, maxAnswer)
	line, err := r.ReadSlice('\n')
	if errors.Is(err, io.EOF) {
		err = fmt.Errorf("nobody in the guest listens on vsock port %d", port)
	}
	if err == nil && !strings.HasPrefix(string(line), "OK ") {
		err = fmt.Errorf("the machine's socket answers %q", line)
	}
	if err != nil {
		return nil, errors.Join(err, conn.Close())
	}
	return &guestConn{conn.(*net.UnixConn), r}, nil
}

// guestConn is a connection of which a part was read ahead.
type guestConn struct {
	*net.UnixConn
	r *bufio.Reader
}

// Read implements io.Reader.
func (c *guestConn) Read(p []byte) (int, error) { return c.r.Read(p) }
