package footprint

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/gureum/gureum/bench/peer"
	"github.com/gureum/gureum/bench/result"
)

// fake is a VMM that is a shell script, by the name of ours: it need not have guest RAM.
func fake(t *testing.T, script string) peer.Peer {
	t.Helper()
	path := filepath.Join(t.TempDir(), "gureum")
	if err := os.WriteFile(path, []byte("#!/bin/sh\n"+script), 0o700); err != nil {
		t.Fatal(err)
	}
	return peer.Gureum(path)
}

const idle = "echo '" + Mark + "'; exec sleep 1000\n"

var someGuest = peer.Guest{Kernel: "/k", MemoryMiB: 64, CPUs: 1, Transport: peer.MMIO}

func TestMeasure(t *testing.T) {
	dir := t.TempDir()
	series, notes, err := Measure(t.Context(), Config{
		Peers: []peer.Peer{fake(t, idle)}, Guests: []peer.Guest{someGuest}, Ways: []string{"x"}, Runs: 2, Together: 3, Dir: dir,
	})
	if err != nil {
		t.Fatal(err)
	}
	for _, n := range notes {
		if n.Kind != result.KindMissing || !strings.Contains(n.Text, "kernel's memory") {
			t.Errorf("note: %+v", n)
		}
	}
	seen := map[string]int{}
	for _, s := range series {
		if s.Figure == "RSS beside guest RAM" && s.Samples[0] <= 0 || s.Figure == "threads" && s.Samples[0] != 1 {
			t.Errorf("%+v", s)
		}
		seen[s.Case+" "+s.Figure] = len(s.Samples)
	}
	for _, f := range figures {
		if seen["1 VM "+f.name] != 2 || seen["3 VMs "+f.name] != 3 {
			t.Errorf("%s: %d samples of one VM, %d of three", f.name, seen["1 VM "+f.name], seen["3 VMs "+f.name])
		}
	}
	if left, err := os.ReadDir(dir); err != nil || len(left) > 0 {
		t.Errorf("left behind: %v, %v", left, err)
	}
}

// TestGuestThatItCanRun: a contestant gets the first guest that it can run, and that is told.
func TestGuestThatItCanRun(t *testing.T) {
	kvmtool, err := peer.Find("kvmtool=" + fake(t, idle).Path)
	if err != nil {
		t.Fatal(err)
	}
	pci, bz := someGuest, someGuest
	pci.Transport, bz.Transport, bz.BzImage, bz.MemoryMiB = peer.PCI, peer.PCI, true, 65
	i, err := StartIdle(t.Context(), kvmtool, []peer.Guest{someGuest, pci, bz}, t.TempDir(), nil)
	if err != nil {
		t.Fatal(err)
	}
	if i.Guest != 2 || i.memory != 65<<20 || i.Start <= 0 {
		t.Errorf("%+v", i)
	}
	if err := i.Stop(); err != nil {
		t.Error(err)
	}
	if _, err := StartIdle(t.Context(), kvmtool, []peer.Guest{someGuest, pci}, t.TempDir(), nil); !errors.Is(err, peer.ErrUnsupported) {
		t.Errorf("guests that it cannot run: %v", err)
	}
}

func TestFailures(t *testing.T) {
	for script, want := range map[string]string{
		"echo kernel panic; exit 1\n": "did not come up:\nkernel panic",
		"exec /no/such/program\n":     "did not come up",
	} {
		_, notes, err := Measure(t.Context(), Config{Peers: []peer.Peer{fake(t, script)}, Guests: []peer.Guest{someGuest}, Runs: 2, Together: 2, Dir: t.TempDir()})
		var errs []string
		for _, n := range notes {
			if n.Kind == result.KindError {
				errs = append(errs, n.Text)
			}
		}
		if err != nil || len(errs) != 1 || !strings.Contains(errs[0], want) {
			t.Errorf("%v, %q, want %q", err, errs, want)
		}
	}
}

// TestInterrupted kills what runs.
func TestInterrupted(t *testing.T) {
	ctx, cancel := context.WithCancelCause(t.Context())
	stop := errors.New("enough")
	dir := t.TempDir()
	_, _, err := Measure(ctx, Config{
		Peers: []peer.Peer{fake(t, idle)}, Guests: []peer.Guest{someGuest}, Runs: 9, Dir: dir,
		Progress: func(what string) {
			if strings.Contains(what, "run 3 of 9") {
				cancel(stop)
			}
		},
	})
	if left, dirErr := os.ReadDir(dir); !errors.Is(err, stop) || dirErr != nil || len(left) > 0 {
		t.Errorf("%v, left %v, %v", err, left, dirErr)
	}
}

// TestCgroups makes and removes a group where the files are a folder's.
func TestCgroups(t *testing.T) {
	root := t.TempDir()
	control := filepath.Join(root, "cgroup.subtree_control")
	if _, err := newCgroups(root); err == nil {
		t.Error("groups where there are none")
	}
	for text, enabled := range map[string]bool{"cpu memory pids\n": false, "cpu\n": true} {
		if err := os.WriteFile(control, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		groups, err := newCgroups(root)
		if err != nil || groups.enabled != enabled {
			t.Fatalf("%+v, %v", groups, err)
		}
		g, err := groups.make()
		if err != nil {
			t.Fatal(err)
		}
		if err := errors.Join(g.remove(), groups.close()); err != nil {
			t.Error(err)
		}
		left, err := os.ReadFile(control)
		if want := map[bool]string{true: "-memory", false: text}[enabled]; err != nil || string(left) != want {
			t.Errorf("%q, %v; want %q", left, err, want)
		}
	}
}

func TestParseKernelMemory(t *testing.T) {
	m, err := parseKernelMemory("anon 5\nkernel 4096\nslab 1024\nslab_reclaimable 7\nsock 0\n")
	if err != nil || m["kernel memory"] != 4096 || m["kernel memory: slab"] != 1024 || len(m) != 3 {
		t.Errorf("%v, %v", m, err)
	}
	for _, bad := range []string{"", "anon 5\n", "kernel x\n"} {
		if m, err := parseKernelMemory(bad); err == nil {
			t.Errorf("%q: %v", bad, m)
		}
	}
}
