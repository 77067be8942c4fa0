package suite

import (
	"context"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/gureum/gureum/bench/cpu"
	"github.com/gureum/gureum/bench/peer"
	"github.com/gureum/gureum/bench/result"
)

func TestMain(m *testing.M) {
	if cpu.Other(os.Args[1:]) {
		return
	}
	os.Exit(m.Run())
}

// TestRowsAreMade makes each disk row on a file, with few requests, and reads the answer.
func TestRowsAreMade(t *testing.T) {
	file := filepath.Join(t.TempDir(), "disk")
	if err := os.WriteFile(file, make([]byte, 16<<20), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, r := range rows() {
		if r.group != groupBlock {
			continue
		}
		r.requests = 64
		var out strings.Builder
		if err := r.make(file, "", &out); err != nil {
			t.Errorf("%s: %v", r.figure, err)
			continue
		}
		if v, err := r.value(out.String()); err != nil || v <= 0 {
			t.Errorf("%s: %v, %v of %q", r.figure, v, err, out.String())
		}
	}
}

func TestRowsAreDifferent(t *testing.T) {
	var seen []string
	for _, r := range rows() {
		if slices.Contains(seen, r.figure) || r.costs <= 0 || r.cost == "" {
			t.Errorf("%+v", r)
		}
		seen = append(seen, r.figure)
	}
}

func TestValue(t *testing.T) {
	r := row{key: "gbps", factor: 1e9 / 8}
	if v, err := r.value("load tcp amount=1 gbps=0.016 microseconds=3"); err != nil || v != 2e6 {
		t.Errorf("%v, %v", v, err)
	}
	if _, err := r.value("load tcp amount=1"); err == nil {
		t.Error("a value of nothing")
	}
}

func TestGuestMain(t *testing.T) {
	var out strings.Builder
	if err := GuestMain(t.Context(), []string{"cpu", "-runs", "2", "-scale", "1"}, &out); err != nil {
		t.Fatal(err)
	}
	var names []string
	for line := range strings.Lines(out.String()) {
		var s cpu.Sample
		text, marked := strings.CutPrefix(line, cpuMark)
		if err := json.Unmarshal([]byte(text), &s); !marked || err != nil || len(s.Samples) != 2 || s.Error != "" {
			t.Errorf("%q: %v", line, err)
		}
		names = append(names, s.Name)
	}
	if !slices.Equal(names, cpu.Names()) {
		t.Errorf("%v", names)
	}
	out.Reset()
	if err := GuestMain(t.Context(), []string{"rows", "-disk", "/dev/null", ","}, &out); err != nil || out.Len() > 0 {
		t.Errorf("no rows: %v, %q", err, out.String())
	}
	for _, bad := range [][]string{nil, {"x"}, {"rows", "99"}, {"rows", "x"}, {"cpu", "-runs", "x"}} {
		if err := GuestMain(t.Context(), bad, &out); err == nil {
			t.Errorf("%v is taken", bad)
		}
	}
}

// fakeVMM is a VMM whose guest answers to rows at once.
const fakeVMM = `#!/bin/sh
for word in $*; do
	case "$word" in bench.load=*) load=$word ;; esac
done
number=${load##*:}
case "$number" in ,) ;; *) echo "gureum-bench row $number load iops=1000 mbps=5 gbps=8 microseconds=7" ;; esac
echo "gureum-bench end 0"
`

// testRun is a run with a fake gureum, and fakes of peers.
func testRun(t *testing.T, gureum string, peers ...peer.Peer) *run {
	t.Helper()
	dir := t.TempDir()
	path := filepath.Join(dir, "gureum")
	if err := os.WriteFile(path, []byte(gureum), 0o700); err != nil {
		t.Fatal(err)
	}
	return &run{
		Options: Options{Runs: 2, Scale: 1}, stage: &stage{dir: dir, gureum: path}, gureum: peer.Gureum(path), peers: peers,
		report: &result.Report{}, out: map[string]bool{}, plan: &plan{},
	}
}

func TestMeasureRows(t *testing.T) {
	broken := filepath.Join(t.TempDir(), "qemu")
	if err := os.WriteFile(broken, []byte("#!/bin/sh\necho kernel panic; exit 1\n"), 0o700); err != nil {
		t.Fatal(err)
	}
	p, err := peer.Find("qemu=" + broken)
	if err != nil {
		t.Fatal(err)
	}
	r := testRun(t, fakeVMM, p)
	if err := r.measureRows(t.Context(), groupBlock, r.subjects(func(g *peer.Guest) { g.Disk = "/dev/null" })); err != nil {
		t.Fatal(err)
	}
	disk := 0
	for _, w := range rows() {
		if w.group == groupBlock {
			disk++
		}
	}
	if len(r.report.Series) != 2*disk {
		t.Fatalf("%d series for %d rows", len(r.report.Series), disk)
	}
	for _, s := range r.report.Series {
		if s.Subject != "gureum" || len(s.Samples) != 2 || s.Unit == result.PerSecond && s.Samples[0] != 1000 || s.Unit == result.BytesPerSec && s.Samples[0] != 5e6 {
			t.Errorf("%+v", s)
		}
	}
	if n := r.report.Notes; len(n) != 1 || n[0].Kind != result.KindError || !strings.Contains(n[0].Text, "qemu is left out") || !strings.Contains(n[0].Text, "kernel panic") {
		t.Errorf("notes: %+v", n)
	}
}

// TestInterruptedRows ends at once, and no subject is said to have failed.
func TestInterruptedRows(t *testing.T) {
	r := testRun(t, fakeVMM)
	ctx, cancel := context.WithCancelCause(t.Context())
	stop := errors.New("enough")
	r.Progress = func(string, int, int) { cancel(stop) }
	err := r.measureRows(ctx, groupBlock, r.subjects(func(*peer.Guest) {}))
	if !errors.Is(err, stop) || len(r.report.Notes) > 0 {
		t.Errorf("%v, %+v", err, r.report.Notes)
	}
}

func TestCheckStatic(t *testing.T) {
	if err := checkStatic("/bin/sh"); err == nil || !strings.Contains(err.Error(), "CGO_ENABLED=0") {
		t.Errorf("a program with libraries: %v", err)
	}
	if err := checkStatic("/bin/busybox"); err != nil {
		t.Errorf("a static program: %v", err)
	}
}
