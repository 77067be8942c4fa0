package agent

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"os"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// newGuest serves one end of a pipe and dials the other. Both end with the test.
func newGuest(t testing.TB, opts ServeOptions) *Client {
	t.Helper()
	if opts.Env == nil {
		opts.Env = os.Environ()
	}
	host, guest := net.Pipe()
	served := make(chan error, 1)
	go func() {
		served <- Serve(guest, opts)
		guest.Close()
	}()
	c, err := Dial(host)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		c.Close()
		if err := <-served; err != nil && !errors.Is(err, io.ErrClosedPipe) {
			t.Errorf("Serve: %v", err)
		}
	})
	return c
}

func testContext(t *testing.T) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	t.Cleanup(cancel)
	return ctx
}

// run runs a shell script and returns its status and output.
func run(t *testing.T, c *Client, cmd Command) (ExitStatus, string, string, error) {
	t.Helper()
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	st, err := c.Run(testContext(t), cmd)
	return st, stdout.String(), stderr.String(), err
}

// discard reads what is sent to a side that a test plays.
func discard(r io.Reader) { _, _ = io.Copy(io.Discard, r) }

func sh(script string) []string { return []string{"sh", "-c", script} }

func TestRun(t *testing.T) {
	c := newGuest(t, ServeOptions{Env: append(os.Environ(), "GREETING=hello")})
	tests := []struct {
		name           string
		cmd            Command
		code, signal   int
		stdout, stderr string
	}{
		{name: "output apart", cmd: Command{Args: sh("echo out; echo err >&2")}, stdout: "out\n", stderr: "err\n"},
		{name: "status", cmd: Command{Args: sh("exit 7")}, code: 7},
		{name: "signal", cmd: Command{Args: sh("kill -9 $$")}, signal: 9},
		{name: "default environment", cmd: Command{Args: sh("echo $GREETING")}, stdout: "hello\n"},
		{name: "environment", cmd: Command{Args: sh("echo $GREETING$X"), Env: []string{"GREETING=bye", "X=1"}}, stdout: "bye1\n"},
		{name: "clean environment", cmd: Command{Args: []string{"/usr/bin/env"}, CleanEnv: true, Env: []string{"A=1"}}, stdout: "A=1\n"},
		{name: "directory", cmd: Command{Args: []string{"pwd"}, Dir: "/usr"}, stdout: "/usr\n"},
		{name: "stdin", cmd: Command{Args: []string{"cat"}, Stdin: strings.NewReader("text")}, stdout: "text"},
		{name: "no stdin", cmd: Command{Args: []string{"cat"}}},
		{name: "stdin not read", cmd: Command{Args: []string{"true"}, Stdin: strings.NewReader(strings.Repeat("x", 1<<20))}},
		{name: "long argument", cmd: Command{Args: append(sh(`echo ${#1}`), "sh", strings.Repeat("x", 120<<10))}, stdout: "122880\n"},
		{name: "empty argument", cmd: Command{Args: append(sh(`echo $#`), "sh", "", "")}, stdout: "2\n"},
		{name: "broken pipe", cmd: Command{Args: sh("yes | head -n 2")}, stdout: "y\ny\n"},
		{name: "background", cmd: Command{Args: sh("sleep 30 & echo ready")}, stdout: "ready\n"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			st, stdout, stderr, err := run(t, c, tt.cmd)
			if err != nil {
				t.Fatal(err)
			}
			if st.Code != tt.code || st.Signal != tt.signal || stdout != tt.stdout || stderr != tt.stderr {
				t.Errorf("got %+v stdout %q stderr %q", st, stdout, stderr)
			}
		})
	}
}
