package main

import (
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/creack/pty"

	"github.com/gureum/gureum/fleet/api"
	"github.com/gureum/gureum/fleet/state"
)

// fakeConsole makes a machine whose console sends back what it gets, and tells of the
// sizes that it is told.
func fakeConsole(t *testing.T, name string) <-chan api.Size {
	t.Helper()
	base, err := os.MkdirTemp("", "gur") // short enough for sockets
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(base) })
	t.Setenv(state.EnvState, filepath.Join(base, "s"))
	t.Setenv(state.EnvRun, filepath.Join(base, "r"))
	dirs, err := state.DefaultDirs()
	if err != nil {
		t.Fatal(err)
	}
	if err := dirs.Make(); err != nil {
		t.Fatal(err)
	}
	record := &state.VM{ID: state.NewID(state.IDLength), Name: name, Created: time.Now()}
	if err := dirs.PutVM(record); err != nil {
		t.Fatal(err)
	}
	if err := os.MkdirAll(dirs.VMRoot(record.ID), 0o700); err != nil {
		t.Fatal(err)
	}
	lock, err := state.TryLock(dirs.Alive(record.ID))
	if err != nil {
		t.Fatal(err)
	}
	sizes := make(chan api.Size, 8)
	mux := http.NewServeMux()
	mux.HandleFunc("POST /v1/console/size", func(w http.ResponseWriter, r *http.Request) {
		var size api.Size
		_ = json.NewDecoder(r.Body).Decode(&size)
		w.WriteHeader(http.StatusNoContent)
		sizes <- size
	})
	mux.HandleFunc("GET /v1/console", func(w http.ResponseWriter, _ *http.Request) {
		conn, buffered, err := http.NewResponseController(w).Hijack()
		if err != nil {
			return
		}
		defer conn.Close()
		fmt.Fprintf(conn, "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: %s\r\n\r\n", api.StreamProtocol)
		_, _ = io.Copy(conn, buffered)
		fmt.Fprint(conn, "end of input\r\n")
		if c, is := conn.(*net.UnixConn); is {
			_ = c.CloseWrite()
		}
	})
	l, err := net.Listen("unix", dirs.API(record.ID))
	if err != nil {
		t.Fatal(err)
	}
	server := &http.Server{Handler: mux, ReadHeaderTimeout: time.Minute}
	go func() { _ = server.Serve(l) }()
	t.Cleanup(func() {
		_ = server.Close()
		_ = lock.Unlock()
	})
	return sizes
}

func TestAttachOnATerminal(t *testing.T) {
	sizes := fakeConsole(t, "web")
	e := spawn(t, "attach", "web")
	before := e.modes()
	e.wait("attached to web; Ctrl-] d detaches")
	if size := <-sizes; size != (api.Size{Rows: 33, Cols: 101}) {
		t.Errorf("size %+v", size)
	}
	e.send("login\r\x03\x1d\x1d") // Ctrl-C is the guest's, and so is a second Ctrl-]
	e.wait("login\r\x03\x1d")
	if err := pty.Setsize(e.pty, &pty.Winsize{Rows: 50, Cols: 132}); err != nil {
		t.Fatal(err)
	}
	if size := <-sizes; size != (api.Size{Rows: 50, Cols: 132}) {
		t.Errorf("size %+v", size)
	}
	e.send("\x1d?")
	e.wait("Ctrl-] q kills it")
	e.send("\x1dd")
	if status := e.exit(); status != 0 {
		t.Errorf("status %d, want 0", status)
	}
	if after := e.modes(); after != before {
		t.Errorf("the terminal's modes were %+v, are %+v", before, after)
	}
}
