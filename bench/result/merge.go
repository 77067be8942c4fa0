package result

import (
	"math"
	"slices"
)

// Merge makes one distribution of those of several runs, nil of none. Its percentiles are
// as exact as their buckets are narrow.
func Merge(all []*Distribution) *Distribution {
	counts := map[float64]uint64{}
	m := &Distribution{Min: math.Inf(1), Max: math.Inf(-1)}
	for _, d := range all {
		if d == nil || d.Events == 0 {
			continue
		}
		m.Events += d.Events
		m.Min, m.Max = min(m.Min, d.Min), max(m.Max, d.Max)
		for _, b := range d.Buckets {
			counts[b.UpTo] += b.Events
		}
	}
	if m.Events == 0 {
		return nil
	}
	for up, events := range counts {
		m.Buckets = append(m.Buckets, Bucket{UpTo: up, Events: events})
	}
	slices.SortFunc(m.Buckets, func(a, b Bucket) int {
		if a.UpTo < b.UpTo {
			return -1
		}
		return 1
	})
	m.P50, m.P99, m.P999 = m.within(0.5), m.within(0.99), m.within(0.999)
	return m
}

// within is the quantile q, taking the events of a bucket for evenly spread.
func (d *Distribution) within(q float64) float64 {
	rank, low := q*float64(d.Events), d.Min
	for _, b := range d.Buckets {
		high := min(b.UpTo, d.Max)
		if rank <= float64(b.Events) {
			return low + (high-low)*rank/float64(b.Events)
		}
		rank, low = rank-float64(b.Events), high
	}
	return d.Max
}
