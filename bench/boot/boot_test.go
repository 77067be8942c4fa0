package boot

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/gureum/gureum/bench/peer"
	"github.com/gureum/gureum/bench/result"
)

// fake is a VMM that is a shell script.
func fake(t *testing.T, script string) peer.Peer {
	t.Helper()
	path := filepath.Join(t.TempDir(), "lkvm")
	if err := os.WriteFile(path, []byte("#!/bin/sh\n"+script), 0o700); err != nil {
		t.Fatal(err)
	}
	p, err := peer.Find("kvmtool=" + path)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

var someCase = Case{Name: "some", Guest: peer.Guest{BzImage: true, Transport: peer.PCI, MemoryMiB: 64, CPUs: 1}}

func TestMeasure(t *testing.T) {
	good := fake(t, "sleep 0.05; echo '"+Mark+"'; echo '[    0.020000] Run /bench-init as init process'; sleep 0.05\n")
	silent := fake(t, "echo no guest; exit 0\n")
	silent.Name = "silent"
	failing := fake(t, "echo '"+Mark+"'; exit 3\n")
	failing.Name = "failing"
	unable := good
	unable.Name = "unable"
	mmio := someCase
	mmio.Name, mmio.Guest.Transport = "mmio", peer.MMIO
	series, notes, err := Measure(t.Context(), Config{
		Peers: []peer.Peer{good, silent, failing}, Cases: []Case{someCase, mmio}, Runs: 3, Dir: t.TempDir(),
	})
	if err != nil {
		t.Fatal(err)
	}
	got := map[string]float64{}
	for _, s := range series {
		if s.Subject != "kvmtool" || s.Case != "some" || len(s.Samples) != 3 {
			t.Errorf("%+v", s)
		}
		got[s.Figure] = result.Median(s.Samples)
	}
	if got[FigureClock] != 20e6 || got[FigureUser] < 50e6 || got[FigureExit] < got[FigureUser]+50e6 || got[FigureKernel] != 0 && got[FigureKernel] > got[FigureUser] {
		t.Errorf("%v", got)
	}
	var text strings.Builder
	for _, n := range notes {
		text.WriteString(n.Kind + " " + n.Text + "\n")
	}
	for _, want := range []string{
		"error silent, some: ", "did not come up:\nno guest", "error failing, some: ", "exit status 3", "missing kvmtool, mmio: virtio over MMIO, by default: not supported",
	} {
		if !strings.Contains(text.String(), want) {
			t.Errorf("notes %q, want %q", text.String(), want)
		}
	}
}

// TestWarm has each kernel booted before it is measured, once for all cases.
func TestWarm(t *testing.T) {
	log := filepath.Join(t.TempDir(), "boots")
	p := fake(t, "echo boot >>"+log+"; echo '"+Mark+"'\n")
	another := someCase
	another.Name = "another"
	began := time.Now()
	series, notes, err := Measure(t.Context(), Config{
		Peers: []peer.Peer{p}, Cases: []Case{someCase, another}, Runs: 1, Rest: 50 * time.Millisecond, Dir: t.TempDir(),
	})
	if err != nil || len(notes) > 0 {
		t.Fatal(notes, err)
	}
	if rest := time.Since(began); rest < 50*time.Millisecond {
		t.Errorf("it rested for less than %v", rest)
	}
	for _, s := range series {
		if len(s.Samples) > 1 {
			t.Errorf("%+v", s)
		}
	}
	text, err := os.ReadFile(log)
	if n := strings.Count(string(text), "boot"); n != 3 || err != nil {
		t.Errorf("%d boots, %v", n, err)
	}
	ctx, cancel := context.WithCancelCause(t.Context())
	cancel(errors.New("enough"))
	if _, _, err := Measure(ctx, Config{Peers: []peer.Peer{p}, Cases: []Case{someCase}, Runs: 1, Rest: time.Hour, Dir: t.TempDir()}); err == nil || err.Error() != "enough" {
		t.Errorf("cancelled: %v", err)
	}
}

// TestInterrupted gives what it has.
func TestInterrupted(t *testing.T) {
	p := fake(t, "echo '"+Mark+"'\n")
	ctx, cancel := context.WithCancelCause(t.Context())
	stop := errors.New("enough")
	n := 0
	series, _, err := Measure(ctx, Config{
		Peers: []peer.Peer{p}, Cases: []Case{someCase}, Runs: 100, Dir: t.TempDir(),
		Progress: func(string) {
			if n++; n == 3 {
				cancel(stop)
			}
		},
	})
	if !errors.Is(err, stop) || len(series) == 0 || len(series[0].Samples) != 2 {
		t.Errorf("%v: %+v", err, series)
	}
}

func TestHangs(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
	defer cancel()
	began := time.Now()
	_, err := boot(ctx, peer.Peer{}, []string{"sh", "-c", "sleep 1000 & sleep 1000"}, nil, nil)
	if err == nil || time.Since(began) > 10*time.Second {
		t.Errorf("%v after %v", err, time.Since(began))
	}
}

func TestParseEntry(t *testing.T) {
	const trace = `# tracer: nop
#           TASK-PID     CPU#  |||||  TIMESTAMP  FUNCTION
        a-b [x]-1233    [001] .....   123.400000: kvm_fpu: load
 qemu-system-x86-1234    [001] .....   123.410000: kvm_fpu: load
 qemu-system-x86-1234    [001] .....   123.420000: kvm_fpu: unload
 qemu-system-x86-1234    [001] .....   123.450000: kvm_fpu: load
           CPU-1-1235    [000] .....   123.455000: kvm_fpu: load
 qemu-system-x86-1234    [001] d..1.   123.456789: kvm_entry: vcpu 0, rip 0xfff0
 qemu-system-x86-1234    [001] d..1.   124.456789: kvm_entry: vcpu 0, rip 0xfff0
`
	if ready, entry, ok := parseEntry(trace); !ok || entry != 123456789*time.Microsecond || ready != 123450*time.Millisecond {
		t.Errorf("%v, %v, %v", ready, entry, ok)
	}
	if ready, entry, ok := parseEntry(strings.ReplaceAll(trace, "load", "x")); !ok || entry != 123456789*time.Microsecond || ready != 0 {
		t.Errorf("without the other event: %v, %v, %v", ready, entry, ok)
	}
	for _, none := range []string{"", "# tracer: nop\n", " x-1 [000] .....   1.000000: kvm_fpu: load\n", " x-1 [000] d..1. 99999999999999999999.000000: kvm_entry: vcpu 0\n"} {
		if _, _, ok := parseEntry(none); ok {
			t.Errorf("an entry in %q", none)
		}
	}
}

func TestGuestClock(t *testing.T) {
	if got, ok := guestClock("x\n[   12.345678] Run /bench-init as init process\n"); !ok || got != 12345678*time.Microsecond {
		t.Errorf("%v, %v", got, ok)
	}
	if _, ok := guestClock("[1.0] Run /init\n"); ok {
		t.Error("a clock of another line")
	}
}
