package compare

import (
	"encoding/json"
	"math"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/gureum/gureum/bench/result"
)

// host is a made-up one on which runs differ by a share of their median (spread), and all the runs
// of one report by another (start), as two starts of a host do.
type host struct {
	r             *rand.Rand
	spread, start float64
}

// report has n runs of many figures; those of a name that begins with slow take so many times
// as long.
func (h *host) report(n int, slow string, factor float64) *result.Report {
	r := &result.Report{
		Schema: result.Schema, Version: "v1", Clock: result.ClockInstructions,
		Environment: result.Environment{CPU: "a CPU", CPUs: 2, Peers: map[string]string{"gureum": "v1", "qemu": "7.2"}},
	}
	for i := range 200 {
		k := result.Key{Group: "boot", Figure: []string{"exec to user space", "exec to exit"}[i%2], Case: string(rune('a'+i/20)) + strings.Repeat("x", i/2%10), Subject: []string{"gureum", "qemu"}[i%2]}
		median := 1e6 * float64(1+i) * (1 + h.start*h.r.NormFloat64())
		if strings.HasPrefix(k.Figure+" "+k.Case, slow) && slow != "" && k.Subject == "gureum" {
			median *= factor
		}
		s := result.Series{Key: k, Unit: result.Nanoseconds, Better: result.Lower}
		for range n {
			s.Samples = append(s.Samples, median*(1+h.spread*h.r.NormFloat64()))
		}
		r.Series = append(r.Series, s)
	}
	return r
}

func compare(t *testing.T, a, b *result.Report, threshold float64) *Comparison {
	t.Helper()
	c, err := Reports(a, b, Options{Threshold: threshold})
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// TestPlanted finds a tenth more in one figure out of two hundred, and nothing where nothing is,
// with few runs, by many made-up pairs of reports.
func TestPlanted(t *testing.T) {
	h := &host{r: rand.New(rand.NewPCG(5, 6)), spread: 0.01, start: 0.005}
	for round := range 9 {
		n := 4 + round%3
		same := compare(t, h.report(n, "", 0), h.report(n, "", 0), 0.05)
		if same.Worse+same.Better > 0 {
			t.Errorf("round %d, %d runs: %d worse and %d better of nothing", round, n, same.Worse, same.Better)
		}
		const planted = "exec to user space axx"
		for _, factor := range []float64{1.1, 1 / 1.1} {
			c := compare(t, h.report(n, planted, factor), h.report(n, planted, factor*factor), 0.05)
			want := Worse
			if factor < 1 {
				want = Better
			}
			for _, f := range c.Figures {
				is := strings.HasPrefix(f.Figure+" "+f.Case, planted) && f.Subject == "gureum"
				if is != (f.Verdict == want) {
					t.Errorf("round %d, %d runs: %s is %s (p %v, change %v)", round, n, f.Key, f.Verdict, f.P, *f.Change)
				}
			}
		}
	}
}

func series(unit string, better result.Better, samples ...float64) result.Series {
	return result.Series{Key: result.Key{Group: "g", Figure: "f", Subject: "gureum"}, Unit: unit, Better: better, Samples: samples}
}

func TestVerdicts(t *testing.T) {
	for _, tt := range []struct {
		name   string
		better result.Better
		old    []float64
		now    []float64
		want   Verdict
	}{
		{"more time", result.Lower, []float64{100, 101, 102, 103}, []float64{110, 111, 112, 113}, Worse},
		{"more operations", result.Higher, []float64{100, 101, 102, 103}, []float64{110, 111, 112, 113}, Better},
		{"fewer operations", result.Higher, []float64{110, 111, 112, 113}, []float64{100, 101, 102, 103}, Worse},
		{"more threads", result.Neither, []float64{4, 4, 4, 4}, []float64{5, 5, 5, 5}, Changed},
		{"a little", result.Lower, []float64{100, 101, 102, 103}, []float64{104, 105, 106, 107}, Small},
		{"one in between", result.Lower, []float64{100, 100, 100, 120}, []float64{110, 130, 130, 130}, Same},
		{"three runs", result.Lower, []float64{1, 1, 1}, []float64{2, 2, 2}, TooFew},
		{"three runs of the same", result.Lower, []float64{1, 1, 1}, []float64{1, 1, 1}, Same},
		{"nothing then, something now", result.Lower, []float64{0, 0, 0, 0}, []float64{1, 1, 1, 1}, Worse},
		{"something then, nothing now", result.Lower, []float64{1, 1, 1, 1}, []float64{0, 0, 0, 0}, Better},
		{"nothing", result.Lower, []float64{0, 0, 0, 0}, []float64{0, 0, 0, 0}, Same},
	} {
		f := figure(series("ns", tt.better, tt.old...), series("ns", tt.better, tt.now...), 0.05)
		if f.Verdict != tt.want {
			t.Errorf("%s: %s, want %s (p %v)", tt.name, f.Verdict, tt.want, f.P)
		}
	}
}

func TestFigure(t *testing.T) {
	f := figure(series("ns", result.Lower, 100, 102, 104, 106), series("ns", result.Lower, 206, 208, 210, 212), 0.05)
	if math.Abs(*f.Change-(209.0/103-1)) > 1e-12 || f.Old.Median != 103 || f.New.Samples != 4 || math.Abs(f.P-2.0/70) > 1e-12 {
		t.Errorf("%+v", f)
	}
	if f.Interval == nil || !f.Interval.Contains(*f.Change) || f.Old.Interval.Low != 100 || f.Old.Interval.High != 106 {
		t.Errorf("%+v, %+v", f.Interval, f.Old)
	}
}

func TestReportsThatDiffer(t *testing.T) {
	make := func(change func(*result.Report)) *result.Report {
		r := (&host{r: rand.New(rand.NewPCG(1, 1))}).report(4, "", 0)
		change(r)
		return r
	}
	plain := make(func(*result.Report) {})
	if _, err := Reports(plain, make(func(r *result.Report) { r.Clock = result.ClockWall }), Options{}); err == nil || !strings.Contains(err.Error(), "in instructions, the new one's in nanoseconds of a clock") {
		t.Errorf("two clocks: %v", err)
	}
	for want, other := range map[string]*result.Report{
		`hosts' CPU differs: "a CPU", then "another"`: make(func(r *result.Report) { r.Environment.CPU = "another" }),
		"hosts' kernel differs":                       make(func(r *result.Report) { r.Environment.Kernel = "Linux 7" }),
		"hosts' KVM differs":                          make(func(r *result.Report) { r.Environment.KVM = "kvm_intel" }),
		"hosts' memory differs":                       make(func(r *result.Report) { r.Environment.MemoryBytes = 1 << 30 }),
		"new report was interrupted":                  make(func(r *result.Report) { r.Interrupted = true }),
		"new report says of its host: it was hot": make(func(r *result.Report) {
			r.Notes = append(r.Notes, result.Note{Kind: result.KindNoise, Text: "it was hot"})
		}),
		`it was in "ns", and is in "bytes"`: make(func(r *result.Report) { r.Series[3].Unit = result.Bytes }),
		"one side has no samples":           make(func(r *result.Report) { r.Series[3].Samples = nil }),
		"no figure in common":               make(func(r *result.Report) { r.Series = nil }),
		"--runs 4 or more":                  make(func(r *result.Report) { r.Series[5].Samples = r.Series[5].Samples[:2]; r.Series[5].Samples[0]++ }),
	} {
		c := compare(t, plain, other, 0.05)
		if !strings.Contains(strings.Join(c.Warnings, "\n"), want) {
			t.Errorf("no warning %q in %q", want, c.Warnings)
		}
	}
	if c := compare(t, plain, plain, 0.05); len(c.Warnings) > 0 || len(c.OnlyOld)+len(c.OnlyNew) > 0 {
		t.Errorf("%+v", c.Warnings)
	}
	c := compare(t, make(func(r *result.Report) { r.Series = r.Series[1:] }), make(func(r *result.Report) { r.Series = r.Series[:199] }), 0.05)
	if len(c.OnlyOld) != 1 || len(c.OnlyNew) != 1 || c.OnlyOld[0] != plain.Series[199].Key || c.OnlyNew[0] != plain.Series[0].Key || len(c.Figures) != 198 {
		t.Errorf("only old %v, only new %v", c.OnlyOld, c.OnlyNew)
	}
}

// TestControls: what changed of a peer that is the same is the host's doing, and does not count;
// of one that is another it does.
func TestControls(t *testing.T) {
	slow := func(version string) *result.Report {
		r := (&host{r: rand.New(rand.NewPCG(1, 1))}).report(4, "", 0)
		r.Environment.Peers["qemu"] = version
		for i := range r.Series {
			if r.Series[i].Subject == "qemu" && version != "6.0" {
				for j := range r.Series[i].Samples {
					r.Series[i].Samples[j] *= 1.2
				}
			}
		}
		return r
	}
	old := slow("6.0")
	if c := compare(t, old, slow("7.2"), 0.05); c.Worse != 100 || len(c.Warnings) > 0 {
		t.Errorf("another qemu: %d worse, %q", c.Worse, c.Warnings)
	}
	old.Environment.Peers["qemu"] = "7.2"
	c := compare(t, old, slow("7.2"), 0.05)
	if c.Worse != 0 || !strings.Contains(strings.Join(c.Warnings, "\n"), "qemu is the same in both reports, yet 100 of its figures changed") {
		t.Errorf("the same qemu: %d worse, %q", c.Worse, c.Warnings)
	}
}

func TestMeans(t *testing.T) {
	figures := []Figure{}
	add := func(subject, unit string, old, now float64) {
		f := figure(series(unit, result.Lower, old), series(unit, result.Lower, now), 0.05)
		f.Subject = subject
		figures = append(figures, f)
	}
	add("gureum", "ns", 100, 200)
	add("gureum", "ns", 100, 50)
	add("qemu", "ns", 100, 110)
	add("gureum", "bytes", 10, 40)
	add("gureum", "bytes", 10, 10)
	add("gureum", "bytes", 0, 10)
	add("gureum", "bytes", 10, 0)
	got := means(figures)
	if len(got) != 3 || math.Abs(got[0].Change) > 1e-12 || math.Abs(got[1].Change-0.1) > 1e-12 || math.Abs(got[2].Change-1) > 1e-12 || got[2].Figures != 2 {
		t.Errorf("%+v", got)
	}
}

func TestJSON(t *testing.T) {
	h := &host{r: rand.New(rand.NewPCG(7, 8)), spread: 0.01}
	text, err := json.Marshal(compare(t, h.report(4, "", 0), h.report(4, "", 0), 0.05))
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{`"figure":"exec to exit"`, `"verdict":"same"`, `"geomeans":[{`, `"warnings":[]`, `"only_old":[]`, `"p":`} {
		if !strings.Contains(string(text), want) {
			t.Errorf("%s is not in it", want)
		}
	}
}
