package vcpu

import (
	"bytes"
	"errors"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/gureum/gureum/kvm"
)

func mustDo(t testing.TB, errs ...error) {
	t.Helper()
	for _, err := range errs {
		if err != nil {
			t.Fatal(err)
		}
	}
}

// within fails the test if f takes too long: a lost wake-up hangs.
func within(t testing.TB, d time.Duration, what string, f func()) {
	t.Helper()
	done := make(chan struct{})
	go func() { defer close(done); f() }()
	select {
	case <-done:
	case <-time.After(d):
		t.Fatalf("%s did not return in %v", what, d)
	}
}

func TestTransitions(t *testing.T) {
	type step struct {
		name string
		do   func(*Group) error
		want State // after it
		ok   bool
	}
	start := step{"start", (*Group).Start, StateRunning, true}
	pause := step{"pause", (*Group).Pause, StatePaused, true}
	resume := step{"resume", (*Group).Resume, StateRunning, true}
	stop := step{"stop", (*Group).Stop, StateStopped, true}
	closed := step{"close", (*Group).Close, StateClosed, true}
	not := func(s step, stays State) step { s.ok, s.want = false, stays; return s }
	tests := map[string][]step{
		"life":             {start, pause, resume, pause, resume, stop, closed, closed},
		"not started":      {not(pause, StateCreated), not(resume, StateCreated), stop, not(start, StateStopped), stop},
		"running":          {start, not(start, StateRunning), not(resume, StateRunning), stop},
		"paused":           {start, pause, not(pause, StatePaused), not(start, StatePaused), stop, not(resume, StateStopped)},
		"stopped":          {start, stop, not(pause, StateStopped), not(resume, StateStopped), not(start, StateStopped), stop},
		"closed at once":   {closed, not(start, StateClosed), not(pause, StateClosed)},
		"closed running":   {start, closed, not(pause, StateClosed)},
		"closed in a lull": {start, pause, closed},
	}
	for name, steps := range tests {
		t.Run(name, func(t *testing.T) {
			g, _ := fakeGroup(t, Config{}, 3)
			for _, s := range steps {
				var err error
				within(t, 10*time.Second, s.name, func() { err = s.do(g) })
				if (err == nil) != s.ok {
					t.Fatalf("%s: %v", s.name, err)
				}
				var stateErr *StateError
				if err != nil && !errors.As(err, &stateErr) {
					t.Errorf("%s: %T, want a StateError", s.name, err)
				}
				if got := g.State(); got != s.want {
					t.Fatalf("after %s: %v, want %v", s.name, got, s.want)
				}
			}
		})
	}
}

func TestPauseHoldsAll(t *testing.T) {
	g, machines := fakeGroup(t, Config{}, 4)
	mustDo(t, g.Start())
	for range 200 {
		mustDo(t, g.Pause())
		var before, after [4]int64
		for i, m := range machines {
			before[i] = m.runs.Load()
		}
		time.Sleep(20 * time.Microsecond)
		for i, m := range machines {
			after[i] = m.runs.Load()
		}
		if before != after {
			t.Fatalf("a paused vCPU ran: %v, then %v", before, after)
		}
		mustDo(t, g.Resume())
	}
	mustDo(t, g.Stop())
	for i, m := range machines {
		// Each cycle is one Run that the pause ended, and none more: nobody spins.
		if runs, ctrl := m.runs.Load(), m.ctrl.Load(); runs > 2*200+2 || ctrl > 200 {
			t.Errorf("vcpu %d: %d runs, %d clock calls for 200 cycles", i, runs, ctrl)
		}
	}
}

// TestPauseCompletesAccess: a request waits until the access at hand was handed back to KVM.
func TestPauseCompletesAccess(t *testing.T) {
	bus := &recorder{}
	g, machines := fakeGroup(t, Config{PIO: bus, MMIO: bus}, 1)
	m := machines[0]
	pending := false
	inRun := make(chan struct{}, 1)
	m.reason, m.io = kvm.ExitIO, kvm.IOExit{Size: 1, Count: 1, Data: make([]byte, 1)}
	m.next = func() error {
		select {
		case inRun <- struct{}{}:
		default:
		}
		pending = true
		return nil
	}
	w := &completing{fakeMachine: m, pending: &pending}
	g.cpus[0].m = w
	mustDo(t, g.Start())
	<-inRun
	for range 500 {
		mustDo(t, g.Pause())
		if pending {
			t.Fatal("paused with an access that KVM has not completed")
		}
		mustDo(t, g.Resume())
	}
}

// completing clears pending when KVM_RUN is entered, as the kernel does.
type completing struct {
	*fakeMachine
	pending *bool
}

func (c *completing) Run() error {
	*c.pending = false
	return c.fakeMachine.Run()
}

func TestGuestEnds(t *testing.T) {
	var mu sync.Mutex
	var stops []Stop
	var g *Group
	g, machines := fakeGroup(t, Config{OnStop: func(s Stop) {
		mu.Lock()
		stops = append(stops, s)
		mu.Unlock()
		// What a machine does when it hears of it.
		if err := g.Stop(); err != nil {
			t.Error(err)
		}
		g.Wait()
	}}, 3)
	machines[1].reason = kvm.ExitShutdown
	machines[1].next = func() error { return nil }
	machines[2].reason = kvm.ExitShutdown
	machines[2].next = func() error { time.Sleep(time.Millisecond); return nil }
	mustDo(t, g.Start())
	within(t, 10*time.Second, "wait", g.Wait)
	mustDo(t, g.Close())
	if len(stops) != 1 {
		t.Fatalf("OnStop was called %d times", len(stops))
	}
	cause, ok := g.Cause()
	if !ok || cause.Kind != KindTripleFault || cause != stops[0] {
		t.Errorf("cause %+v, told %+v", cause, stops[0])
	}
	var exit *ExitError
	if err := g.Pause(); !errors.As(err, &exit) {
		t.Errorf("pause: %v, want the cause in it", err)
	}
}

func TestStopIsNotACause(t *testing.T) {
	g, _ := fakeGroup(t, Config{OnStop: func(Stop) { t.Error("OnStop was called") }}, 2)
	mustDo(t, g.Start(), g.Stop())
	if _, ok := g.Cause(); ok {
		t.Error("there is a cause")
	}
}

// TestPauseMeetsDeath: a guest that ends while it is being paused.
func TestPauseMeetsDeath(t *testing.T) {
	for range 200 {
		g, machines := fakeGroup(t, Config{}, 2)
		machines[1].reason = kvm.ExitShutdown
		machines[1].next = func() error { return nil }
		mustDo(t, g.Start())
		within(t, 10*time.Second, "pause", func() {
			if err := g.Pause(); err == nil {
				// vcpu 1 parked before it ran at all.
				err = g.Resume()
				mustDo(t, err)
			}
		})
		within(t, 10*time.Second, "wait", g.Wait)
		if c, ok := g.Cause(); !ok || c.CPU != 1 {
			t.Fatalf("cause %+v, %v", c, ok)
		}
		mustDo(t, g.Close())
	}
}

// TestConcurrentCalls lets everybody call everything. Only the race detector and a hang judge.
func TestConcurrentCalls(t *testing.T) {
	g, _ := fakeGroup(t, Config{}, 3)
	var wg sync.WaitGroup
	calls := []func(){
		func() { _ = g.Start() },
		func() { _ = g.Pause() },
		func() { _ = g.Resume() },
		func() { _ = g.Pause() },
		func() { _ = g.Resume() },
		func() { g.Counters() },
		func() { g.State() },
		func() { _ = g.Dump(&bytes.Buffer{}) },
	}
	for _, f := range calls {
		wg.Add(1)
		go func() {
			defer wg.Done()
			for range 300 {
				f()
			}
		}()
	}
	within(t, 60*time.Second, "the calls", wg.Wait)
	within(t, 10*time.Second, "close", func() { _ = g.Close() })
}

// TestStopEndsPause: a handler that takes its time keeps Pause, but a Stop that comes gives
// Pause its answer.
func TestStopEndsPause(t *testing.T) {
	release := make(chan struct{})
	bus := &blockingBus{entered: make(chan struct{}), release: release}
	g, machines := fakeGroup(t, Config{PIO: bus, MMIO: bus}, 2)
	machines[0].reason, machines[0].io = kvm.ExitIO, kvm.IOExit{Size: 1, Count: 1, Data: make([]byte, 1)}
	machines[0].next = func() error { return nil }
	mustDo(t, g.Start())
	<-bus.entered
	paused := make(chan error)
	go func() { paused <- g.Pause() }()
	for g.State() != StatePausing {
		time.Sleep(time.Millisecond)
	}
	stopped := make(chan error)
	go func() { stopped <- g.Stop() }()
	if err := <-paused; err == nil {
		t.Error("pause succeeded")
	}
	close(release)
	mustDo(t, <-stopped)
}

type blockingBus struct {
	once             sync.Once
	entered, release chan struct{}
}

func (b *blockingBus) Read(uint64, []byte) { b.Write(0, nil) }
func (b *blockingBus) Write(uint64, []byte) {
	b.once.Do(func() { close(b.entered) })
	<-b.release
}

// TestHandlerCallsGroup: what would wait for itself is refused.
func TestHandlerCallsGroup(t *testing.T) {
	bus := &callingBus{errs: make(chan error, 4)}
	g, machines := fakeGroup(t, Config{PIO: bus, MMIO: bus}, 1)
	bus.g = g
	machines[0].reason, machines[0].io = kvm.ExitIO, kvm.IOExit{Size: 1, Count: 1, Data: make([]byte, 1)}
	machines[0].next = func() error { return nil }
	mustDo(t, g.Start())
	for range 4 {
		within(t, 10*time.Second, "the handler", func() {
			if err := <-bus.errs; !errors.Is(err, errThread) {
				t.Errorf("got %v", err)
			}
		})
	}
}

type callingBus struct {
	g    *Group
	once sync.Once
	errs chan error
}

func (b *callingBus) Read(uint64, []byte) { b.Write(0, nil) }
func (b *callingBus) Write(uint64, []byte) {
	b.once.Do(func() {
		b.errs <- b.g.Pause()
		b.errs <- b.g.Stop()
		b.errs <- b.g.Close()
		b.errs <- b.g.Dump(&bytes.Buffer{})
	})
	time.Sleep(time.Millisecond)
}

// TestHandlerEndsGroup: not one access comes after that which ended the group, on any CPU.
func TestHandlerEndsGroup(t *testing.T) {
	bus := &endingBus{}
	g, machines := fakeGroup(t, Config{PIO: bus, MMIO: bus}, 2)
	bus.g = g
	g.End() // it does not run yet
	machines[0].reason, machines[0].io = kvm.ExitIO, kvm.IOExit{Size: 1, Count: 1, Data: make([]byte, 1)}
	machines[0].next = func() error { return nil }
	mustDo(t, g.Start())
	within(t, 10*time.Second, "Wait", g.Wait)
	if n := bus.accesses.Load(); n != 1 || machines[0].runs.Load() != 2 {
		t.Errorf("%d accesses, entered %d times: want 1, and 2 to complete it", n, machines[0].runs.Load())
	}
	if cause, ok := g.Cause(); ok {
		t.Errorf("cause %v", cause)
	}
	g.End() // it has ended
	mustDo(t, g.Stop())
}

type endingBus struct {
	g        *Group
	accesses atomic.Int64
}

func (b *endingBus) Read(uint64, []byte) { b.Write(0, nil) }
func (b *endingBus) Write(uint64, []byte) {
	b.accesses.Add(1)
	b.g.End()
}

func TestStateErrorText(t *testing.T) {
	g, _ := fakeGroup(t, Config{}, 1)
	err := g.Resume()
	if want := "resume: vcpus are not started"; err == nil || err.Error() != want {
		t.Errorf("%v, want %q", err, want)
	}
	if s := StateCreated.String() + StateStopping.String() + State(99).String(); !strings.Contains(s, "99") {
		t.Error(s)
	}
}
