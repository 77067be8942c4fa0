package suite

import (
	"encoding/json"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/gureum/gureum/bench/cpu"
	"github.com/gureum/gureum/bench/result"
)

func TestMain(m *testing.M) {
	if cpu.Other(os.Args[1:]) {
		return
	}
	os.Exit(m.Run())
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
		if err := json.Unmarshal([]byte(text), &s); !marked || err != nil || s.Error != "" || len(s.Samples) != 2 && s.Skipped == "" {
			t.Errorf("%q: %v", line, err)
		}
		names = append(names, s.Name)
	}
	if !slices.Equal(names, cpu.Names()) {
		t.Errorf("%v", names)
	}
	for _, bad := range [][]string{nil, {"x"}, {"rows", "99"}, {"rows", "x"}, {"rows", ","}, {"serve", "no address"}, {"cpu", "-runs", "x"}} {
		if err := GuestMain(t.Context(), bad, &out); err == nil {
			t.Errorf("%v is taken", bad)
		}
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

// TestCounted has each thing be done fewer times where instructions are counted.
func TestCounted(t *testing.T) {
	r := testRun(t, fakeVMM)
	r.Runs, r.Scale, r.Clock = 5, 100, result.ClockWall
	if r.rounds() != 2 || r.exitsRuns() != 5 || r.footprintRuns() != 3 || r.bootCases()[1].Runs != 0 || r.percent() != 4000 {
		t.Errorf("by the clock: %d rounds, %d of exits, %d of footprint, case %+v", r.rounds(), r.exitsRuns(), r.footprintRuns(), r.bootCases()[1])
	}
	if work := r.cpuWork(); !slices.Equal(work, []string{"-scale", "100"}) || len(r.report.Notes) > 0 {
		t.Errorf("by the clock: %v, %v", work, r.report.Notes)
	}
	r.Clock = result.ClockInstructions
	if r.rounds() != 1 || r.samplesOf(0) != 5 || r.exitsRuns() != 2 || r.footprintRuns() != 2 || r.percent() != 100 {
		t.Errorf("%d rounds of %d, %d of exits, %d of footprint", r.rounds(), r.samplesOf(0), r.exitsRuns(), r.footprintRuns())
	}
	for i, c := range r.bootCases() {
		if want := min(i, 1) * countedRuns; c.Runs != want {
			t.Errorf("%s: %d runs, want %d", c.Name, c.Runs, want)
		}
	}
	for range 2 {
		if work := r.cpuWork(); !slices.Equal(work, []string{"-scale", "10", "-small"}) || len(r.report.Notes) != 1 {
			t.Errorf("%v, %v", work, r.report.Notes)
		}
	}
	var out strings.Builder
	if err := GuestMain(t.Context(), []string{"cpu", "-runs", "1", "-scale", "1", "-small"}, &out); err != nil || strings.Contains(out.String(), "1 GiB") || !strings.Contains(out.String(), "64 MiB") {
		t.Errorf("%v, %s", err, out.String())
	}
}
