package fleet

import (
	"bytes"
	"context"
	"errors"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/gureum/gureum/fleet/state"
)

func TestLastLines(t *testing.T) {
	for _, c := range []struct {
		text string
		n    int
		want string
	}{
		{"a\nb\nc\n", 0, ""},
		{"a\nb\nc\n", 1, "c\n"},
		{"a\nb\nc", 1, "c"},
		{"a\nb\nc\n", 2, "b\nc\n"},
		{"a\nb\nc\n", 3, "a\nb\nc\n"},
		{"a\nb\nc\n", 9, "a\nb\nc\n"},
		{"a\n\n", 1, "\n"},
		{"", 1, ""},
		{"", 0, ""},
		{"\n", 1, "\n"},
		{"a", 0, ""},
	} {
		if got := string(lastLines([]byte(c.text), c.n)); got != c.want {
			t.Errorf("%q, %d: %q, want %q", c.text, c.n, got, c.want)
		}
	}
}

// text is written to and read by two goroutines.
type text struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (b *text) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.Write(p)
}

func (b *text) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.String()
}

func TestLogs(t *testing.T) {
	f := testFleet(t)
	record := addMachine(t, f, "web", func(vm *state.VM) { vm.Spec.Command = []string{"x"} })
	console, err := state.OpenLog(f.Dirs.ConsoleLog(record.ID))
	if err != nil {
		t.Fatal(err)
	}
	defer console.Close()
	output, err := state.OpenLog(f.Dirs.OutputLog(record.ID))
	if err != nil {
		t.Fatal(err)
	}
	defer output.Close()
	_, _ = console.Write([]byte("boot\nlogin: "))
	_, _ = output.Write([]byte("1\n2\n3\n"))
	for want, o := range map[string]LogOptions{
		"1\n2\n3\n":     {Tail: -1},
		"3\n":           {Tail: 1},
		"boot\nlogin: ": {Tail: -1, Console: true},
		"login: ":       {Tail: 1, Console: true, Follow: true}, // ends, as it does not run
	} {
		var out bytes.Buffer
		if err := f.Logs(context.Background(), "web", o, &out); err != nil || out.String() != want {
			t.Errorf("%+v: %q, %v", o, out.String(), err)
		}
	}
	lock, err := state.TryLock(f.Dirs.Alive(record.ID))
	if err != nil {
		t.Fatal(err)
	}
	addEvents(t, f, record.ID, state.Entry{Event: state.EventStart, PID: 1})
	var out text
	time.AfterFunc(2*pollLogs, func() {
		_, _ = output.Write([]byte("4\n"))
		time.AfterFunc(2*pollLogs, func() {
			_, _ = output.Write([]byte("5\n"))
			addEvents(t, f, record.ID, state.Entry{Event: state.EventEnd})
			_ = lock.Unlock()
		})
	})
	if err := f.Logs(context.Background(), "web", LogOptions{Tail: 1, Follow: true}, &out); err != nil || out.String() != "3\n4\n5\n" {
		t.Errorf("%q, %v", out.String(), err)
	}
}

func TestLogsOfMachineThatIsRemoved(t *testing.T) {
	f := testFleet(t)
	record := addMachine(t, f, "web", func(vm *state.VM) { vm.Spec.Restart, vm.Want = "always", state.WantRunning })
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	time.AfterFunc(3*pollLogs, func() { _ = f.Dirs.RemoveVM(record.ID) })
	if err := f.Logs(ctx, "web", LogOptions{Follow: true}, &text{}); err != nil {
		t.Errorf("%v", err)
	}
}

func TestNotUp(t *testing.T) {
	f := testFleet(t)
	record := addMachine(t, f, "web", nil)
	fault := errors.New("web is not up")
	err := f.NotUp(record.ID, fault)
	if !errors.Is(err, fault) || !strings.Contains(err.Error(), "stage reached: none") || !strings.Contains(err.Error(), "console is empty") {
		t.Errorf("%v", err)
	}
	addEvents(t, f, record.ID, state.Entry{Event: state.EventStart, PID: 1}, state.Entry{Event: state.EventStage, Stage: "kernel"})
	console, err := state.OpenLog(f.Dirs.ConsoleLog(record.ID))
	if err != nil {
		t.Fatal(err)
	}
	defer console.Close()
	if err := f.NotUp(record.ID, fault); !strings.Contains(err.Error(), "stage reached: kernel\n") {
		t.Errorf("%v", err)
	}
	_, _ = console.Write([]byte("[  1.0] Run /sbin/init as init process\r\n" + strings.Repeat("a line\r\n", 50) +
		"\x1b[31mred\x1b]0;title\a " + strings.Repeat("é", 500) + "\r\n\r\n"))
	text := f.NotUp(record.ID, fault).Error()
	if !strings.Contains(text, "stage reached: init (by its console)") || strings.ContainsAny(text, "\x1b\a\r") ||
		!strings.Contains(text, "[31mred") || strings.Count(text, "\n") > consoleLines+3 || len(text) > 1000 {
		t.Errorf("%q", text)
	}
}

func TestStageOf(t *testing.T) {
	for _, c := range []struct {
		known         state.Stage
		console, want string
	}{
		{"", "", "none: its virtual CPUs were not started"},
		{state.StageKernel, "Linux version 6", "kernel"},
		{state.StageKernel, "systemd[1]: Detected virtualization", "init (by its console)"},
		{state.StageKernel, "systemd[1]: x\n[  OK  ] Reached target \x1b[0;1;39mnetwork.target\x1b[0m - Network", "network (by its console)"},
		{state.StageKernel, "systemd[1]: x\n[   10.1] cloud-init[400]: Cloud-init v. 22.4.2 running", "cloud-init (by its console)"},
		{state.StageAgent, "systemd[1]: x", "agent"},
	} {
		if got := stageOf(c.known, []byte(c.console)); got != c.want {
			t.Errorf("%q: %q, want %q", c.console, got, c.want)
		}
	}
}

func TestAwaitStage(t *testing.T) {
	f := testFleet(t)
	record := addMachine(t, f, "web", nil)
	ctx := context.Background()
	if err := f.AwaitStage(ctx, "web", state.StageAgent, time.Second); err == nil || !strings.Contains(err.Error(), "before its guest was up") {
		t.Errorf("one that does not run: %v", err)
	}
	lock, err := state.TryLock(f.Dirs.Alive(record.ID))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = lock.Unlock() }()
	addEvents(t, f, record.ID, state.Entry{Event: state.EventStart, PID: 1}, state.Entry{Event: state.EventStage, Stage: "kernel"})
	if err := f.AwaitStage(ctx, "web", state.StageAgent, 2*awaitPoll); err == nil || !strings.Contains(err.Error(), "stage reached: kernel") {
		t.Errorf("one that is not up: %v", err)
	}
	time.AfterFunc(2*awaitPoll, func() { addEvents(t, f, record.ID, state.Entry{Event: state.EventStage, Stage: "agent"}) })
	if err := f.AwaitStage(ctx, "web", state.StageAgent, 10*time.Second); err != nil {
		t.Error(err)
	}
}
