package density

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/gureum/gureum/bench/footprint"
	"github.com/gureum/gureum/bench/peer"
	"github.com/gureum/gureum/bench/result"
)

// fake is a VMM that is a shell script.
func fake(t *testing.T, script string) peer.Peer {
	t.Helper()
	path := filepath.Join(t.TempDir(), "gureum")
	if err := os.WriteFile(path, []byte("#!/bin/sh\n"+script), 0o700); err != nil {
		t.Fatal(err)
	}
	return peer.Gureum(path)
}

const idle = "echo '" + footprint.Mark + "'; exec sleep 1000\n"

var guests = []peer.Guest{{Kernel: "/k", MemoryMiB: 64, CPUs: 1, Transport: peer.MMIO}}

// host is one whose memory is told in a list, one word a question.
func host(left ...uint64) func() (uint64, error) {
	return func() (uint64, error) {
		if len(left) == 0 {
			return 0, errors.New("asked once more than expected")
		}
		n := left[0]
		left = left[1:]
		return n, nil
	}
}

func find(series []result.Series, figure, c string) []float64 {
	for _, s := range series {
		if s.Figure == figure && s.Case == c {
			return s.Samples
		}
	}
	return nil
}

func TestMeasure(t *testing.T) {
	dir := t.TempDir()
	// Before, behind each of two starts, settled, behind each of two starts, settled.
	available := host(1000<<20, 900<<20, 950<<20, 960<<20, 950<<20, 940<<20, 940<<20)
	series, notes, err := Measure(t.Context(), Config{
		Peers: []peer.Peer{fake(t, idle)}, Guests: guests, Machines: 4, Floor: 100 << 20, Dir: dir, Available: available,
	})
	if err != nil || len(notes) > 0 {
		t.Fatalf("%v, %+v", err, notes)
	}
	if s := find(series, FigureStart, "4 VMs"); len(s) != 4 || s[0] <= 0 {
		t.Errorf("starts: %v", s)
	}
	if s := find(series, FigureRate, "4 VMs"); len(s) != 1 || s[0] <= 0 {
		t.Errorf("rate: %v", s)
	}
	if s := find(series, FigurePSS, "4 VMs"); len(s) != 4 || s[3] <= 0 {
		t.Errorf("PSS: %v", s)
	}
	if a, b := find(series, FigureMemory, "the first half"), find(series, FigureMemory, "the last half"); len(a) != 1 || a[0] != 20<<20 || len(b) != 1 || b[0] != 10<<20 {
		t.Errorf("memory: %v, %v", a, b)
	}
	if s := find(series, FigureWould, ""); len(s) != 1 || s[0] != 4+84 {
		t.Errorf("reckoned: %v", s)
	}
	if s := find(series, FigureOut, ""); s != nil {
		t.Errorf("memory was not out: %v", s)
	}
	if left, err := os.ReadDir(dir); err != nil || len(left) > 0 {
		t.Errorf("left behind: %v, %v", left, err)
	}
}

// TestMemoryIsOut: the host is never filled beyond the floor.
func TestMemoryIsOut(t *testing.T) {
	available := host(300<<20, 200<<20, 150<<20, 160<<20, 99<<20, 120<<20)
	series, notes, err := Measure(t.Context(), Config{
		Peers: []peer.Peer{fake(t, idle)}, Guests: guests, Machines: 4, Floor: 100 << 20, Dir: t.TempDir(), Available: available,
	})
	if s := find(series, FigureOut, ""); err != nil || len(notes) > 0 || len(s) != 1 || s[0] != 3 {
		t.Errorf("%v, %v, %+v", err, s, notes)
	}
	if s := find(series, FigureWould, ""); s != nil {
		t.Errorf("nothing is to be reckoned: %v", s)
	}
}

func TestFailures(t *testing.T) {
	broken := fake(t, "echo kernel panic; exit 1\n")
	for _, tt := range []struct {
		available func() (uint64, error)
		want      string
	}{
		{host(300 << 20), "VM 1: "},
		{host(99 << 20), "nothing was started"},
		{host(), "asked once more"},
	} {
		_, notes, err := Measure(t.Context(), Config{
			Peers: []peer.Peer{broken}, Guests: guests, Machines: 2, Floor: 100 << 20, Dir: t.TempDir(), Available: tt.available,
		})
		if err != nil || len(notes) != 1 || notes[0].Kind != result.KindError || !strings.Contains(notes[0].Text, tt.want) {
			t.Errorf("%v, %+v, want %q", err, notes, tt.want)
		}
	}
}

// TestNoMemorySeen: what cannot be told is not reckoned with.
func TestNoMemorySeen(t *testing.T) {
	series, notes, err := Measure(t.Context(), Config{
		Peers: []peer.Peer{fake(t, idle)}, Guests: guests, Machines: 2, Dir: t.TempDir(),
		Available: func() (uint64, error) { return 1 << 30, nil },
	})
	if err != nil || len(notes) != 1 || notes[0].Kind != result.KindNoise || find(series, FigureWould, "") != nil || find(series, FigureMemory, "the last half") != nil {
		t.Errorf("%v, %+v, %+v", err, notes, series)
	}
}

// TestInterrupted kills what runs.
func TestInterrupted(t *testing.T) {
	ctx, cancel := context.WithCancelCause(t.Context())
	stop := errors.New("enough")
	dir := t.TempDir()
	_, notes, err := Measure(ctx, Config{
		Peers: []peer.Peer{fake(t, idle)}, Guests: guests, Machines: 9, Dir: dir,
		Available: func() (uint64, error) { return 1 << 30, nil },
		Progress: func(what string) {
			if strings.Contains(what, "VM 3 of 9") {
				cancel(stop)
			}
		},
	})
	if !errors.Is(err, stop) || len(notes) > 0 {
		t.Errorf("%v, %+v", err, notes)
	}
	if left, err := os.ReadDir(dir); err != nil || len(left) > 0 {
		t.Errorf("left behind: %v, %v", left, err)
	}
}
