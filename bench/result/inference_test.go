package result

import (
	"math"
	"math/rand/v2"
	"slices"
	"testing"
)

func near(a, b float64) bool { return math.Abs(a-b) <= 1e-9*max(1, math.Abs(b)) }

// TestMedianInterval checks against the binomial distribution: of n samples the i-th smallest
// and largest enclose the median with 1 - 2·P(X < i), X of n coins.
func TestMedianInterval(t *testing.T) {
	for _, tt := range []struct {
		n               int
		low, high, conf float64
	}{
		{1, 1, 1, 0},
		{4, 1, 4, 1 - 2.0/16},
		{5, 1, 5, 1 - 2.0/32},
		{6, 1, 6, 1 - 2.0/64},
		{9, 2, 8, 1 - 2*10.0/512},
		{12, 3, 10, 1 - 2*79.0/4096},
	} {
		var s []float64
		for i := range tt.n {
			s = append(s, float64(tt.n-i)) // downwards: it must sort
		}
		if got := MedianInterval(s); got.Low != tt.low || got.High != tt.high || !near(got.Confidence, tt.conf) {
			t.Errorf("%d samples: %+v, want %+v", tt.n, got, tt)
		}
	}
	if got := MedianInterval(nil); !math.IsNaN(got.Low) {
		t.Errorf("no samples: %+v", got)
	}
}

// TestDifference has p-values from tables and from counting by hand.
func TestDifference(t *testing.T) {
	for _, tt := range []struct {
		name string
		a, b []float64
		want float64
	}{
		{"three cannot", []float64{1, 2, 3}, []float64{4, 5, 6}, 2.0 / 20},
		{"four can", []float64{1, 2, 3, 4}, []float64{5, 6, 7, 8}, 2.0 / 70},
		{"five", []float64{1, 2, 3, 4, 5}, []float64{6, 7, 8, 9, 10}, 2.0 / 252},
		{"one step from apart", []float64{1, 2, 3, 5}, []float64{4, 6, 7, 8}, 4.0 / 70},
		{"unequal numbers", []float64{1, 2}, []float64{3, 4, 5, 6, 7}, 2.0 / 21},
		{"ties within sides", []float64{1, 1, 1, 1}, []float64{2, 2, 2, 2}, 2.0 / 70},
		{"in the middle", []float64{1, 4}, []float64{2, 3}, 1},
		{"all the same", []float64{3, 3, 3, 3}, []float64{3, 3, 3, 3}, 1},
		{"none", nil, []float64{1}, 1},
	} {
		if got := Difference(tt.a, tt.b); !near(got, tt.want) {
			t.Errorf("%s: %v, want %v", tt.name, got, tt.want)
		}
		if a, b := Difference(tt.a, tt.b), Difference(tt.b, tt.a); !near(a, b) {
			t.Errorf("%s: %v one way, %v the other", tt.name, a, b)
		}
	}
}

// TestDifferenceOfMany goes by the normal approximation.
func TestDifferenceOfMany(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	normal := func(n int, mean float64) (s []float64) {
		for range n {
			s = append(s, mean+r.NormFloat64())
		}
		return s
	}
	if p := Difference(normal(200, 100), normal(200, 101)); p > 1e-6 {
		t.Errorf("a shift of one deviation: p = %v", p)
	}
	seen, all := 0, 400
	for range all {
		if Difference(normal(60, 100), normal(60, 100)) < 0.05 {
			seen++
		}
	}
	if share := float64(seen) / float64(all); share < 0.02 || share > 0.08 {
		t.Errorf("%.1f%% of equals differ, want about 5%%", 100*share)
	}
}

func TestEnough(t *testing.T) {
	for _, tt := range []struct {
		a, b int
		want bool
	}{{3, 3, false}, {4, 4, true}, {3, 4, false}, {3, 5, true}, {2, 8, true}, {1, 38, false}, {1, 39, true}, {1000, 1000, true}} {
		if got := Enough(tt.a, tt.b); got != tt.want {
			t.Errorf("%d and %d: %v", tt.a, tt.b, got)
		}
	}
	if n := EnoughRuns(); n != 4 {
		t.Errorf("%d runs", n)
	}
}

func TestRatioOf(t *testing.T) {
	of, ok := RatioOf([]float64{20, 22, 24, 26}, []float64{10, 11, 12, 13})
	if !ok || of.Ratio != 2 || of.Interval == nil {
		t.Fatalf("%+v, %v", of, ok)
	}
	// Four of each: the test sees a difference when all are apart, so the interval is that of all pairs.
	if !near(of.Interval.Low, 20.0/13) || !near(of.Interval.High, 26.0/10) || !near(of.Interval.Confidence, 1-2.0/70) {
		t.Errorf("%+v", of.Interval)
	}
	if of, ok := RatioOf([]float64{2, 2, 2}, []float64{1, 1, 1}); !ok || of.Ratio != 2 || of.Interval != nil {
		t.Errorf("three of each: %+v", of)
	}
	if of, ok := RatioOf([]float64{0, 0, 1, 1}, []float64{1, 1, 1, 1}); !ok || of.Interval != nil {
		t.Errorf("zeros: %+v", of)
	}
	if of, _ := RatioOf([]float64{1, 1, 1, 9, 9}, []float64{1, 1, 1, 1, 1}); of.Interval == nil || !of.Interval.Contains(of.Ratio) {
		t.Errorf("a distribution with a gap: %+v", of)
	}
	for _, base := range [][]float64{nil, {0, 0, 0, 0}, {-1}} {
		if of, ok := RatioOf([]float64{1}, base); ok {
			t.Errorf("a ratio to %v: %+v", base, of)
		}
	}
}

// TestRatioIntervalBelongsToTheTest: a ratio is outside of the interval when the test tells
// the samples from the base that is multiplied by it.
func TestRatioIntervalBelongsToTheTest(t *testing.T) {
	r := rand.New(rand.NewPCG(3, 4))
	for _, n := range []int{4, 5, 8, 15, 30} {
		var a, b []float64
		for range n {
			a, b = append(a, 100+10*r.Float64()), append(b, 100+10*r.Float64())
		}
		of, _ := RatioOf(a, b)
		for _, by := range []float64{of.Interval.Low * 0.999, of.Interval.Low * 1.001, of.Interval.High * 0.999, of.Interval.High * 1.001} {
			scaled := slices.Clone(b)
			for i := range scaled {
				scaled[i] *= by
			}
			if differ := Difference(a, scaled) <= 1-Confidence; differ == of.Interval.Contains(by) && n <= 20 {
				t.Errorf("%d samples: ratio %v, interval %+v, differs: %v", n, by, of.Interval, differ)
			}
		}
	}
}

func TestSpread(t *testing.T) {
	for _, tt := range []struct {
		s    []float64
		want float64
	}{{[]float64{90, 100, 110}, 0.05}, {[]float64{1, 9}, 0}, {[]float64{0, 0, 0}, 0}, {nil, 0}} {
		if got := Spread(tt.s); !near(got, tt.want) {
			t.Errorf("%v: %v", tt.s, got)
		}
	}
}
