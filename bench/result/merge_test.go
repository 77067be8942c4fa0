package result

import (
	"math"
	"testing"
)

// TestMerge: two halves make the whole, and percentiles are right within a bucket.
func TestMerge(t *testing.T) {
	var all []float64
	for i := range 2000 {
		all = append(all, float64(1000+i*7))
	}
	whole, merged := Summarize(all), Merge([]*Distribution{Summarize(all[:500]), nil, Summarize(all[500:])})
	if merged.Events != whole.Events || merged.Min != whole.Min || merged.Max != whole.Max || len(merged.Buckets) != len(whole.Buckets) {
		t.Errorf("%+v", merged)
	}
	for i, b := range merged.Buckets {
		if b != whole.Buckets[i] {
			t.Errorf("bucket %d is %+v, want %+v", i, b, whole.Buckets[i])
		}
	}
	for _, p := range [][2]float64{{merged.P50, whole.P50}, {merged.P99, whole.P99}, {merged.P999, whole.P999}} {
		if math.Abs(p[0]/p[1]-1) > 0.03 {
			t.Errorf("a percentile is %v, want %v", p[0], p[1])
		}
	}
	if Merge(nil) != nil || Merge([]*Distribution{nil}) != nil {
		t.Error("nothing has a distribution")
	}
}
