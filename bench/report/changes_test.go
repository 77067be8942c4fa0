package report

import (
	"errors"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/gureum/gureum/bench/compare"
	"github.com/gureum/gureum/bench/result"
)

// slower is the sample with some of its figures changed: one half as long again, one a little.
func slower() *result.Report {
	r := sample()
	r.Version = "v2"
	r.Series = r.Series[1:] // one is not there
	for i := range r.Series {
		factor := map[string]float64{"exec to exit": 1.5, "RSS beside guest RAM": 1.03, "4k random read, depth 1": 1.5, "TCP round trip": 2}[r.Series[i].Figure]
		if factor == 0 || r.Series[i].Subject == subjectHost {
			continue
		}
		for j := range r.Series[i].Samples {
			r.Series[i].Samples[j] *= factor
		}
	}
	return r
}

func changes(t *testing.T, s Style) string {
	t.Helper()
	c, err := compare.Reports(sample(), slower(), compare.Options{Threshold: 0.05})
	if err != nil {
		t.Fatal(err)
	}
	var out strings.Builder
	if err := Changes(&out, c, s); err != nil {
		t.Fatal(err)
	}
	if err := Changes(fullDisk{}, c, s); !errors.Is(err, errFull) {
		t.Errorf("a full disk: %v", err)
	}
	return out.String()
}

func TestChanges(t *testing.T) {
	got := changes(t, Style{Width: 120})
	words := strings.Join(strings.Fields(got), " ")
	for _, want := range []string{
		"old: gureum v1.2.3-4-gabcdef0, 2026-01-02T03:04:05Z, An Example CPU",
		"new: gureum v2, ",
		"warning: qemu is the same in both reports, yet 4 of its figures changed",
		"warning: 2 figures have too few samples",
		"2 CPUs gureum 104 ms ±1% 156 ms ±1% +50% p<0.001 n=8 worse",
		"worse qemu 414 ms ±4% 620 ms ±4% +50% p<0.001 n=8 worse (control)",
		"4k random read, depth 1 gureum 51.6 k/s ±3% 77.4 k/s ±3% +50% p=0.008 n=5 better",
		"RSS beside guest RAM gureum 5.17 MiB ±2% 5.32 MiB ±2% +3.0% p=0.008 n=5 qemu",
		"integer gureum 1.01 ns ±0% 1.01 ns ±0% ~ p=1.000 n=6",
		"TCP round trip gureum 63.2 µs ±9% 126 µs ±9% ~ p=0.333 n=2 too few",
		"geometric mean, ns, lower is better gureum",
		"only in the old report, and not compared: boot, exec to user space (vmlinux, 1 CPU, 256 MiB, MMIO), gureum",
		"29 figures compared: 3 worse and 1 better by more than 5.0% with p ≤ 0.05",
	} {
		if !strings.Contains(words, want) {
			t.Errorf("%q is not in\n%s", want, got)
		}
	}
}

func TestChangesFit(t *testing.T) {
	for _, width := range []int{80, 100, 140} {
		for line := range strings.Lines(changes(t, Style{Width: width, ASCII: true})) {
			line = strings.TrimSuffix(line, "\n")
			if utf8.RuneCountInString(line) > width {
				t.Errorf("more than %d columns: %q", width, line)
			}
			if strings.ContainsFunc(line, func(r rune) bool { return r > 126 || r < 32 }) {
				t.Errorf("not plain: %q", line)
			}
		}
	}
}
