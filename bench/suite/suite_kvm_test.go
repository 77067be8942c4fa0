package suite

import (
	"context"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/gureum/gureum/bench/host"
	"github.com/gureum/gureum/bench/peer"
	"github.com/gureum/gureum/bench/result"
)

// program is the static one that 'make build' makes.
const program = "../../bin/gureum"

// kvmScale makes enough requests to tell some exits each from none, in percent. kvmSettle is
// for a lab whose time is the wall's: who reads late counts what the guest prints next.
const (
	kvmScale  = 20
	kvmSettle = 200 * time.Millisecond
	kvmLimit  = 4 * time.Minute
)

// nothingLeft fails if anything of a run is still there.
func nothingLeft(t *testing.T) {
	t.Helper()
	if left, _ := filepath.Glob(filepath.Join(memoryDir, "gureum-bench-*")); len(left) > 0 {
		t.Errorf("left in memory: %v", left)
	}
	if _, err := os.Stat(host.DiskDevice); err == nil {
		t.Errorf("%s is left", host.DiskDevice)
	}
	interfaces, err := net.Interfaces()
	if err != nil {
		t.Fatal(err)
	}
	for _, i := range interfaces {
		if strings.HasPrefix(i.Name, "gbench") {
			t.Errorf("interface %s is left", i.Name)
		}
	}
	commands, _ := filepath.Glob("/proc/[0-9]*/cmdline")
	for _, file := range commands {
		if text, _ := os.ReadFile(file); strings.Contains(string(text), memoryDir+"/gureum-bench-") {
			t.Errorf("process %s is left: %q", filepath.Base(filepath.Dir(file)), text)
		}
	}
}

// kvmRun is a run of gureum and the host with little work.
func kvmRun(t *testing.T, s *stage) *run {
	t.Helper()
	return &run{
		Options: Options{Runs: 1, Scale: kvmScale, Clock: result.ClockInstructions}, stage: s, gureum: peer.Gureum(s.gureum), withHost: true,
		report: &result.Report{}, out: map[string]bool{}, plan: &plan{}, settle: kvmSettle, limit: kvmLimit,
	}
}

// TestKVMRows has all rows made by guests of gureum, and those of the host by the host. A
// request of the disk and a datagram cost no exit to user space each.
func TestKVMRows(t *testing.T) {
	s, err := newStage(program)
	if err != nil {
		t.Fatal(err)
	}
	for _, setup := range slices.Concat(setups(groupBlock), setups(groupNet)) {
		t.Run(setup.name, func(t *testing.T) {
			r, got := kvmRun(t, s), rowSamples{}
			if err := r.measureSetup(t.Context(), &setup, got); err != nil {
				t.Fatal(err)
			}
			r.addRows(setup.group, got)
			for _, n := range r.report.Notes {
				t.Errorf("%s: %s", n.Kind, n.Text)
			}
			all := map[result.Key]float64{}
			for _, s := range r.report.Series {
				all[s.Key] = s.Samples[0]
			}
			for _, n := range setup.rowsOf() {
				w := rows()[n]
				checkRow(t, all, &w, &setup)
			}
		})
	}
	if err := s.close(); err != nil {
		t.Error(err)
	}
	nothingLeft(t)
}

// checkRow looks at the figures of a row in a setup.
func checkRow(t *testing.T, all map[result.Key]float64, w *row, in *setup) {
	t.Helper()
	for i, f := range rowFigures {
		s := w.series(f, i == 0, in.name, "gureum", &samples{})
		v, there := all[s.Key]
		latency := strings.HasPrefix(s.Figure, "latency")
		none := latency && (w.kind != "" && w.cost != "round trip" && w.cost != "connection") || s.Figure == "datagrams lost" && w.cost != "datagram"
		if there == none {
			t.Errorf("%+v is there: %t", s.Key, there)
		}
		// Such a row has a hundred requests at least, and a few exits of a message are not theirs.
		if strings.HasPrefix(s.Figure, "exits to user space") && w.scaled(kvmScale) >= 100 && w.cost != "Gbit" {
			t.Logf("%s in %s: %v", s.Figure, s.Case, v)
			if v > 0.5 {
				t.Errorf("%+v is %v", s.Key, v)
			}
		}
		// A network in user space has as much room as its sockets, and a busy host overruns them.
		// Elsewhere some come too late to count on such a host.
		if s.Figure == "datagrams lost" && (v < 0 || v > 1 || v > 0.2 && in.name != onUser) {
			t.Errorf("%+v is %v", s.Key, v)
		}
		s.Subject = HostPeer
		_, there = all[s.Key]
		made := in.host && !none && !strings.HasPrefix(s.Figure, "exits")
		if there != made {
			t.Errorf("%+v is there: %t", s.Key, there)
		}
	}
}

// TestKVMInterrupted ends a measurement in the midst of it, in each setup. Nothing is left.
func TestKVMInterrupted(t *testing.T) {
	s, err := newStage(program)
	if err != nil {
		t.Fatal(err)
	}
	for _, setup := range slices.Concat(setups(groupBlock)[:1], setups(groupNet)[:1], setups(groupNet)[4:]) {
		ctx, cancel := context.WithCancel(t.Context())
		r := kvmRun(t, s)
		r.Progress = func(string, int, int) { time.AfterFunc(150*time.Millisecond, cancel) }
		if err := r.measureSetup(ctx, &setup, rowSamples{}); err == nil {
			t.Errorf("%s: it did not end early", setup.name)
		}
		cancel()
		if len(r.report.Notes) > 0 {
			t.Errorf("%s: %+v", setup.name, r.report.Notes)
		}
	}
	if err := s.close(); err != nil {
		t.Error(err)
	}
	nothingLeft(t)
}
