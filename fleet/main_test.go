package fleet

import (
	"context"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/gureum/gureum/fleet/api"
	"github.com/gureum/gureum/fleet/spec"
	"github.com/gureum/gureum/fleet/state"
)

// envFake has the test's program be a machine's process: the folders and the machine.
const envFake = "GUREUM_TEST_FAKE"

func TestMain(m *testing.M) {
	if text := os.Getenv(envFake); text != "" {
		runFake(text)
		return
	}
	goleak.VerifyTestMain(m)
}

// fakeProcess says what a process to be made is.
type fakeProcess struct {
	Dirs state.Dirs
	ID   string
}

// runFake holds a machine's lock and answers on its socket until it is told to end.
func runFake(text string) {
	var o fakeProcess
	if err := json.Unmarshal([]byte(text), &o); err != nil {
		panic(err)
	}
	lock, err := state.TryLock(o.Dirs.Alive(o.ID))
	if err != nil {
		panic(err)
	}
	defer func() { _ = lock.Unlock() }()
	journal, err := state.OpenJournal(o.Dirs.Journal(o.ID))
	if err != nil {
		panic(err)
	}
	_ = journal.Add(state.Entry{Event: state.EventStart, PID: os.Getpid()})
	l, err := net.Listen("unix", o.Dirs.API(o.ID))
	if err != nil {
		panic(err)
	}
	ended := make(chan struct{})
	go func() { _ = http.Serve(l, fakeAPI(o.ID, func() { close(ended) })) }()
	fmt.Println("ready")
	<-ended
	status := state.StatusKilled
	_ = journal.Add(state.Entry{Event: state.EventEnd, Reason: "killed", Status: &status})
}

// fakeAPI is a machine's control interface, as far as tests need it.
func fakeAPI(id string, kill func()) http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /v1", func(w http.ResponseWriter, _ *http.Request) {
		_ = json.NewEncoder(w).Encode(api.Info{ID: id, State: "running"})
	})
	mux.HandleFunc("GET /v1/stats", func(w http.ResponseWriter, _ *http.Request) {
		_ = json.NewEncoder(w).Encode(api.Stats{CPU: 1e9, Exits: map[string]uint64{"io": 2, "mmio": 3}})
	})
	mux.HandleFunc("POST /v1/pause", func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusNoContent) })
	mux.HandleFunc("POST /v1/kill", func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(http.StatusNoContent)
		time.AfterFunc(10*time.Millisecond, kill)
	})
	return mux
}

// testFleet is a fleet without machines.
func testFleet(t *testing.T) *Fleet {
	t.Helper()
	base, err := os.MkdirTemp("", "gur") // short enough for sockets
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(base) })
	f := &Fleet{Dirs: state.Dirs{State: filepath.Join(base, "s"), Run: filepath.Join(base, "r")}}
	if err := f.Dirs.Make(); err != nil {
		t.Fatal(err)
	}
	return f
}

// addMachine makes a machine that was never started.
func addMachine(t *testing.T, f *Fleet, name string, change func(*state.VM)) *state.VM {
	t.Helper()
	record := &state.VM{ID: state.NewID(state.IDLength), Name: name, Created: time.Now().UTC(), Spec: spec.Spec{Name: name}, Want: state.WantStopped}
	if change != nil {
		change(record)
	}
	if err := f.Dirs.PutVM(record); err != nil {
		t.Fatal(err)
	}
	addEvents(t, f, record.ID, state.Entry{Event: state.EventCreate})
	if err := os.MkdirAll(f.Dirs.VMRoot(record.ID), 0o700); err != nil {
		t.Fatal(err)
	}
	return record
}

func addEvents(t *testing.T, f *Fleet, id string, entries ...state.Entry) {
	t.Helper()
	for _, e := range entries {
		if err := f.note(id, e); err != nil {
			t.Fatal(err)
		}
	}
}

// startFake starts a process for a machine. It is killed at the test's end.
func startFake(t *testing.T, f *Fleet, id string) *exec.Cmd {
	t.Helper()
	text, err := json.Marshal(fakeProcess{f.Dirs, id})
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), envFake+"="+string(text))
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	})
	if _, err := out.Read(make([]byte, 6)); err != nil {
		t.Fatalf("the process did not come up: %v", err)
	}
	return cmd
}

// holdAlive makes a machine look alive, and has handler answer on its control socket.
func holdAlive(t *testing.T, f *Fleet, id string, handler http.Handler) {
	t.Helper()
	lock, err := state.TryLock(f.Dirs.Alive(id))
	if err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("unix", f.Dirs.API(id))
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	server := &http.Server{Handler: handler, BaseContext: func(net.Listener) context.Context { return ctx }}
	served := make(chan struct{})
	go func() {
		defer close(served)
		_ = server.Serve(l)
	}()
	t.Cleanup(func() {
		cancel()
		_ = server.Close()
		<-served
		_ = lock.Unlock()
	})
	addEvents(t, f, id, state.Entry{Event: state.EventStart, PID: os.Getpid()})
}
