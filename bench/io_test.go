package bench

import (
	"bytes"
	"context"
	"errors"
	"io"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"
)

func TestFigureIsFoundInALine(t *testing.T) {
	const line = "load disk write=false bs=4096 depth=1 requests=10 seconds=0.5 iops=20 mbps=0.1"
	for name, want := range map[string]float64{"iops": 20, "seconds": 0.5, "bs": 4096, "ops": 0, "write": 0} {
		if got := figure(line, name); got != want {
			t.Errorf("%s: %v, want %v", name, got, want)
		}
	}
}

func TestGuestMakesEachRow(t *testing.T) {
	rows := ToolRows(10)
	script := initScriptFor(rows)
	for i, r := range rows {
		if !strings.Contains(script, r.command) || r.figure == "" || r.unit == "" {
			t.Errorf("row %d, %s, is not made", i, r.Name)
		}
	}
	if strings.Contains(script, "%!") {
		t.Errorf("the script is broken:\n%s", script)
	}
}

func TestContestantsDifferInTheVMMAlone(t *testing.T) {
	s := &Stage{Gureum: "gureum", kernel: "/k", initrd: "/i"}
	one := len(s.IOContestants(IOConfig{Vhost: "off"}))
	both := s.IOContestants(IOConfig{Disk: "/dev/x", Cache: "none", Machine: "q35", Queues: 2, Vhost: "both"})
	if one == 0 || len(both) != 2*one {
		t.Errorf("%d contestants with vhost off, %d with both", one, len(both))
	}
	for _, c := range both {
		line := strings.Join(c.Args, " ")
		for _, want := range []string{"/k", "/i", "/dev/x", TapName, "512", "rdinit=/bench-io", "queues=2"} {
			if !strings.Contains(line, want) {
				t.Errorf("%s: no %s in %s", c.Name, want, line)
			}
		}
		// Ours has one unless it is told otherwise.
		ours := c.Args[0] == s.Gureum
		if ours != strings.Contains(line, "--no-balloon") || strings.Contains(line, "virtio-balloon") {
			t.Errorf("%s: one of the guests has a balloon: %s", c.Name, line)
		}
	}
}

func TestPrintIO(t *testing.T) {
	costs := make([][]float64, len(ioCosts))
	for i := range costs {
		costs[i] = []float64{1}
	}
	var b bytes.Buffer
	rows := ToolRows(100)[:2]
	if err := PrintIO(&b, rows, []IOResult{
		{Name: "one", Figures: [][]float64{{1}, {2.5}}, Costs: costs},
		{Name: "three", Figures: [][]float64{{9, 7, 8}, {3}}, Costs: costs},
	}); err != nil {
		t.Fatal(err)
	}
	if got := strings.Count(b.String(), "\n"); got != 1+len(rows)+len(ioCosts) {
		t.Errorf("%d lines:\n%s", got, b.String())
	}
	for _, want := range []string{"2.5", "8 (7 to 9)"} {
		if !strings.Contains(b.String(), want) {
			t.Errorf("no %q:\n%s", want, b.String())
		}
	}
}

func TestFailedRoundsAreLeftOut(t *testing.T) {
	rows := ToolRows(1)[:1]
	works := Contestant{Name: "works", Args: []string{"echo", "gureum-bench row 0 iops=5"}}
	peer := Contestant{Name: "peer", Peer: true, Args: []string{"false"}}
	results, err := MeasureIO(t.Context(), []Contestant{works, peer}, rows, 2, io.Discard)
	if err != nil || len(results) != 1 || !slices.Equal(results[0].Figures[0], []float64{5, 5}) {
		t.Errorf("%+v, %v", results, err)
	}
	ours := Contestant{Name: "ours", Args: []string{"echo", "nothing"}}
	if _, err := MeasureIO(t.Context(), []Contestant{ours}, rows, 2, io.Discard); err == nil || !strings.Contains(err.Error(), "ours") {
		t.Errorf("no round of ours: %v", err)
	}
}

func TestSelectRows(t *testing.T) {
	all := ToolRows(1)
	if got := SelectRows(all, regexp.MustCompile("^ping$")); len(got) != 1 || got[0].Name != "ping" {
		t.Errorf("%+v", got)
	}
	if got := SelectRows(all, regexp.MustCompile(".")); len(got) != len(all) {
		t.Errorf("%d rows of %d", len(got), len(all))
	}
}

func TestSignalEndsARound(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	time.AfterFunc(50*time.Millisecond, cancel)
	peer := Contestant{Name: "peer", Peer: true, Args: []string{"sleep", "1000"}}
	if _, err := MeasureIO(ctx, []Contestant{peer}, ToolRows(1), 1000, io.Discard); !errors.Is(err, context.Canceled) {
		t.Errorf("%v", err)
	}
}

func TestLibrariesOf(t *testing.T) {
	const ldd = "\tlinux-vdso.so.1 (0x00007f4)\n\tlibm.so.6 => /lib/x86_64-linux-gnu/libm.so.6 (0x00007f4)\n\t/lib64/ld-linux-x86-64.so.2 (0x00007f4)\n"
	want := []string{"/lib/x86_64-linux-gnu/libm.so.6", "/lib64/ld-linux-x86-64.so.2"}
	if got := librariesOf([]byte(ldd)); !slices.Equal(got, want) {
		t.Errorf("%q", got)
	}
}
