package fleet

import (
	"context"
	"errors"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/gureum/gureum/fleet/state"
)

func eventTexts(t *testing.T, f *Fleet, o EventOptions) string {
	t.Helper()
	var out []string
	err := f.Events(context.Background(), o, func(e Event) error {
		out = append(out, e.Name+" "+e.Event)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return strings.Join(out, ", ")
}

func TestEvents(t *testing.T) {
	f := testFleet(t)
	start := time.Now().Add(-time.Hour)
	at := func(minutes int, event string) state.Entry {
		return state.Entry{Time: start.Add(time.Duration(minutes) * time.Minute), Event: event}
	}
	a, b := addMachine(t, f, "a", nil), addMachine(t, f, "b", nil)
	for _, record := range []*state.VM{a, b} {
		if err := os.Truncate(f.Dirs.Journal(record.ID), 0); err != nil {
			t.Fatal(err)
		}
	}
	addEvents(t, f, a.ID, at(0, "create"), at(10, "start"), at(30, "end"))
	addEvents(t, f, b.ID, at(20, "create"), at(25, "start"))
	for want, o := range map[string]EventOptions{
		"a create, a start, b create, b start, a end": {},
		"b start, a end":           {Since: start.Add(25 * time.Minute)},
		"a create, a start, a end": {Machine: a.ID},
		"":                         {Since: time.Now()},
	} {
		if got := eventTexts(t, f, o); got != want {
			t.Errorf("%+v: %q, want %q", o, got, want)
		}
	}
}

func TestEventsAreFollowed(t *testing.T) {
	f := testFleet(t)
	a := addMachine(t, f, "a", nil)
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	stop := errors.New("enough")
	next := map[string]func(){
		"a create": func() {
			// A line that is not whole yet is not an event.
			file, err := os.OpenFile(f.Dirs.Journal(a.ID), os.O_APPEND|os.O_WRONLY, 0)
			if err != nil {
				t.Error(err)
				return
			}
			defer file.Close()
			_, _ = file.WriteString(`{"time":"2026-01-01T00:00:00Z","event":"sta`)
			time.AfterFunc(2*pollEvents, func() {
				file, _ := os.OpenFile(f.Dirs.Journal(a.ID), os.O_APPEND|os.O_WRONLY, 0)
				_, _ = file.WriteString("rt\"}\n")
				_ = file.Close()
			})
		},
		"a start":  func() { addMachine(t, f, "b", nil) },
		"b create": func() { _ = f.Dirs.RemoveVM(a.ID) },
	}
	var seen []string
	err := f.Events(ctx, EventOptions{Follow: true}, func(e Event) error {
		text := e.Name + " " + e.Event
		seen = append(seen, text)
		if text == "a remove" {
			return stop
		}
		next[text]()
		return nil
	})
	if want := "a create, a start, b create, a remove"; !errors.Is(err, stop) || strings.Join(seen, ", ") != want {
		t.Errorf("%q, %v", seen, err)
	}
}

func TestPrune(t *testing.T) {
	f := testFleet(t)
	one := 1
	ended := []state.Entry{{Event: state.EventStart, PID: 1 << 30}, {Event: state.EventEnd, Status: &one}}
	addMachine(t, f, "created", nil)
	gone := addMachine(t, f, "ended", nil)
	addEvents(t, f, gone.ID, ended...)
	lost := addMachine(t, f, "lost", nil)
	addEvents(t, f, lost.ID, ended[0])
	again := addMachine(t, f, "again", func(vm *state.VM) { vm.Spec.Restart, vm.Want = "always", state.WantRunning })
	addEvents(t, f, again.ID, ended...)
	runs := addMachine(t, f, "runs", nil)
	startFake(t, f, runs.ID)
	for _, dir := range []string{f.Dirs.VMDir("aaaaaaaaaaaa"), f.Dirs.VMRoot("bbbbbbbbbbbb"), f.Dirs.VMDir("bbbbbbbbbbbb")} {
		if err := os.MkdirAll(dir, 0o700); err != nil {
			t.Fatal(err)
		}
	}
	stray := startFake(t, f, "bbbbbbbbbbbb") // a process whose record is gone
	machines, strays, err := f.Prunable()
	var names []string
	for _, m := range machines {
		names = append(names, m.Name)
	}
	if err != nil || strings.Join(names, " ") != "ended lost" || strings.Join(strays, " ") != "aaaaaaaaaaaa bbbbbbbbbbbb" {
		t.Fatalf("%q, %q, %v", names, strays, err)
	}
	ctx := context.Background()
	for _, m := range machines {
		if err := f.Prune(ctx, m.ID); err != nil {
			t.Error(err)
		}
	}
	for _, id := range append(strays, runs.ID) { // of a machine, nothing is removed
		if err := f.RemoveStray(ctx, id); err != nil {
			t.Error(err)
		}
	}
	if err := stray.Wait(); err != nil {
		t.Errorf("the process without a record: %v", err)
	}
	if err := f.Prune(ctx, runs.ID); !errors.Is(err, ErrRunning) {
		t.Errorf("one that runs: %v", err)
	}
	list, err := f.List()
	names = nil
	for _, m := range list {
		names = append(names, m.Name)
	}
	if strings.Join(names, " ") != "created again runs" || err != nil {
		t.Errorf("left: %q, %v", names, err)
	}
	if strays, err := f.Dirs.Strays(); len(strays) > 0 || err != nil {
		t.Errorf("strays: %q, %v", strays, err)
	}
}
