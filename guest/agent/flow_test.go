package agent

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"hash"
	"io"
	"math/rand"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

// pattern is n bytes that repeat nowhere soon.
func pattern(n int64) io.Reader {
	return io.LimitReader(rand.New(rand.NewSource(1)), n)
}

func sum(t *testing.T, r io.Reader) []byte {
	t.Helper()
	h := sha256.New()
	if _, err := io.Copy(h, r); err != nil {
		t.Fatal(err)
	}
	return h.Sum(nil)
}

func TestBigStreams(t *testing.T) {
	const size = 10 << 20
	c := newGuest(t, ServeOptions{})
	for _, script := range []string{"cat", "cat >&2", "tee /dev/stderr"} {
		t.Run(script, func(t *testing.T) {
			out, errs := sha256.New(), sha256.New()
			st, err := c.Run(testContext(t), Command{Args: sh(script), Stdin: pattern(size), Stdout: out, Stderr: errs})
			if err != nil || st.Code != 0 {
				t.Fatal(st, err)
			}
			want := fmt.Sprintf("%x", sum(t, pattern(size)))
			for _, h := range []hash.Hash{out, errs} {
				got := fmt.Sprintf("%x", h.Sum(nil))
				if got != want && got != fmt.Sprintf("%x", sha256.New().Sum(nil)) {
					t.Errorf("checksum %s, want %s", got, want)
				}
			}
			if fmt.Sprintf("%x", out.Sum(nil)) != want && fmt.Sprintf("%x", errs.Sum(nil)) != want {
				t.Error("neither stream is complete")
			}
		})
	}
}

// gate is a writer that lets bytes through only once it is opened.
type gate struct {
	open chan struct{}
	n    atomic.Int64
}

func (g *gate) Write(p []byte) (int, error) {
	<-g.open
	g.n.Add(int64(len(p)))
	return len(p), nil
}

func TestSlowReader(t *testing.T) {
	c := newGuest(t, ServeOptions{})
	g := &gate{open: make(chan struct{})}
	s, err := c.Start(testContext(t), Command{Args: sh("head -c 4000000 /dev/zero; echo done >&2"), Stdout: g})
	if err != nil {
		t.Fatal(err)
	}
	// While nobody takes its output, all else goes on.
	if st, out, _, err := run(t, c, Command{Args: sh("echo hi")}); err != nil || st.Code != 0 || out != "hi\n" {
		t.Fatal(st, out, err)
	}
	if err := c.Ping(testContext(t)); err != nil {
		t.Fatal(err)
	}
	s.out[0].mu.Lock()
	if held := s.out[0].held; held > outputWindow {
		t.Errorf("%d bytes are held, window is %d", held, outputWindow)
	}
	s.out[0].mu.Unlock()
	close(g.open)
	if st, err := s.Wait(); err != nil || st.Code != 0 {
		t.Fatal(st, err)
	}
	if n := g.n.Load(); n != 4000000 {
		t.Errorf("%d bytes came through", n)
	}
}

// blocked is a command that does not read; signals must reach it all the same.
func TestStdinNotRead(t *testing.T) {
	c := newGuest(t, ServeOptions{})
	var out bytes.Buffer
	ready := make(chan struct{}, 1)
	s, err := c.Start(testContext(t), Command{
		Args:   sh(`trap 'echo got it; exit 3' TERM; echo up; while :; do sleep 0.01; done`),
		Stdin:  pattern(4 << 20),
		Stdout: io.MultiWriter(&out, notify(ready)),
	})
	if err != nil {
		t.Fatal(err)
	}
	<-ready
	if err := s.Signal(15); err != nil {
		t.Fatal(err)
	}
	st, err := s.Wait()
	if err != nil || st.Code != 3 || out.String() != "up\ngot it\n" {
		t.Error(st, err, out.String())
	}
	if err := s.Signal(15); !errors.Is(err, ErrNoCommand) {
		t.Errorf("signal after the end: %v", err)
	}
}

type notify chan struct{}

func (n notify) Write(p []byte) (int, error) {
	select {
	case n <- struct{}{}:
	default:
	}
	return len(p), nil
}

type brokenWriter struct{}

func (brokenWriter) Write([]byte) (int, error) { return 0, io.ErrShortWrite }

func TestOutputFails(t *testing.T) {
	c := newGuest(t, ServeOptions{})
	// Without the broken pipe in the guest this would never end.
	st, err := c.Run(testContext(t), Command{Args: []string{"yes"}, Stdout: brokenWriter{}})
	if !errors.Is(err, io.ErrShortWrite) || st.Signal != 13 && st.Code != 1 {
		t.Error(st, err)
	}
}

func TestCancel(t *testing.T) {
	c := newGuest(t, ServeOptions{})
	tests := []struct {
		name   string
		script string
		want   ExitStatus
	}{
		{"terminates", "echo up; exec sleep 30", ExitStatus{Signal: 15}},
		{"ignores SIGTERM", "trap '' TERM; echo up; while :; do sleep 0.01; done", ExitStatus{Signal: 9}},
		{"cleans up", "trap 'exit 4' TERM; echo up; while :; do sleep 0.01; done", ExitStatus{Code: 4}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			ctx, cancel := context.WithCancel(testContext(t))
			ready := make(chan struct{}, 1)
			go func() { <-ready; cancel() }()
			st, err := c.Run(ctx, Command{Args: sh(tt.script), Stdout: notify(ready), KillDelay: 300 * time.Millisecond})
			if !errors.Is(err, context.Canceled) || st != tt.want {
				t.Errorf("%+v, %v", st, err)
			}
		})
	}
	if st, out, _, err := run(t, c, Command{Args: sh("echo still here")}); err != nil || out != "still here\n" {
		t.Error(st, out, err)
	}
}

func TestCancelWithBlockedWriter(t *testing.T) {
	c := newGuest(t, ServeOptions{})
	g := &gate{open: make(chan struct{})}
	ctx, cancel := context.WithTimeout(testContext(t), 200*time.Millisecond)
	defer cancel()
	_, err := c.Run(ctx, Command{Args: []string{"yes"}, Stdout: g, KillDelay: 100 * time.Millisecond})
	if !errors.Is(err, context.DeadlineExceeded) {
		t.Error(err)
	}
	close(g.open)
	if st, out, _, err := run(t, c, Command{Args: sh("echo still here")}); err != nil || out != "still here\n" {
		t.Error(st, out, err)
	}
}

func TestManyAtOnce(t *testing.T) {
	c := newGuest(t, ServeOptions{})
	const n = 20
	results := make(chan error, n)
	for i := range n {
		go func() {
			var out bytes.Buffer
			st, err := c.Run(testContext(t), Command{
				Args: sh(fmt.Sprintf("cat; exit %d", i)), Stdin: pattern(200 << 10), Stdout: &out,
			})
			if err == nil && (st.Code != i || out.Len() != 200<<10) {
				err = fmt.Errorf("command %d: %+v, %d bytes", i, st, out.Len())
			}
			results <- err
		}()
	}
	for range n {
		if err := <-results; err != nil {
			t.Error(err)
		}
	}
}

func TestRequestTooLong(t *testing.T) {
	c := newGuest(t, ServeOptions{})
	for _, args := range [][]string{nil, {"echo", strings.Repeat("x", MaxExec)}, {"a\x00b"}} {
		if _, _, _, err := run(t, c, Command{Args: args}); err == nil {
			t.Errorf("%d arguments were accepted", len(args))
		}
	}
	if st, _, _, err := run(t, c, Command{Args: []string{"true", strings.Repeat("x", 100<<10), strings.Repeat("y", 100<<10)}}); err != nil || st.Code != 0 {
		t.Error(st, err)
	}
}
