package result

import (
	"math"
	"slices"
)

// Median of samples, NaN if there are none.
func Median(samples []float64) float64 { return Quantile(samples, 0.5) }

// Quantile of samples, 0 to 1, by linear interpolation between the closest ranks.
func Quantile(samples []float64, q float64) float64 {
	if len(samples) == 0 {
		return math.NaN()
	}
	s := slices.Sorted(slices.Values(samples))
	at := q * float64(len(s)-1)
	low := int(at)
	high := min(low+1, len(s)-1)
	return s[low] + (at-float64(low))*(s[high]-s[low])
}

// Summarize makes the distribution of events. Its buckets grow by a factor of the
// eighth root of two, from the smallest event on.
func Summarize(events []float64) *Distribution {
	if len(events) == 0 {
		return nil
	}
	s := slices.Sorted(slices.Values(events))
	d := &Distribution{
		Events: uint64(len(s)), Min: s[0], P50: Quantile(s, 0.5), P99: Quantile(s, 0.99), P999: Quantile(s, 0.999), Max: s[len(s)-1],
	}
	for _, e := range s {
		if n := len(d.Buckets); n == 0 || e > d.Buckets[n-1].UpTo {
			d.Buckets = append(d.Buckets, Bucket{UpTo: bound(e)})
		}
		d.Buckets[len(d.Buckets)-1].Events++
	}
	return d
}

// bound is the smallest bound of a bucket that is not below e.
func bound(e float64) float64 {
	if e <= 0 {
		return 0
	}
	up := math.Exp2(math.Ceil(math.Log2(e)*8) / 8)
	return max(up, e) // rounding may put it just below
}
