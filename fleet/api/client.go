package api

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"time"
)

// ErrGone is wrapped by errors that tell that no process serves the machine.
var ErrGone = errors.New("the machine does not run")

// StatusError is an answer other than success.
type StatusError struct {
	Status  int // of HTTP
	Message string
}

func (e *StatusError) Error() string { return e.Message }

// Client calls one machine's process. It may be used from several goroutines.
type Client struct {
	path string
	http *http.Client
}

// NewClient names the machine whose socket is at path. It does not connect.
func NewClient(path string) *Client {
	c := &Client{path: path}
	c.http = &http.Client{Transport: &http.Transport{
		DialContext:       func(ctx context.Context, _, _ string) (net.Conn, error) { return c.dial(ctx) },
		DisableKeepAlives: true,
	}}
	return c
}

func (c *Client) dial(ctx context.Context) (net.Conn, error) {
	conn, err := (&net.Dialer{}).DialContext(ctx, "unix", c.path)
	if err != nil && ctx.Err() == nil {
		return nil, fmt.Errorf("%w: %w", ErrGone, err)
	}
	return conn, err
}

// maxAnswer bounds an answer, in bytes.
const maxAnswer = 4 << 20

// call sends in, if it is not nil, and reads the answer into out, if that is not nil.
func (c *Client) call(ctx context.Context, method, path string, in, out any) error {
	var body io.Reader
	if in != nil {
		text, err := json.Marshal(in)
		if err != nil {
			return err
		}
		body = bytes.NewReader(text)
	}
	request, err := http.NewRequestWithContext(ctx, method, "http://machine/"+Version+path, body)
	if err != nil {
		return err
	}
	answer, err := c.http.Do(request)
	if err != nil {
		return hangUp(err)
	}
	defer answer.Body.Close()
	limited := io.LimitReader(answer.Body, maxAnswer)
	if answer.StatusCode/100 != 2 {
		return answerError(answer.StatusCode, limited)
	}
	if out == nil {
		return nil
	}
	if err := json.NewDecoder(limited).Decode(out); err != nil {
		return hangUp(err)
	}
	return nil
}

// hangUp tells a process that went away during a call from other faults.
func hangUp(err error) error {
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) || isReset(err) {
		return fmt.Errorf("%w any more: %w", ErrGone, err)
	}
	return err
}

func answerError(status int, body io.Reader) error {
	var e Error
	if err := json.NewDecoder(body).Decode(&e); err != nil || e.Message == "" {
		e.Message = http.StatusText(status)
	}
	return &StatusError{status, e.Message}
}

// Info asks what the machine is.
func (c *Client) Info(ctx context.Context) (*Info, error) {
	out := &Info{}
	return out, c.call(ctx, http.MethodGet, "", nil, out)
}

// Stats asks for its counters.
func (c *Client) Stats(ctx context.Context) (*Stats, error) {
	out := &Stats{}
	return out, c.call(ctx, http.MethodGet, "/stats", nil, out)
}

// Pause stops the virtual CPUs, Resume lets them go on.
func (c *Client) Pause(ctx context.Context) error {
	return c.call(ctx, http.MethodPost, "/pause", nil, nil)
}

// Resume lets a paused machine go on.
func (c *Client) Resume(ctx context.Context) error {
	return c.call(ctx, http.MethodPost, "/resume", nil, nil)
}

// Stop asks the guest to switch itself off, and has it killed when it takes longer than
// timeout. It returns when the request was taken.
func (c *Client) Stop(ctx context.Context, timeout time.Duration) error {
	return c.call(ctx, http.MethodPost, "/stop", Stop{timeout.Seconds()}, nil)
}

// Kill ends the machine as if its power were cut.
func (c *Client) Kill(ctx context.Context) error {
	return c.call(ctx, http.MethodPost, "/kill", nil, nil)
}

// Update changes the machine.
func (c *Client) Update(ctx context.Context, u Update) error {
	return c.call(ctx, http.MethodPatch, "", u, nil)
}

// Resize tells the size of the terminal at the console.
func (c *Client) Resize(ctx context.Context, size Size) error {
	return c.call(ctx, http.MethodPost, "/console/size", size, nil)
}

// StreamProtocol is the protocol that GET /v1/console switches to (RFC 9110, section
// 7.8): the bytes of the console, both ways.
const StreamProtocol = "gureum-stream"

// Console connects to the machine's console.
func (c *Client) Console(ctx context.Context) (io.ReadWriteCloser, error) {
	conn, err := c.dial(ctx)
	if err != nil {
		return nil, err
	}
	stream, err := upgrade(ctx, conn)
	if err != nil && ctx.Err() != nil {
		err = context.Cause(ctx) // what the connection says follows from it
	}
	if err != nil {
		return nil, errors.Join(err, conn.Close())
	}
	return stream, nil
}

func upgrade(ctx context.Context, conn net.Conn) (io.ReadWriteCloser, error) {
	defer context.AfterFunc(ctx, func() { _ = conn.SetDeadline(time.Unix(1, 0)) })()
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://machine/"+Version+"/console", nil)
	if err != nil {
		return nil, err
	}
	request.Header.Set("Connection", "Upgrade")
	request.Header.Set("Upgrade", StreamProtocol)
	if err := request.Write(conn); err != nil {
		return nil, hangUp(err)
	}
	r := bufio.NewReader(conn)
	answer, err := http.ReadResponse(r, request)
	if err != nil {
		return nil, hangUp(err)
	}
	if answer.StatusCode != http.StatusSwitchingProtocols {
		defer answer.Body.Close()
		return nil, answerError(answer.StatusCode, io.LimitReader(answer.Body, maxAnswer))
	}
	return &stream{conn, r}, nil
}

// stream is a connection of which a part was read ahead.
type stream struct {
	net.Conn
	r *bufio.Reader
}

// Read implements io.Reader.
func (s *stream) Read(p []byte) (int, error) { return s.r.Read(p) }

// CloseWrite tells the machine that nothing more is typed; what it writes still comes.
func (s *stream) CloseWrite() error {
	if c, is := s.Conn.(*net.UnixConn); is {
		return c.CloseWrite()
	}
	return nil
}
