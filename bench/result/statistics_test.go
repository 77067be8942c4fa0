package result

import (
	"math"
	"testing"
)

func TestQuantile(t *testing.T) {
	s := []float64{4, 1, 3, 2}
	for _, tt := range []struct{ q, want float64 }{{0, 1}, {0.5, 2.5}, {1, 4}, {0.25, 1.75}} {
		if got := Quantile(s, tt.q); got != tt.want {
			t.Errorf("quantile %v is %v, want %v", tt.q, got, tt.want)
		}
	}
	if s[0] != 4 {
		t.Error("the samples were sorted in place")
	}
	if !math.IsNaN(Median(nil)) {
		t.Error("no samples have a median")
	}
}

func TestSummarize(t *testing.T) {
	if Summarize(nil) != nil {
		t.Error("a distribution of nothing")
	}
	var events []float64
	for i := range 1000 {
		events = append(events, float64(i+1))
	}
	d := Summarize(events)
	if d.Events != 1000 || d.Min != 1 || d.P50 != 500.5 || d.Max != 1000 || math.Abs(d.P999-999.001) > 1e-6 {
		t.Errorf("%+v", d)
	}
	var sum uint64
	last := math.Inf(-1)
	for _, b := range d.Buckets {
		if b.UpTo <= last {
			t.Errorf("bound %v after %v", b.UpTo, last)
		}
		last, sum = b.UpTo, sum+b.Events
	}
	if sum != 1000 || last < 1000 || len(d.Buckets) > 90 {
		t.Errorf("%d events in %d buckets up to %v", sum, len(d.Buckets), last)
	}
}

func TestSummarizeZero(t *testing.T) {
	d := Summarize([]float64{0, 0, 5})
	if len(d.Buckets) != 2 || d.Buckets[0].Events != 2 || d.Buckets[1].UpTo < 5 {
		t.Errorf("%+v", d.Buckets)
	}
}
