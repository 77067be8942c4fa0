package suite

import (
	"errors"
	"fmt"
	"math"
	"slices"
	"time"

	"github.com/gureum/gureum/bench/result"
)

// answer is what came of a row. It goes through a guest's console, as JSON.
type answer struct {
	// Requests is what was made, in the unit of the row's amount; Lost are those of them
	// that got no answer.
	Requests uint64 `json:"requests"`
	Lost     uint64 `json:"lost,omitempty"`
	// Value is the row's figure in its unit.
	Value float64 `json:"value"`
	// Latency is that of the requests; streams have none.
	Latency *latency `json:"latency,omitempty"`
	Error   string   `json:"error,omitempty"`
}

// latency is a distribution in few letters, since each is several exits on the way out of a
// guest. Times are in nanoseconds.
type latency struct {
	// Figures are the least, the percentiles 50, 99 and 99.9, and the greatest.
	Figures [5]int64 `json:"figures"`
	// Counts are events by buckets, eight to a factor of two: number i has those above
	// 2^((First+i-1)/8) up to 2^((First+i)/8).
	First  int      `json:"first"`
	Counts []uint64 `json:"counts"`
}

const (
	// perOctave is how finely result.Summarize sorts events.
	perOctave = 8
	// octaves are those of 64 bits.
	octaves = 64
)

// shorten is the latency of requests, nil of none.
func shorten(all []time.Duration) *latency {
	events := make([]float64, len(all))
	for i, l := range all {
		events[i] = float64(max(l.Nanoseconds(), 1))
	}
	d := result.Summarize(events)
	if d == nil {
		return nil
	}
	l := &latency{First: bucketOf(d.Buckets[0].UpTo)}
	for i, f := range []float64{d.Min, d.P50, d.P99, d.P999, d.Max} {
		l.Figures[i] = int64(math.Round(f))
	}
	for _, b := range d.Buckets {
		at := bucketOf(b.UpTo) - l.First
		l.Counts = append(l.Counts, make([]uint64, max(0, at+1-len(l.Counts)))...)
		l.Counts[at] += b.Events
	}
	return l
}

func bucketOf(upTo float64) int { return int(math.Round(math.Log2(upTo) * perOctave)) }

// distribution is a latency as reports have it. What a guest sends need not be one.
func (l *latency) distribution() (*result.Distribution, error) {
	f := l.Figures
	if l.First < 0 || l.First+len(l.Counts) > octaves*perOctave || f[0] < 0 || !slices.IsSorted(f[:]) {
		return nil, fmt.Errorf("%+v is no distribution", *l)
	}
	d := &result.Distribution{Min: float64(f[0]), P50: float64(f[1]), P99: float64(f[2]), P999: float64(f[3]), Max: float64(f[4])}
	for i, n := range l.Counts {
		if n == 0 {
			continue
		}
		if n > math.MaxInt64 || d.Events > math.MaxInt64 {
			return nil, errors.New("a distribution has too many events")
		}
		d.Events += n
		d.Buckets = append(d.Buckets, result.Bucket{UpTo: math.Exp2(float64(l.First+i) / perOctave), Events: n})
	}
	if d.Events == 0 {
		return nil, errors.New("a distribution has no events")
	}
	return d, nil
}
