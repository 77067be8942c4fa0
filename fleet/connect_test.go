package fleet

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/gureum/gureum/fleet/state"
	"github.com/gureum/gureum/guest/agent"
)

// guestSocket serves a machine's vsock socket: connections to each port go to a function.
func guestSocket(t *testing.T, f *Fleet, id string, ports map[int]func(net.Conn)) {
	t.Helper()
	lock, err := state.TryLock(f.Dirs.Alive(id))
	if err != nil {
		t.Fatal(err)
	}
	addEvents(t, f, id, state.Entry{Event: state.EventStart, PID: 1}, state.Entry{Event: state.EventStage, Stage: "kernel"})
	l, err := net.Listen("unix", f.Dirs.Vsock(id))
	if err != nil {
		t.Fatal(err)
	}
	var work sync.WaitGroup
	work.Go(func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			work.Go(func() { serveGuestSocket(conn, ports) })
		}
	})
	t.Cleanup(func() {
		_ = l.Close()
		work.Wait()
		_ = lock.Unlock()
	})
}

func serveGuestSocket(conn net.Conn, ports map[int]func(net.Conn)) {
	defer conn.Close()
	var port int
	var line [32]byte // read byte by byte: what follows is the port's
	for n := 0; n < len(line); n++ {
		if _, err := conn.Read(line[n : n+1]); err != nil {
			return
		}
		if line[n] == '\n' {
			_, _ = fmt.Sscanf(string(line[:n]), "CONNECT %d", &port)
			break
		}
	}
	if serve := ports[port]; serve != nil {
		_, _ = io.WriteString(conn, "OK 1024\n")
		serve(conn)
	}
}

// serveAgent is a guest's agent, whose guest is this machine.
func serveAgent(conn net.Conn) {
	_ = agent.Serve(conn, agent.ServeOptions{Env: []string{"PATH=/usr/bin:/bin"}, Reaper: agent.NewReaper(false)})
}

// greeter listens on TCP and speaks as an ssh server does, then sends back what it gets.
func greeter(t *testing.T) uint16 {
	t.Helper()
	l, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var work sync.WaitGroup
	work.Go(func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			work.Go(func() { greet(conn) })
		}
	})
	t.Cleanup(func() {
		_ = l.Close()
		work.Wait()
	})
	return uint16(l.Addr().(*net.TCPAddr).Port)
}

func greet(conn net.Conn) {
	_, _ = io.WriteString(conn, "SSH-2.0-test\r\n")
	_, _ = io.Copy(conn, conn)
	_ = conn.Close()
}

// talk checks a connection to a greeter.
func talk(t *testing.T, conn io.ReadWriteCloser) {
	t.Helper()
	r := bufio.NewReader(conn)
	if line, err := r.ReadString('\n'); line != "SSH-2.0-test\r\n" || err != nil {
		t.Errorf("greeted by %q, %v", line, err)
	}
	sent := strings.Repeat("all of it comes back, in its order; ", 10000)
	go func() {
		_, _ = io.WriteString(conn, sent)
		_ = conn.(interface{ CloseWrite() error }).CloseWrite()
	}()
	back, err := io.ReadAll(r)
	if string(back) != sent || err != nil {
		t.Errorf("%d bytes came back of %d: %v", len(back), len(sent), err)
	}
	if err := conn.Close(); err != nil {
		t.Error(err)
	}
}

func TestConnect(t *testing.T) {
	f := testFleet(t)
	byVsock, byAgent, neither := addMachine(t, f, "vsock", nil), addMachine(t, f, "agent", nil), addMachine(t, f, "neither", nil)
	guestSocket(t, f, byVsock.ID, map[int]func(net.Conn){22: greet})
	guestSocket(t, f, byAgent.ID, map[int]func(net.Conn){int(agent.VsockPort): serveAgent})
	guestSocket(t, f, neither.ID, nil)
	ctx := context.Background()
	conn, err := f.Connect(ctx, "vsock", 22)
	if err != nil {
		t.Fatal(err)
	}
	talk(t, conn)
	port := greeter(t)
	if conn, err = f.Connect(ctx, "agent", port); err != nil {
		t.Fatal(err)
	}
	talk(t, conn)
	for name, port := range map[string]uint16{"agent": 1, "neither": 22} {
		within(t, "no way", tryFor, func() {
			if _, err := f.Connect(ctx, name, port); err == nil || !strings.Contains(err.Error(), "no way to port") {
				t.Errorf("%s: %v", name, err)
			}
		})
	}
	if err := f.AwaitStage(ctx, "vsock", StageSSH, 5*time.Second); err != nil {
		t.Error(err)
	}
	if err := f.AwaitStage(ctx, "neither", StageSSH, 200*time.Millisecond); err == nil || !strings.Contains(err.Error(), "stage reached: kernel") {
		t.Errorf("%v", err)
	}
	within(t, "waiting", 5*time.Second, func() {
		if _, err := f.AwaitConnect(ctx, "neither", 22, 300*time.Millisecond); err == nil || !strings.Contains(err.Error(), "stage reached: kernel") {
			t.Errorf("%v", err)
		}
	})
}

// TestAwaitCloudInit has the guest's agent, which is on this machine, run a cloud-init of
// the test's own.
func TestAwaitCloudInit(t *testing.T) {
	f := testFleet(t)
	dir := t.TempDir()
	serve := func(conn net.Conn) {
		_ = agent.Serve(conn, agent.ServeOptions{Env: []string{"PATH=" + dir}, Reaper: agent.NewReaper(false)})
	}
	guestSocket(t, f, addMachine(t, f, "web", nil).ID, map[int]func(net.Conn){int(agent.VsockPort): serve})
	for _, tt := range []struct{ script, want string }{
		{"", "has no cloud-init to wait for"},
		{"exit 0", ""},
		{"exit 2", ""},
		{"echo status: error; exit 1", "cloud-init failed in the guest"},
		{"while :; do :; done", "not done after 300ms"},
	} {
		if tt.script != "" {
			if err := os.WriteFile(filepath.Join(dir, "cloud-init"), []byte("#!/bin/sh\n"+tt.script+"\n"), 0o700); err != nil {
				t.Fatal(err)
			}
		}
		limit := 20 * time.Second
		if strings.Contains(tt.want, "300ms") {
			limit = 300 * time.Millisecond
		}
		err := f.AwaitStage(t.Context(), "web", StageCloudInit, limit)
		if got := fmt.Sprint(err); (tt.want == "") != (err == nil) || !strings.Contains(got, tt.want) && err != nil {
			t.Errorf("%q: %v, want %q", tt.script, err, tt.want)
		}
	}
}

// TestConnectToGuestThatSaysNothing: one that takes connections and never answers must
// not hold up anybody for longer than the limits.
func TestConnectToGuestThatSaysNothing(t *testing.T) {
	f := testFleet(t)
	record := addMachine(t, f, "deaf", nil)
	deaf := func(conn net.Conn) { _, _ = io.Copy(io.Discard, conn) }
	guestSocket(t, f, record.ID, map[int]func(net.Conn){int(agent.VsockPort): deaf, 22: deaf})
	ctx, cancel := context.WithTimeout(context.Background(), 500*time.Millisecond)
	defer cancel()
	within(t, "connect", 3*time.Second, func() {
		if _, err := f.byAgent(ctx, &Machine{VM: record}, 22); err == nil {
			t.Error("an agent that says nothing")
		}
	})
	within(t, "ssh", tryFor+2*time.Second, func() {
		if err := f.AwaitStage(context.Background(), "deaf", StageSSH, 500*time.Millisecond); err == nil {
			t.Error("a server that says nothing")
		}
	})
}
