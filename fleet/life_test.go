package fleet

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/gureum/gureum/fleet/api"
	"github.com/gureum/gureum/fleet/state"
	"github.com/gureum/gureum/vm"
)

// within fails if a call took longer than a limit.
func within(t *testing.T, what string, limit time.Duration, f func()) {
	t.Helper()
	start := time.Now()
	f()
	if took := time.Since(start); took > limit {
		t.Errorf("%s took %s", what, took)
	}
}

// stop stops a process and keeps it so until the test's end: whatever lets all processes
// of a group or a machine go on, as a shell or the machine's owner may, counts for nothing.
func stop(t *testing.T, process *os.Process) {
	t.Helper()
	if err := process.Signal(syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	done, over := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(over)
		for {
			select {
			case <-done:
				return
			case <-time.After(time.Millisecond):
				_ = process.Signal(syscall.SIGSTOP)
			}
		}
	}()
	t.Cleanup(func() {
		close(done)
		<-over
	})
	stat := fmt.Sprintf("/proc/%d/stat", process.Pid)
	for range 1000 {
		text, err := os.ReadFile(stat)
		if err != nil {
			t.Fatal(err)
		}
		if _, rest, _ := strings.Cut(string(text), ") "); strings.HasPrefix(rest, "T") {
			return
		}
		time.Sleep(10 * time.Millisecond)
	}
	t.Fatal("the process does not stop")
}

func TestProcessThatIsStoppedHoldsUpNobody(t *testing.T) {
	t.Parallel()
	f := testFleet(t)
	record := addMachine(t, f, "web", nil)
	process := startFake(t, f, record.ID)
	ctx := context.Background()
	if err := f.Pause(ctx, "web"); err != nil {
		t.Fatal(err)
	}
	if pid, err := f.PID(record.ID); err != nil || pid != process.Process.Pid {
		t.Errorf("process %d, %v; is %d", pid, err, process.Process.Pid)
	}
	stop(t, process.Process)
	within(t, "list", time.Second, func() {
		list, err := f.List()
		if err != nil || len(list) != 1 || list[0].Phase != state.Running {
			t.Errorf("%v, %v", list, err)
		}
	})
	within(t, "stats", statsPatience+2*time.Second, func() {
		list, _ := f.List()
		if s := f.Stats(ctx, list); len(s) != 1 || !strings.Contains(s[0].Error, "does not answer") {
			t.Errorf("%+v", s)
		}
	})
	within(t, "inspect", inspectPatience+2*time.Second, func() {
		d, err := f.Inspect(ctx, "web")
		if err != nil || d.Live != nil || !strings.Contains(d.LiveError, "does not answer") {
			t.Errorf("%+v, %v", d, err)
		}
	})
	short, cancel := context.WithTimeout(ctx, 300*time.Millisecond)
	defer cancel()
	within(t, "pause and console", 3*time.Second, func() {
		if err := f.Pause(short, "web"); err == nil || !strings.Contains(err.Error(), "gureum kill web") {
			t.Errorf("pause: %v", err)
		}
		again, cancel := context.WithTimeout(ctx, 300*time.Millisecond)
		defer cancel()
		if _, err := f.Console(again, "web"); err == nil || !strings.Contains(err.Error(), "gureum kill web") {
			t.Errorf("console: %v", err)
		}
	})
	within(t, "rm -f", 2*patience+2*time.Second, func() {
		if err := f.Remove(ctx, "web", true); err != nil {
			t.Error(err)
		}
	})
	if _, err := f.Get("web"); !errors.Is(err, state.ErrNotFound) {
		t.Errorf("it is still there: %v", err)
	}
}

func TestHostileProcess(t *testing.T) {
	t.Parallel()
	for name, handler := range map[string]http.HandlerFunc{
		"no JSON": func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte("<html>")) },
		"endless": func(w http.ResponseWriter, _ *http.Request) {
			_, _ = w.Write([]byte(`{"name":"`))
			for chunk := []byte(strings.Repeat("x", 1<<16)); ; {
				if _, err := w.Write(chunk); err != nil {
					return
				}
			}
		},
		"silent": func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() },
		"slow": func(w http.ResponseWriter, r *http.Request) {
			for r.Context().Err() == nil {
				_, _ = w.Write([]byte(" "))
				_ = http.NewResponseController(w).Flush()
				time.Sleep(10 * time.Millisecond)
			}
		},
		"redirect":  func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, "/v1", http.StatusFound) },
		"hangs up":  func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) },
		"no errors": func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusInternalServerError) },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f := testFleet(t)
			record := addMachine(t, f, "web", nil)
			holdAlive(t, f, record.ID, handler)
			within(t, "both", inspectPatience+statsPatience+2*time.Second, func() {
				d, err := f.Inspect(context.Background(), "web")
				if err != nil || d.Live != nil || d.LiveError == "" {
					t.Errorf("%+v, %v", d, err)
				}
				if s := f.Stats(context.Background(), []*Machine{d.Machine}); s[0].Error == "" {
					t.Errorf("%+v", s)
				}
			})
		})
	}
}

func TestCallsAreRefused(t *testing.T) {
	f := testFleet(t)
	record := addMachine(t, f, "web", nil)
	ctx := context.Background()
	for name, call := range map[string]func(string) error{
		"pause":  func(ref string) error { return f.Pause(ctx, ref) },
		"resume": func(ref string) error { return f.Resume(ctx, ref) },
		"update": func(ref string) error { return f.Update(ctx, ref, api.Update{}) },
		"size":   func(ref string) error { return f.ResizeConsole(ctx, ref, api.Size{}) },
		"console": func(ref string) error {
			_, err := f.Console(ctx, ref)
			return err
		},
		"connect": func(ref string) error {
			_, err := f.Connect(ctx, ref, 22)
			return err
		},
	} {
		if err := call("web"); !errors.Is(err, ErrNotRunning) || !strings.Contains(err.Error(), "gureum start web") {
			t.Errorf("%s of one that does not run: %v", name, err)
		}
		if err := call("ghost"); !errors.Is(err, state.ErrNotFound) {
			t.Errorf("%s of none: %v", name, err)
		}
	}
	holdAlive(t, f, record.ID, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(http.StatusBadRequest)
		_, _ = w.Write([]byte(`{"error":"too much"}`))
	}))
	var input *vm.InputError
	if err := f.Update(ctx, "web", api.Update{}); !errors.As(err, &input) || !strings.Contains(err.Error(), "too much") {
		t.Errorf("wrong input: %v", err)
	}
}

func TestOldProcess(t *testing.T) {
	f := testFleet(t)
	record := addMachine(t, f, "web", nil)
	holdAlive(t, f, record.ID, http.NotFoundHandler())
	if err := f.Pause(context.Background(), "web"); err == nil || !strings.Contains(err.Error(), "another release") {
		t.Errorf("%v", err)
	}
}

func TestStats(t *testing.T) {
	f := testFleet(t)
	record := addMachine(t, f, "web", nil)
	startFake(t, f, record.ID)
	list, err := f.List()
	if err != nil {
		t.Fatal(err)
	}
	s := f.Stats(context.Background(), list)[0]
	if s.Error != "" || s.CPU != 1e9 || s.Exits != 5 || s.VMM < 1<<20 || s.Name != "web" {
		t.Errorf("%+v", s)
	}
	before := s
	before.Time, before.CPU = s.Time.Add(-2*time.Second), 5e8
	if s.Since(&before); s.CPUPercent == nil || *s.CPUPercent != 25 {
		t.Errorf("%+v", s)
	}
	again := Sample{Time: s.Time.Add(time.Second), CPU: 3}
	if again.Since(&s); again.CPUPercent != nil {
		t.Error("the CPU time of a machine that was started again was compared")
	}
}

// TestTraffic counts a tap by the host's interface, and what has none by its queues.
func TestTraffic(t *testing.T) {
	record := &state.VM{Ports: []state.Port{{NIC: 1, Tap: "lo"}, {NIC: 2, Tap: "gur-missing"}}}
	taps := countTaps(record)
	if _, ok := taps["net1"]; !ok || len(taps) != 1 {
		t.Errorf("counters: %v", taps)
	}
	var s Sample
	s.add(&api.Stats{Devices: []api.Queue{
		{Device: "net0", BytesIn: 1, BytesOut: 2}, {Device: "net1", BytesIn: 10, BytesOut: 20}, {Device: "block0", BytesIn: 100},
	}}, map[string]traffic{"net1": {received: 1000, sent: 2000}})
	if s.NetIn != 2001 || s.NetOut != 1002 {
		t.Errorf("received %d, sent %d", s.NetIn, s.NetOut)
	}
}

const smaps = `00400000-00500000 r-xp 00000000 fe:00 12       /usr/bin/gureum
Size:               1024 kB
Rss:                 600 kB
Private_Hugetlb:       0 kB
VmFlags: rd ex mr mw me dw sd
7f0000000000-7f0010000000 rw-p 00000000 00:00 0
Rss:               32768 kB
Private_Hugetlb:    2048 kB
VmFlags: rd wr mr mw me dc nr dd sd
7f0020000000-7f0020100000 rw-p 00000000 00:01 7      /memfd:gureum-kernel (deleted)
Rss:                1024 kB
VmFlags: rd wr mr mw me dc dd sd
7f0030000000-7f0030100000 rw-p 00000000 00:00 0      [heap]
Rss:                 400 kB
VmFlags: rd wr mr mw me ac sd
`

func TestSplitMemory(t *testing.T) {
	guest, vmm, err := splitMemory(strings.NewReader(smaps))
	if err != nil || guest != (32768+2048+1024)<<10 || vmm != 1000<<10 {
		t.Errorf("%d, %d, %v", guest>>10, vmm>>10, err)
	}
}

// TestKillBetween: a process that has closed its socket and not ended yet is waited for.
func TestKillBetween(t *testing.T) {
	f := testFleet(t)
	record := addMachine(t, f, "web", nil)
	lock, err := state.TryLock(f.Dirs.Alive(record.ID))
	if err != nil {
		t.Fatal(err)
	}
	addEvents(t, f, record.ID, state.Entry{Event: state.EventStart, PID: os.Getpid()})
	time.AfterFunc(300*time.Millisecond, func() { _ = lock.Unlock() })
	if err := f.Kill(t.Context(), "web"); err != nil {
		t.Error(err)
	}
	if held, err := state.Held(f.Dirs.Alive(record.ID)); err != nil || held {
		t.Errorf("it lives: %v, %v", held, err)
	}
}

// TestSmallHeap: the Go runtime knows the word that keeps huge pages off the heap of a
// machine's process.
func TestSmallHeap(t *testing.T) {
	f := &Fleet{}
	if !slices.Contains(f.environment(), smallHeap) {
		t.Fatalf("%v", f.environment())
	}
	if os.Getenv(smallHeapChild) != "" {
		fmt.Println(noHugePages(t, new([1 << 20]byte)))
		return
	}
	if _, err := os.Stat("/sys/kernel/mm/transparent_hugepage"); err != nil {
		return // this kernel has no huge pages
	}
	for _, tt := range []struct{ word, want string }{{smallHeap, "true"}, {"GODEBUG=", "false"}} {
		cmd := exec.Command(os.Args[0], "-test.run=^TestSmallHeap$")
		cmd.Env = append(os.Environ(), tt.word, smallHeapChild+"=1")
		if out, err := cmd.CombinedOutput(); err != nil || !strings.HasPrefix(string(out), tt.want+"\n") {
			t.Errorf("%s: %v, %s", tt.word, err, out)
		}
	}
}

const smallHeapChild = "GUREUM_TEST_SMALL_HEAP"

// noHugePages tells whether the mapping of a thing on the heap is to have none.
func noHugePages(t *testing.T, thing *[1 << 20]byte) bool {
	t.Helper()
	smaps, err := os.ReadFile("/proc/self/smaps")
	if err != nil {
		t.Fatal(err)
	}
	var at, start, end uint64
	if _, err := fmt.Sscanf(fmt.Sprintf("%p", thing), "0x%x", &at); err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(smaps)) {
		if _, err := fmt.Sscanf(line, "%x-%x ", &start, &end); err == nil {
			continue
		}
		if flags, is := strings.CutPrefix(line, "VmFlags:"); is && at >= start && at < end {
			return slices.Contains(strings.Fields(flags), "nh")
		}
	}
	t.Fatalf("%#x is nowhere", at)
	return false
}
