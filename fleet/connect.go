package fleet

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"sync"
	"time"

	"github.com/gureum/gureum/fleet/state"
	"github.com/gureum/gureum/guest/agent"
)

// sshPort is that of ssh servers, on TCP and, by systemd's generator for sshd, on vsock
// (systemd-ssh-generator(8)).
const sshPort = 22

// tryFor bounds one way into a guest while there are others; tryAgent the agent's, which
// has to start a command.
const (
	tryFor   = 3 * time.Second
	tryAgent = 10 * time.Second
)

// Connect connects to a TCP port of a machine's guest, without its address: by the same
// port on its vsock, where systemd's ssh generator listens; else by a command that its
// agent runs and that connects inside; else by its address on a network of the fleet.
func (f *Fleet) Connect(ctx context.Context, ref string, port uint16) (io.ReadWriteCloser, error) {
	m, err := f.Get(ref)
	if err != nil {
		return nil, err
	}
	if _, err := f.reachable(m.ID); err != nil {
		return nil, err
	}
	var errs []error
	for _, way := range []func(context.Context, *Machine, uint16) (io.ReadWriteCloser, error){f.byVsock, f.byAgent, byAddress} {
		conn, err := way(ctx, m, port)
		if err == nil {
			return conn, nil
		}
		errs = append(errs, err)
		if ctx.Err() != nil {
			break
		}
	}
	return nil, fmt.Errorf("%s: no way to port %d of the guest: %w", m.Name, port, errors.Join(errs...))
}

// AwaitConnect is Connect to a guest that may not be up yet. It tries until limit is over;
// the error then says how far the guest came.
func (f *Fleet) AwaitConnect(ctx context.Context, ref string, port uint16, limit time.Duration) (io.ReadWriteCloser, error) {
	m, err := f.Get(ref)
	if err != nil {
		return nil, err
	}
	wait, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	for {
		conn, err := f.Connect(wait, m.ID, port)
		if err == nil {
			return conn, nil
		}
		if status, fault := f.reachable(m.ID); fault != nil || !alive(status) && m.Want != state.WantRunning {
			return nil, errors.Join(fault, err)
		}
		select {
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		case <-wait.Done():
			return nil, f.NotUp(m.ID, err)
		case <-time.After(pollConnect):
		}
	}
}

// pollConnect is how often a port of a guest is tried for.
const pollConnect = 200 * time.Millisecond

func (f *Fleet) byVsock(ctx context.Context, m *Machine, port uint16) (io.ReadWriteCloser, error) {
	ctx, cancel := context.WithTimeout(ctx, tryFor)
	defer cancel()
	return f.DialGuest(ctx, m.ID, uint32(port))
}

func byAddress(ctx context.Context, m *Machine, port uint16) (io.ReadWriteCloser, error) {
	if len(m.Ports) == 0 || !privileged() {
		return nil, errors.New("the host reaches it by no network")
	}
	return (&net.Dialer{Timeout: tryFor}).DialContext(ctx, "tcp", net.JoinHostPort(m.Ports[0].IP.String(), fmt.Sprint(port)))
}

// relays connects standard input and output to a port of the guest's own, by what a
// stock system has: bash, which opens /dev/tcp itself, or nc. The port is in $1. Bash
// cannot close one direction alone: when one ends the other gets a second at most.
const relays = `if command -v bash >/dev/null 2>&1; then
	exec bash -c 'exec 3<>/dev/tcp/127.0.0.1/$0 || exit 1
		exec 4<&0
		printf +
		cat <&3 & out=$!
		cat <&4 >&3 & in=$!
		wait -n
		kill -0 $out 2>/dev/null && sleep 1
		kill $out $in 2>/dev/null
		wait
		exit 0' "$1"
fi
command -v nc >/dev/null 2>&1 || exit 127
printf +
exec nc 127.0.0.1 "$1"`

// byAgent has the agent run a relay. It says + before anything else once it is connected.
func (f *Fleet) byAgent(ctx context.Context, m *Machine, port uint16) (io.ReadWriteCloser, error) {
	dial, cancel := context.WithTimeout(ctx, tryAgent)
	defer cancel()
	client, err := f.dialAgent(dial, m.ID)
	if err != nil {
		return nil, fmt.Errorf("the guest's agent does not answer: %w", err)
	}
	toGuest, in := io.Pipe()
	out, fromGuest := io.Pipe()
	run, end := context.WithCancel(context.WithoutCancel(ctx))
	r := &relay{in: in, out: out, client: client, end: end, done: make(chan struct{})}
	go func() {
		defer close(r.done)
		var said limitedText
		status, err := client.Run(run, agent.Command{
			Args: []string{"/bin/sh", "-c", relays, "sh", fmt.Sprint(port)}, Stdin: toGuest, Stdout: fromGuest, Stderr: &said, KillDelay: time.Second,
		})
		if err == nil && status.ExitCode() != 0 {
			err = fmt.Errorf("nobody in the guest listens on port %d, or it has neither bash nor nc: %s", port, said.String())
		}
		_ = fromGuest.CloseWithError(err) // nil is the end of the file
		_ = toGuest.CloseWithError(io.ErrClosedPipe)
	}()
	stop := context.AfterFunc(dial, end)
	_, err = io.ReadFull(out, make([]byte, 1))
	if !stop() && err == nil {
		err = context.Cause(dial)
	}
	if err != nil {
		return nil, errors.Join(err, r.Close())
	}
	return r, nil
}

// relay is a connection that a command in the guest carries.
type relay struct {
	in     *io.PipeWriter
	out    *io.PipeReader
	client *agent.Client
	end    context.CancelFunc
	done   chan struct{}
}

// Read implements io.Reader.
func (r *relay) Read(p []byte) (int, error) { return r.out.Read(p) }

// Write implements io.Writer.
func (r *relay) Write(p []byte) (int, error) { return r.in.Write(p) }

// CloseWrite tells the guest that nothing more comes.
func (r *relay) CloseWrite() error { return r.in.Close() }

// Close ends the command.
func (r *relay) Close() error {
	r.end()
	_ = r.in.Close()
	_ = r.out.Close()
	err := r.client.Close()
	<-r.done
	return err
}

// limitedText keeps the beginning of what a guest says of itself.
type limitedText struct {
	mu   sync.Mutex
	text []byte
}

// maxSaid bounds what is kept, in bytes.
const maxSaid = 1 << 10

// Write implements io.Writer.
func (l *limitedText) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.text = append(l.text, p[:min(len(p), maxSaid-len(l.text))]...)
	return len(p), nil
}

// String is what was kept.
func (l *limitedText) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return Printable(strings.TrimSpace(string(l.text)))
}

// StageSSH is reached when the guest's ssh server answers.
const StageSSH state.Stage = "ssh"

// greets tells whether an ssh server is at the other end: it speaks first (RFC 4253,
// section 4.2).
func greets(ctx context.Context, conn io.ReadWriteCloser) bool {
	ctx, cancel := context.WithTimeout(ctx, tryFor)
	defer cancel()
	defer context.AfterFunc(ctx, func() { _ = conn.Close() })()
	line, err := bufio.NewReaderSize(conn, 256).ReadSlice('\n')
	return err == nil && strings.HasPrefix(string(line), "SSH-")
}
