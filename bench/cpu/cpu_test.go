package cpu

import (
	"context"
	"errors"
	"os"
	"strings"
	"testing"
)

func TestMain(m *testing.M) {
	if Other(os.Args[1:]) {
		return
	}
	os.Exit(m.Run())
}

func TestLoads(t *testing.T) {
	seen := map[string]float64{}
	err := Run(t.Context(), Names(), 3, 1, func(s Sample) {
		if s.Skipped != "" {
			seen[s.Name] = 0 // this machine is too small
			return
		}
		if s.Error != "" || len(s.Samples) != 3 {
			t.Errorf("%+v", s)
			return
		}
		for _, ns := range s.Samples {
			if ns <= 0 {
				t.Errorf("%s takes %v ns", s.Name, ns)
			}
		}
		seen[s.Name] = s.Samples[1]
	})
	if err != nil || len(seen) != len(Loads()) {
		t.Fatalf("%v: %d loads", err, len(seen))
	}
	if seen["fork and exec"] < seen["context switch"] || seen["context switch"] < seen["integer"] {
		t.Errorf("a process takes %v ns, a switch %v, a step %v", seen["fork and exec"], seen["context switch"], seen["integer"])
	}
}

func TestRunSome(t *testing.T) {
	n := 0
	if err := Run(t.Context(), []string{"integer", "no such"}, 2, 1, func(Sample) { n++ }); err != nil || n != 1 {
		t.Errorf("%v: %d loads", err, n)
	}
}

func TestRunEnds(t *testing.T) {
	ctx, cancel := context.WithCancelCause(t.Context())
	stop := errors.New("stop")
	cancel(stop)
	if err := Run(ctx, Names(), 1, 1, func(s Sample) { t.Error(s.Name) }); !errors.Is(err, stop) {
		t.Error(err)
	}
}

func TestChaseVisitsAll(t *testing.T) {
	work, _, err := prepareChase(4 << 10)
	if err != nil {
		t.Fatal(err)
	}
	before := sink
	if err := work(64); err != nil { // the ring's length: back at its beginning
		t.Fatal(err)
	}
	if sink != before {
		t.Error("64 steps through 64 lines end elsewhere")
	}
}

// TestScatter: no number comes twice, and neighbours are not left together.
func TestScatter(t *testing.T) {
	for _, count := range []uint64{64, 512, 1 << 14} {
		seen := make([]bool, count)
		near := 0
		for i := range count {
			at := scatter(i, count)
			if seen[at] {
				t.Fatalf("%d comes twice of %d", at, count)
			}
			seen[at] = true
			if next := scatter((i+1)%count, count); next == at+1 || at == next+1 {
				near++
			}
		}
		if near > int(count/16) {
			t.Errorf("%d of %d steps go to the next line", near, count)
		}
	}
}

func TestTooLarge(t *testing.T) {
	if text := (&Load{memory: 1 << 60}).tooLarge(); !strings.Contains(text, "free memory") {
		t.Errorf("an exbibyte: %q", text)
	}
	if text := (&Load{memory: 1 << 12}).tooLarge(); text != "" {
		t.Errorf("4 KiB: %q", text)
	}
}

// TestOther: a program is one of the other processes by its one argument alone.
func TestOther(t *testing.T) {
	if Other(nil) || Other([]string{"run"}) || Other([]string{ExitArg, "x"}) || !Other([]string{ExitArg}) {
		t.Error("wrong")
	}
}
