package agent

import (
	"bytes"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"
)

// screen gathers output and waits for parts of it.
type screen struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (s *screen) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.text.Write(p)
}

func (s *screen) String() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.text.String()
}

func (s *screen) waitFor(t *testing.T, want string) {
	t.Helper()
	for end := time.Now().Add(20 * time.Second); time.Now().Before(end); time.Sleep(5 * time.Millisecond) {
		if strings.Contains(s.String(), want) {
			return
		}
	}
	t.Fatalf("%q did not show up in %q", want, s.String())
}

func TestTerminal(t *testing.T) {
	c := newGuest(t, ServeOptions{})
	var scr screen
	keys, typed := io.Pipe()
	s, err := c.Start(testContext(t), Command{
		Args: sh(`tty >/dev/null && echo terminal; trap 'stty size' WINCH; stty size; while :; do read line && break; done; echo "[$line]"; exec cat`),
		TTY:  true, Rows: 33, Cols: 111, Stdin: keys, Stdout: &scr,
	})
	if err != nil {
		t.Fatal(err)
	}
	scr.waitFor(t, "33 111\r\n")
	if err := c.Resize(40, 120); err != nil {
		t.Fatal(err)
	}
	scr.waitFor(t, "40 120\r\n")
	_, _ = io.WriteString(typed, "hello\r")
	scr.waitFor(t, "[hello]")
	_, _ = io.WriteString(typed, "\x03") // the terminal turns it into SIGINT
	st, err := s.Wait()
	if err != nil || st.Signal != 2 && st.Code != 130 {
		t.Errorf("%+v, %v: %q", st, err, scr.String())
	}
	typed.Close()
	if !strings.HasPrefix(scr.String(), "terminal\r\n") {
		t.Errorf("screen: %q", scr.String())
	}
}

func TestTerminalEndOfInput(t *testing.T) {
	c := newGuest(t, ServeOptions{})
	st, out, _, err := run(t, c, Command{Args: []string{"cat"}, TTY: true, Stdin: strings.NewReader("a line\n")})
	if err != nil || st.Code != 0 || out != "a line\r\na line\r\n" {
		t.Errorf("%+v, %v: %q", st, err, out)
	}
}

func TestTerminalBigOutput(t *testing.T) {
	c := newGuest(t, ServeOptions{})
	st, out, _, err := run(t, c, Command{Args: sh("stty -opost; head -c 2000000 /dev/zero | tr '\\0' x"), TTY: true})
	if err != nil || st.Code != 0 || len(out) != 2000000 {
		t.Errorf("%+v, %v: %d bytes", st, err, len(out))
	}
}

func TestTerminalHangup(t *testing.T) {
	c := newGuest(t, ServeOptions{})
	_, err := c.Run(testContext(t), Command{Args: sh("yes"), TTY: true, Stdout: brokenWriter{}})
	if !errors.Is(err, io.ErrShortWrite) {
		t.Error(err)
	}
}

// TestBackground has a child that outlives the command, with and without
// output of its own.
func TestBackground(t *testing.T) {
	c := newGuest(t, ServeOptions{})
	for _, script := range []string{
		"yes & echo $!",
		"head -c 50000 /dev/zero; sleep 30 & echo $!",
		"(while :; do echo x; sleep 0.01; done) & echo $!",
	} {
		for _, tty := range []bool{false, true} {
			start := time.Now()
			st, out, _, err := run(t, c, Command{Args: sh(script), TTY: tty})
			if err != nil || st.Code != 0 || len(out) == 0 {
				t.Errorf("%q: %+v, %v, %d bytes", script, st, err, len(out))
			}
			if strings.HasPrefix(script, "head") && len(out) < 50000 {
				t.Errorf("%q: only %d bytes", script, len(out))
			}
			if d := time.Since(start); d > 10*time.Second {
				t.Errorf("%q took %v", script, d)
			}
		}
	}
}

func TestSignalsReachTheGroup(t *testing.T) {
	c := newGuest(t, ServeOptions{})
	var scr screen
	s, err := c.Start(testContext(t), Command{Args: sh("sh -c 'trap \"echo inner; exit\" INT; echo up; while :; do sleep 0.01; done'; echo outer"), Stdout: &scr})
	if err != nil {
		t.Fatal(err)
	}
	scr.waitFor(t, "up\n")
	if err := c.Signal(2); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Wait(); err != nil {
		t.Error(err)
	}
	if !strings.Contains(scr.String(), "inner\n") {
		t.Errorf("screen: %q", scr.String())
	}
	if err := s.Signal(0); err == nil {
		t.Error("signal 0 was accepted")
	}
}

func TestExecErrors(t *testing.T) {
	c := newGuest(t, ServeOptions{})
	dir := t.TempDir()
	write := func(name, text string, mode os.FileMode) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(text), mode); err != nil {
			t.Fatal(err)
		}
		return path
	}
	tests := []struct {
		name string
		cmd  Command
		code int
		want string
	}{
		{"not found", Command{Args: []string{"no-such-program"}}, 127, "no-such-program: command not found"},
		{"path not found", Command{Args: []string{"/no/such"}}, 127, "/no/such: command not found"},
		{"empty name", Command{Args: []string{""}}, 126, ""},
		{"a directory", Command{Args: []string{dir}}, 126, "directory"},
		{"not executable", Command{Args: []string{write("plain", "hi", 0o644)}}, 126, "permission denied"},
		{"not executable in PATH", Command{Args: []string{"plain"}, Env: []string{"PATH=" + dir}}, 126, "permission denied"},
		{"not a program", Command{Args: []string{write("junk", "\x01\x02\x03\x04", 0o755)}}, 126, "exec format error"},
		{"no interpreter", Command{Args: []string{write("script", "#!/no/such\n", 0o755)}}, 127, "no such file"},
		{"no directory", Command{Args: []string{"true"}, Dir: "/no/such"}, 126, "working directory /no/such"},
		{"directory is a file", Command{Args: []string{"true"}, Dir: "/etc/passwd"}, 126, "not a directory"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			for _, tty := range []bool{false, true} {
				tt.cmd.TTY = tty
				st, _, _, err := run(t, c, tt.cmd)
				var fault *ExecError
				if !errors.As(err, &fault) || fault.Code != tt.code || st.Code != tt.code || !strings.Contains(err.Error(), tt.want) {
					t.Errorf("%+v, %v", st, err)
				}
			}
		})
	}
	t.Run("relative to the directory", func(t *testing.T) {
		write("tool", "#!/bin/sh\necho tool\n", 0o755)
		if _, out, _, err := run(t, c, Command{Args: []string{"./tool"}, Dir: dir}); err != nil || out != "tool\n" {
			t.Error(out, err)
		}
	})
	t.Run("guest is not ready", func(t *testing.T) {
		c := newGuest(t, ServeOptions{Ready: func() error { return errors.New("no /proc") }})
		if _, _, _, err := run(t, c, Command{Args: []string{"true"}}); err == nil || !strings.Contains(err.Error(), "no /proc") {
			t.Error(err)
		}
	})
}
