package report

import (
	"encoding/csv"
	"errors"
	"strconv"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/gureum/gureum/bench/result"
)

func table(t *testing.T, r *result.Report, s Style) string {
	t.Helper()
	var out strings.Builder
	if err := Table(&out, r, s); err != nil {
		t.Fatal(err)
	}
	return out.String()
}

func TestTable(t *testing.T) {
	key := func(subject string) result.Key {
		return result.Key{Group: "boot", Figure: "exec to exit", Case: "a case", Subject: subject}
	}
	r := &result.Report{
		Version: "1", Clock: result.ClockInstructions, Environment: result.Environment{CPU: "A CPU", CPUs: 4}, Interrupted: true,
		Noise: &result.Noise{Steal: 0.031, Throttled: 7, Load: 1.25},
		Series: []result.Series{
			{Key: key("gureum"), Unit: result.Nanoseconds, Samples: []float64{200e6, 200e6, 200e6, 200e6}},
			{Key: key("qemu"), Unit: result.Nanoseconds, Samples: []float64{900e6, 1000e6, 1000e6, 1200e6}},
		},
		Notes: []result.Note{{Kind: result.KindMissing, Text: "peer x"}},
	}
	got := table(t, r, Style{Width: 100})
	for _, want := range []string{
		"gureum 1; A CPU, 4 CPUs; time is counted in instructions",
		"steal 3.1% of the CPUs' time, throttled 7 times, load 1.25",
		"\nexec to exit\n  a case    gureum  200 ms  ±0%                    ██████\n",
		"\n            qemu    1.00 s  ±4%  ×5.00  4.50–6.00  ██████████████████████████████\n",
		"× is the ratio to gureum", "\nmissing: peer x\n", "interrupted: ",
	} {
		if !strings.Contains(got, want) {
			t.Errorf("%q is not in\n%s", want, got)
		}
	}
}

// TestTableFits: no line is wider than the terminal, and with plain letters there are no others.
func TestTableFits(t *testing.T) {
	for _, width := range []int{0, 40, 59, 60, 79, 80, 100, 200} {
		for _, ascii := range []bool{false, true} {
			got := table(t, sample(), Style{Width: width, ASCII: ascii})
			for line := range strings.Lines(got) {
				line = strings.TrimSuffix(line, "\n")
				if n := utf8.RuneCountInString(line); n > max(width, leastWidth) && len(strings.Fields(line)) > 1 && width >= 60 {
					t.Errorf("%d columns in %d: %q", n, width, line)
				}
				if ascii && strings.ContainsFunc(line, func(r rune) bool { return r > 126 || r < 32 }) {
					t.Errorf("not plain: %q", line)
				}
			}
			if bars := strings.ContainsAny(got, "█#"); bars != (width >= barWidth) {
				t.Errorf("%d columns, bars: %v", width, bars)
			}
		}
	}
}

func TestTableSaysWhatIsInDoubt(t *testing.T) {
	got := table(t, sample(), Style{Width: 100})
	for _, want := range []string{
		"×1.01 ~", "~ the interval includes 1: no difference is shown",
		"±18% !", "! too noisy to conclude",
		"so few runs have no interval: give --runs 4 or more",
		"× is the ratio to host",
		"gureum, single events: p50 ",
	} {
		if !strings.Contains(got, want) {
			t.Errorf("%q is not in\n%s", want, got)
		}
	}
	if n := strings.Count(got, "too noisy"); n != 1 {
		t.Errorf("%d groups are too noisy", n)
	}
}

// TestHostIsTheBaseOfCPU, and gureum that of other groups.
func TestHostIsTheBaseOfCPU(t *testing.T) {
	for _, g := range arrange(sample()) {
		want := subjectGureum
		if g.Name == groupCPU {
			want = subjectHost
		}
		for _, f := range g.Figures {
			for _, c := range f.Cases {
				if c.Base != want || c.base().Ratio != nil {
					t.Errorf("%s, %s: the base is %q", g.Name, f.Name, c.Base)
				}
				for _, e := range c.Entries {
					if e.Subject != want && e.Ratio == nil {
						t.Errorf("%s, %s: %s has no ratio", g.Name, f.Name, e.Subject)
					}
				}
			}
		}
	}
}

func TestDoubt(t *testing.T) {
	quiet, wide := []float64{100, 101, 102, 103, 104}, []float64{60, 80, 100, 120, 160}
	double := []float64{200, 201, 202, 203, 204}
	for _, tt := range []struct {
		name       string
		base, mine []float64
		want       doubt
	}{
		{"apart", quiet, double, sure},
		{"the same", quiet, quiet, even},
		{"a noisy base", wide, quiet, noisy},
		{"noisy, but far apart", quiet, []float64{600, 800, 1000, 1200, 1600}, sure},
		{"too few runs", quiet[:2], double[:2], sure},
		{"alone and quiet", nil, quiet, sure},
		{"alone and noisy", nil, wide, noisy},
	} {
		c := circumstance{}
		if tt.base != nil {
			c.Entries = append(c.Entries, entry{Series: result.Series{Key: result.Key{Subject: subjectGureum}, Samples: tt.base}, Spread: result.Spread(tt.base)})
		}
		c.Entries = append(c.Entries, entry{Series: result.Series{Key: result.Key{Subject: "other"}, Samples: tt.mine}, Spread: result.Spread(tt.mine)})
		c.compare("boot", []string{subjectGureum, "other"})
		if got := c.doubt(&c.Entries[len(c.Entries)-1]); got != tt.want {
			t.Errorf("%s: %v, want %v", tt.name, got, tt.want)
		}
	}
}

func TestBar(t *testing.T) {
	unicode, ascii := newPrinter(nil, Style{}), newPrinter(nil, Style{ASCII: true})
	for _, tt := range []struct {
		share float64
		want  string
		plain string
	}{{0, "", ""}, {0.001, "▏", "#"}, {0.5, "████", "####"}, {0.55, "████▍", "####"}, {1, "████████", "########"}, {3, "████████", "########"}} {
		if got := unicode.bar(tt.share, 8); got != tt.want {
			t.Errorf("%v: %q, want %q", tt.share, got, tt.want)
		}
		if got := ascii.bar(tt.share, 8); got != tt.plain {
			t.Errorf("%v: %q, want %q", tt.share, got, tt.plain)
		}
	}
}

func TestQuantity(t *testing.T) {
	for want, v := range map[string]struct {
		n    float64
		unit string
	}{
		"12.3 µs": {12345, result.Nanoseconds}, "1.50 KiB": {1536, result.Bytes}, "999 B": {999, result.Bytes}, "2.50 GB/s": {2.5e9, result.BytesPerSec},
		"15.7 k/s": {15690, result.PerSecond}, "7": {7, result.Count}, "0.250 ns": {0.25, result.Nanoseconds}, "0 ns": {0, result.Nanoseconds}, "3000 s": {3e12, result.Nanoseconds},
	} {
		if got := quantity(v.n, v.unit); got != want {
			t.Errorf("%v %s: %q, want %q", v.n, v.unit, got, want)
		}
	}
}

func TestCSV(t *testing.T) {
	var out strings.Builder
	r := sample()
	r.Series[0].Case = "a \"case\", with a comma"
	r.Series[0].Samples[1] = 1.0 / 3
	if err := CSV(&out, r); err != nil {
		t.Fatal(err)
	}
	rows, err := csv.NewReader(strings.NewReader(out.String())).ReadAll()
	if err != nil {
		t.Fatal(err)
	}
	all := 1
	for _, s := range r.Series {
		all += len(s.Samples)
	}
	if len(rows) != all || strings.Join(rows[0], " ") != "group figure case subject unit better clock run value" {
		t.Errorf("%d rows, want %d: %q", len(rows), all, rows[0])
	}
	second := rows[2]
	if v, err := strconv.ParseFloat(second[8], 64); err != nil || v != 1.0/3 || second[2] != r.Series[0].Case || second[7] != "2" || second[6] != "wall" {
		t.Errorf("%q, %v", second, err)
	}
}

type fullDisk struct{}

func (fullDisk) Write([]byte) (int, error) { return 0, errFull }

var errFull = errors.New("no space left")

// TestWriteErrors are told, not lost.
func TestWriteErrors(t *testing.T) {
	r := sample()
	if err := Table(fullDisk{}, r, Style{}); !errors.Is(err, errFull) {
		t.Errorf("table: %v", err)
	}
	if err := CSV(fullDisk{}, r); !errors.Is(err, errFull) {
		t.Errorf("csv: %v", err)
	}
	if err := HTML(fullDisk{}, r, nil); !errors.Is(err, errFull) {
		t.Errorf("html: %v", err)
	}
}
