package vm

import (
	"bytes"
	"context"
	"errors"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"
)

// testTimeout bounds what a guest may take in a test; the lab is slow.
const testTimeout = 60 * time.Second

func start(t *testing.T, c Config) *Machine {
	t.Helper()
	m, err := New(c)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := m.Close(); err != nil {
			t.Error(err)
		}
	})
	if err := m.Start(); err != nil {
		t.Fatal(err)
	}
	return m
}

func waitFor(t *testing.T, m *Machine) Outcome {
	t.Helper()
	select {
	case <-m.Done():
		return m.Wait()
	case <-time.After(testTimeout):
		t.Fatalf("the machine is still %s after %s", m.State(), testTimeout)
		return Outcome{}
	}
}

func TestKVMEndsAreToldApart(t *testing.T) {
	for _, c := range []struct {
		name   string
		code   []byte
		reason Reason
		detail string // in Outcome.Err
	}{
		{"ACPI power-off", out8(portSleepControl, 0x34), PoweredOff, ""},
		{"ACPI reset", out8(portReset, 1), Rebooted, ""},
		{"i8042 reset", []byte{0xB0, 0xFE, 0xE6, 0x64}, Rebooted, ""},
		{"fast reset", []byte{0xB0, 0x01, 0xE6, 0x92}, Rebooted, ""},
		{"pvpanic", out8(portPVPanic, 1), Panicked, ""},
		{"triple fault", tripleFault(), TripleFaulted, "triple fault"},
		{"code in the MMIO hole", jumpTo(0xF8000000), Failed, "0xf8000000"},
	} {
		t.Run(c.name, func(t *testing.T) {
			o := waitFor(t, start(t, tinyConfig(t, c.code, halt)))
			if o.Reason != c.reason {
				t.Errorf("ended by %s (%v), want %s", o.Reason, o.Err, c.reason)
			}
			if c.detail == "" && o.Err != nil || c.detail != "" && (o.Err == nil || !strings.Contains(o.Err.Error(), c.detail)) {
				t.Errorf("details: %v, want %q in them", o.Err, c.detail)
			}
		})
	}
}

func TestKVMConsoleComesOutBeforeTheEnd(t *testing.T) {
	var code []byte
	for _, b := range []byte("last words") {
		code = append(code, out8(portCOM1, b)...)
	}
	var out syncBuffer
	config := tinyConfig(t, code, out8(portSleepControl, 0x34), halt)
	config.Console = &out
	m := start(t, config)
	waitFor(t, m)
	if out.String() != "last words" || string(m.ConsoleTail()) != "last words" {
		t.Errorf("console %q, tail %q", out.String(), m.ConsoleTail())
	}
}

// syncBuffer is a buffer that a machine and a test share.
type syncBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (s *syncBuffer) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.Write(p)
}

func (s *syncBuffer) String() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.String()
}

func TestKVMPauseHoldsTheGuest(t *testing.T) {
	m := start(t, tinyConfig(t, countForever()))
	count := func() uint32 {
		n, err := m.memory.ReadU32(counterAt)
		if err != nil {
			t.Fatal(err)
		}
		return n
	}
	for count() == 0 {
		time.Sleep(time.Millisecond)
	}
	for range 20 {
		if err := m.Pause(); err != nil {
			t.Fatal(err)
		}
		held := count()
		time.Sleep(5 * time.Millisecond)
		if now := count(); now != held {
			t.Fatalf("the paused guest counted from %d to %d", held, now)
		}
		var state *StateError
		if err := m.Pause(); !errors.As(err, &state) || state.State != Paused {
			t.Fatalf("a second pause gave %v", err)
		}
		if err := m.Resume(); err != nil {
			t.Fatal(err)
		}
		for deadline := time.Now().Add(testTimeout); count() == held; {
			if time.Now().After(deadline) {
				t.Fatal("the resumed guest does not run")
			}
		}
	}
	var state *StateError
	if err := m.Resume(); !errors.As(err, &state) || state.State != Running {
		t.Errorf("resuming a running machine gave %v", err)
	}
	if err := m.Start(); !errors.As(err, &state) {
		t.Errorf("starting a running machine gave %v", err)
	}
}

func TestKVMStopKillsTheDeaf(t *testing.T) {
	for _, paused := range []bool{false, true} {
		m := start(t, tinyConfig(t, halt))
		if paused {
			if err := m.Pause(); err != nil {
				t.Fatal(err)
			}
		}
		ctx, cancel := context.WithTimeout(context.Background(), 100*time.Millisecond)
		defer cancel()
		if err := m.Stop(ctx); err != nil {
			t.Fatal(err)
		}
		if o := waitFor(t, m); o.Reason != Killed || !errors.Is(o.Err, ErrStopped) || m.State() != Stopped {
			t.Errorf("outcome %+v, state %s", o, m.State())
		}
		var state *StateError
		if err := m.Pause(); !errors.As(err, &state) {
			t.Errorf("pausing a stopped machine gave %v", err)
		}
	}
}

// TestKVMNothingIsLeft holds that machines give back descriptors and goroutines,
// started or not, ended or not.
func TestKVMNothingIsLeft(t *testing.T) {
	defer goleak.VerifyNone(t, goleak.IgnoreCurrent())
	before := openFiles(t)
	for range 3 {
		for _, run := range []bool{false, true} {
			config := tinyConfig(t, countForever())
			config.CPUs = 3
			m, err := New(config)
			if err != nil {
				t.Fatal(err)
			}
			if run {
				if err := m.Start(); err != nil {
					t.Fatal(err)
				}
			}
			if err := errors.Join(m.Close(), m.Close()); err != nil {
				t.Fatal(err)
			}
		}
	}
	if after := openFiles(t); after != before {
		t.Errorf("%d open files before, %d after", before, after)
	}
}

func TestKVMWrongDevice(t *testing.T) {
	defer goleak.VerifyNone(t, goleak.IgnoreCurrent())
	before := openFiles(t)
	config := tinyConfig(t, halt)
	config.KVM = "/dev/null"
	var host *HostError
	if _, err := New(config); !errors.As(err, &host) {
		t.Errorf("a machine on /dev/null gave %v", err)
	}
	if after := openFiles(t); after != before {
		t.Errorf("%d open files before, %d after", before, after)
	}
}

func openFiles(t *testing.T) int {
	t.Helper()
	entries, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	return len(entries)
}

// TestKVMOneTebibyte runs the largest machine that CPUs with 40 address bits can
// have, and asks for one of 1 TiB, which needs more of them.
func TestKVMOneTebibyte(t *testing.T) {
	config := tinyConfig(t, out8(portSleepControl, 0x34), halt)
	config.Memory = 1<<40 - 1<<30
	if o := waitFor(t, start(t, config)); o.Reason != PoweredOff {
		t.Errorf("outcome %+v", o)
	}
	config.Memory = 1 << 40
	m, err := New(config)
	var host *HostError
	if errors.As(err, &host) && strings.Contains(err.Error(), "address 40 bits") {
		return
	}
	if err != nil {
		t.Fatal(err)
	}
	if err := m.Close(); err != nil {
		t.Error(err)
	}
}
