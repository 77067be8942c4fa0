package agent

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"slices"
	"sync"
	"syscall"
	"time"
)

// Command is what to run in the guest.
type Command struct {
	Args []string // Args[0] is looked up in the guest's PATH
	Env  []string // KEY=value, added to the guest's defaults
	// CleanEnv leaves the guest's default environment out.
	CleanEnv bool
	Dir      string // working directory, "" = the guest's default

	// TTY runs the command on a pseudo-terminal of Rows by Cols; what it
	// writes comes through Stdout.
	TTY        bool
	Rows, Cols uint16

	Stdin          io.Reader // nil = empty
	Stdout, Stderr io.Writer // nil = thrown away

	// KillDelay is how long the command has to end after SIGTERM when the
	// context is done, before SIGKILL, and how long Run waits after that.
	// 0 = 5 s.
	KillDelay time.Duration
}

const (
	defaultKillDelay = 5 * time.Second
	outputWindow     = 256 << 10
)

// Session is a command that was started in the guest.
type Session struct {
	c       *Client
	ctx     context.Context
	cmd     Command
	channel uint16
	copying bool // a copy in place of a command
	stdin   *credit
	out     [2]*queue // stdout, stderr
	pumps   sync.WaitGroup

	started chan struct{} // closed by Started, or at the end
	ended   chan struct{} // closed by Exit and ExecError, after status and err
	once    sync.Once     // closes started
	status  ExitStatus
	err     error

	mu       sync.Mutex
	writeErr error
}

// Run runs a command in the guest and waits until it has ended and all its
// output was written. A command that cannot be started gives status 127 (not
// found) or 126 with an *ExecError. When ctx is done the command gets SIGTERM,
// then SIGKILL, and ctx's error comes back along with the status if there was
// one. When the stream ends, the error wraps ErrDisconnected.
//
// Run does not wait for a Read of cmd.Stdin that is under way when the command
// ends: what that Read returns is lost.
func (c *Client) Run(ctx context.Context, cmd Command) (ExitStatus, error) {
	s, err := c.Start(ctx, cmd)
	if err != nil {
		return ExitStatus{}, err
	}
	return s.Wait()
}

// Start asks the guest to run a command and returns without waiting for it.
// The caller must call Wait. ctx is for the life of the command.
func (c *Client) Start(ctx context.Context, cmd Command) (*Session, error) {
	frames, err := encodeExec(cmd)
	if err != nil {
		return nil, fmt.Errorf("run a command in the guest: %w", err)
	}
	if cmd.TTY && c.peer.features&FeatureTTY == 0 {
		return nil, fmt.Errorf("run %s in the guest on a terminal: %w", cmd.Args[0], ErrUnsupported)
	}
	return c.start(ctx, cmd, frames, false)
}

// start opens a channel with these frames.
func (c *Client) start(ctx context.Context, cmd Command, frames [][]byte, copying bool) (*Session, error) {
	s := &Session{
		c: c, ctx: ctx, cmd: cmd, copying: copying, stdin: newCredit(0),
		out:     [2]*queue{newQueue(outputWindow), newQueue(outputWindow)},
		started: make(chan struct{}), ended: make(chan struct{}),
	}
	if err := c.register(s); err != nil {
		return nil, err
	}
	for i, w := range []io.Writer{cmd.Stdout, cmd.Stderr} {
		s.pumps.Add(1)
		go s.output(uint8(i)+streamStdout, w)
	}
	for _, f := range frames {
		binary.LittleEndian.PutUint16(f[2:], s.channel)
		if err := c.out.control(f, ctx.Done()); err != nil {
			// A part of the request may be out: nothing can follow it.
			s.abandon()
			if ctx.Err() != nil {
				c.shut()
				return nil, fmt.Errorf("start %s in the guest: %w", cmd.Args[0], context.Cause(ctx))
			}
			return nil, c.disconnected("starting "+cmd.Args[0], err)
		}
	}
	if cmd.Stdin != nil {
		go s.input()
	}
	return s, nil
}

// encodeExec cuts a request into frames whose channel is still to be set.
func encodeExec(cmd Command) ([][]byte, error) {
	req := execRequest{
		rows: cmd.Rows, cols: cmd.Cols, dir: cmd.Dir, args: cmd.Args, env: cmd.Env,
		stdoutWindow: outputWindow, stderrWindow: outputWindow,
	}
	if cmd.TTY {
		req.flags |= execTTY
	}
	if cmd.Stdin == nil {
		req.flags |= execNoStdin
	}
	if cmd.CleanEnv {
		req.flags |= execCleanEnv
	}
	b, err := req.encode()
	if err != nil {
		return nil, err
	}
	var frames [][]byte
	for len(b) > 0 {
		n := min(len(b), MaxPayload)
		f := newFrame(typeExec, 0, b[:n])
		if b = b[n:]; len(b) > 0 {
			f[1] = flagMore
		}
		frames = append(frames, f)
	}
	return frames, nil
}

// register gives s a channel.
func (c *Client) register(s *Session) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.over {
		return fmt.Errorf("%w while starting %s: %w", ErrDisconnected, s.cmd.Args[0], causeOf(c.err))
	}
	if len(c.sessions) >= int(c.peer.maxCommands) {
		return fmt.Errorf("start %s in the guest: %d commands run there already, which is its limit", s.cmd.Args[0], len(c.sessions))
	}
	for {
		c.next++
		if c.next != 0 && c.sessions[c.next] == nil {
			break
		}
	}
	s.channel = c.next
	c.sessions[s.channel] = s
	c.newest = append(c.newest, s)
	return nil
}

// handle takes a frame of this command. Only the client's reader calls it.
func (s *Session) handle(t frameType, p []byte) error {
	switch t {
	case typeStarted:
		d := decoder{p: p}
		_, win := d.u32(), d.u32()
		select {
		case <-s.started:
			return &ProtocolError{"command started twice"}
		default:
		}
		if !d.done() || !validWindow(win) || !s.stdin.add(int(win)) {
			return &ProtocolError{"malformed started"}
		}
		s.once.Do(func() { close(s.started) })
		return nil
	case typeStdout, typeStderr:
		if !s.out[t-typeStdout].put(p) {
			return &ProtocolError{"more output than was asked for"}
		}
		return nil
	case typeWindow:
		w, err := parseWindow(p)
		if err == nil && (w.stream != streamStdin || !s.stdin.add(int(w.delta))) {
			err = &ProtocolError{"window for the wrong stream or too large"}
		}
		return err
	case typeClosed:
		n, err := parseClosed(p)
		if err == nil && n != streamStdin {
			err = &ProtocolError{"closed for the wrong stream"}
		}
		s.stdin.close()
		return err
	case typeExit:
		st, err := parseExit(p)
		if err != nil {
			return err
		}
		s.finish(st, nil)
		return nil
	case typeCopyError, typeExecError:
		return s.failed(t, p)
	}
	return &ProtocolError{"unknown frame type for a command"}
}

// failed ends what could not be done.
func (s *Session) failed(t frameType, p []byte) error {
	if (t == typeCopyError) != s.copying {
		return &ProtocolError{"error of a copy for a command, or the reverse"}
	}
	if s.copying {
		e, err := parseCopyError(p)
		if err == nil {
			s.finish(ExitStatus{Code: 1}, e)
		}
		return err
	}
	e, err := parseExecError(p)
	if err == nil {
		s.finish(ExitStatus{Code: e.Code}, e)
	}
	return err
}

// finish ends the session as the guest said.
func (s *Session) finish(st ExitStatus, err error) {
	s.c.mu.Lock()
	delete(s.c.sessions, s.channel)
	s.c.mu.Unlock()
	s.status, s.err = st, err
	close(s.ended)
	s.abandon()
}

// abandon frees what waits.
func (s *Session) abandon() {
	s.once.Do(func() { close(s.started) })
	s.stdin.close()
	for _, q := range s.out {
		q.end()
	}
}

// Wait waits until the command has ended and its output was written; Run tells
// what it returns.
func (s *Session) Wait() (ExitStatus, error) {
	err := s.waitEnd()
	if !s.waitOutput(err) {
		err = errors.Join(err, fmt.Errorf("output of %s in the guest: its reader does not take it", s.cmd.Args[0]))
	}
	s.retire()
	s.mu.Lock()
	defer s.mu.Unlock()
	select {
	case <-s.ended:
		if err == nil {
			err = s.err
		}
		if err == nil && s.writeErr != nil {
			err = fmt.Errorf("write output of %s: %w", s.cmd.Args[0], s.writeErr)
		}
		return s.status, err
	default:
		return ExitStatus{}, err
	}
}

func (s *Session) waitEnd() error {
	select {
	case <-s.ended:
		return nil
	case <-s.c.done:
		return s.lost()
	case <-s.ctx.Done():
	}
	cause := fmt.Errorf("run %s in the guest: %w", s.cmd.Args[0], context.Cause(s.ctx))
	delay := s.killDelay()
	for _, sig := range []syscall.Signal{syscall.SIGTERM, syscall.SIGKILL} {
		limit := time.NewTimer(delay)
		defer limit.Stop()
		go s.kill(sig)
		select {
		case <-s.ended:
			return cause
		case <-s.c.done:
			return errors.Join(cause, s.lost())
		case <-limit.C:
		}
	}
	// The guest may be waiting for us to take output: say that we never will.
	for i, q := range s.out {
		q.close()
		go s.c.out.post(closedFrame(s.channel, streamStdout+uint8(i)), s.ended)
	}
	return errors.Join(cause, fmt.Errorf("it did not end within %v of SIGKILL", delay))
}

// kill is Signal without a care whether it gets there.
func (s *Session) kill(sig syscall.Signal) { _ = s.Signal(int(sig)) }

// lost is the error for a stream that ended while the command ran, unless its
// end came through at the same time.
func (s *Session) lost() error {
	select {
	case <-s.ended:
		return nil
	default:
		return s.c.disconnected("running "+s.cmd.Args[0], nil)
	}
}

// waitOutput waits for the writers: for ever when the command ended by itself
// (a slow reader is not a fault), else as long as KillDelay.
func (s *Session) waitOutput(cause error) bool {
	for _, q := range s.out {
		q.end()
	}
	idle := make(chan struct{})
	go func() { s.pumps.Wait(); close(idle) }()
	if cause == nil {
		select {
		case <-idle:
			return true
		case <-s.ctx.Done():
		}
	}
	limit := time.NewTimer(s.killDelay())
	defer limit.Stop()
	select {
	case <-idle:
		return true
	case <-limit.C:
		return false
	}
}

func (s *Session) killDelay() time.Duration {
	if s.cmd.KillDelay == 0 {
		return defaultKillDelay
	}
	return s.cmd.KillDelay
}

// retire takes the session out of those that Signal and Resize find.
func (s *Session) retire() {
	c := s.c
	c.mu.Lock()
	defer c.mu.Unlock()
	c.newest = slices.DeleteFunc(c.newest, func(n *Session) bool { return n == s })
}
