package suite

import (
	"encoding/json"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/gureum/gureum/bench/cpu"
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
