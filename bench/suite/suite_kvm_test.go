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

// kvmScale makes enough requests to tell some exits each from none, in percent.
const kvmScale = 20

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

// TestKVMRows has all rows made by guests of gureum, and the host's by the host. A request
// of the disk, a round trip and a datagram cost no exit to user space each.
func TestKVMRows(t *testing.T) {
	report, err := Run(t.Context(), Options{
		Groups: []string{groupBlock, groupNet}, Runs: 1, Scale: kvmScale, Peers: []string{HostPeer},
		Gureum: program, Version: "test", Clock: result.ClockInstructions,
	})
	if err != nil {
		t.Fatal(err)
	}
	for _, n := range report.Notes {
		if n.Kind != result.KindNoise {
			t.Errorf("%s %s: %s", n.Group, n.Kind, n.Text)
		}
	}
	all := map[result.Key]float64{}
	for _, s := range report.Series {
		if len(s.Samples) != 1 {
			t.Errorf("%+v has %d samples", s.Key, len(s.Samples))
			continue
		}
		all[s.Key] = s.Samples[0]
	}
	for _, w := range rows() {
		for _, setup := range w.setups {
			checkRow(t, all, &w, setup)
		}
	}
	nothingLeft(t)
}

// checkRow looks at the figures of a row in a setup.
func checkRow(t *testing.T, all map[result.Key]float64, w *row, setup string) {
	t.Helper()
	for i, f := range rowFigures {
		s := w.series(f, i == 0, setup, "gureum", &samples{})
		v, there := all[s.Key]
		latency := strings.HasPrefix(s.Figure, "latency")
		none := latency && (w.kind != "" && w.cost != "round trip" && w.cost != "connection") || s.Figure == "datagrams lost" && w.cost != "datagram"
		if there == none {
			t.Errorf("%+v is there: %t", s.Key, there)
		}
		// Each row has hundreds of requests, and some exits of a tick or a message are not theirs.
		if strings.HasPrefix(s.Figure, "exits to user space") && w.scaled(kvmScale) >= 300 && w.cost != "Gbit" && v > 0.3 {
			t.Errorf("%+v is %v", s.Key, v)
		}
		if s.Figure == "datagrams lost" && v > 0 {
			t.Errorf("%+v is %v", s.Key, v)
		}
		s.Subject = HostPeer
		_, there = all[s.Key]
		made := slices.Contains([]string{onOneCPU, onSeveralCPUs, onTap}, setup) && !none && !strings.HasPrefix(s.Figure, "exits")
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
		r := &run{
			Options: Options{Runs: 1, Scale: 1, Clock: result.ClockInstructions}, stage: s, gureum: peer.Gureum(s.gureum),
			report: &result.Report{}, out: map[string]bool{},
		}
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
