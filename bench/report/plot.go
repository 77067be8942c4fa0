package report

import (
	"fmt"
	"math"

	"github.com/gureum/gureum/bench/result"
)

// box is a box plot: all in percent of its axis. Whiskers go to the last sample within one and
// a half of the box's length (Tukey); all samples are dots.
type box struct {
	Shown                           bool
	Low, First, Median, Third, High float64
	Length                          float64 // of the box
	Dots                            []float64
	Limit                           string // of the axis, in words
}

func boxOf(samples []float64, place func(float64) float64) box {
	if len(samples) == 0 {
		return box{}
	}
	at := make([]float64, len(samples))
	for i, s := range samples {
		at[i] = percentOf(place(s))
	}
	b := box{Shown: true, First: result.Quantile(at, 0.25), Median: result.Median(at), Third: result.Quantile(at, 0.75), Dots: at}
	b.Length = b.Third - b.First
	b.Low, b.High = b.First, b.Third
	for _, a := range at {
		if a >= b.First-1.5*b.Length {
			b.Low = min(b.Low, a)
		}
		if a <= b.Third+1.5*b.Length {
			b.High = max(b.High, a)
		}
	}
	return b
}

// percentOf is a share in percent, within the axis.
func percentOf(share float64) float64 {
	if !(share > 0) {
		return 0
	}
	return 100 * min(share, 1)
}

// histogramView has the distributions of a figure's single events, one below the other on
// one logarithmic axis.
type histogramView struct {
	Figure, Case string
	Ticks        []tick
	Rows         []histogramRow
}

type tick struct {
	At   float64
	Text string
}

type histogramRow struct {
	Subject              string
	Colour               int
	Bars                 []bar
	Marks                []tick
	Events               string
	P50, P99, P999, Most string
}

// bar of a histogram, in percent of both axes. The height is that of the logarithm of the
// number of events, so that rare ones, which are those that hurt, are seen.
type bar struct{ At, Width, Top, Height float64 }

// bucketWidth is the logarithm to base 2 of how far a bucket reaches down at most (see result.Summarize):
// buckets without events are left out, and the next is not to fill their place.
const bucketWidth = 1.0 / 8

func histograms(f *figure, c *circumstance, colour map[string]int) (histogramView, bool) {
	h := histogramView{Figure: f.Name, Case: c.Name}
	low, high, most := math.Inf(1), math.Inf(-1), uint64(1)
	for _, e := range c.Entries {
		if e.Distribution == nil {
			continue
		}
		for _, b := range e.Distribution.Buckets {
			if b.UpTo > 0 && b.Events > 0 {
				low, high, most = min(low, math.Log2(b.UpTo)-bucketWidth), max(high, math.Log2(b.UpTo)), max(most, b.Events)
			}
		}
	}
	if low >= high {
		return h, false
	}
	place := func(v float64) float64 { return percentOf((math.Log2(v) - low) / (high - low)) }
	for _, e := range c.Entries {
		if d := e.Distribution; d != nil {
			h.Rows = append(h.Rows, histogramRow{
				Subject: e.Subject, Colour: colour[e.Subject], Events: fmt.Sprintf("%d events", d.Events), Bars: bars(d.Buckets, place, most),
				P50: quantity(d.P50, f.Unit), P99: quantity(d.P99, f.Unit), P999: quantity(d.P999, f.Unit), Most: quantity(d.Max, f.Unit),
				Marks: marks(d, place),
			})
		}
	}
	h.Ticks = ticks(low, high, f.Unit)
	return h, true
}

func bars(buckets []result.Bucket, place func(float64) float64, most uint64) []bar {
	var all []bar
	last := 0.0
	for _, b := range buckets {
		if b.UpTo <= 0 || b.Events == 0 {
			continue
		}
		from := max(last, b.UpTo*math.Exp2(-bucketWidth))
		height := 100 * math.Log1p(float64(b.Events)) / math.Log1p(float64(most))
		all = append(all, bar{At: place(from), Width: max(0, place(b.UpTo)-place(from)), Top: 100 - height, Height: height})
		last = b.UpTo
	}
	return all
}

func marks(d *result.Distribution, place func(float64) float64) []tick {
	var all []tick
	for _, m := range []struct {
		name string
		v    float64
	}{{"p50", d.P50}, {"p99", d.P99}, {"p99.9", d.P999}} {
		if m.v > 0 {
			all = append(all, tick{At: place(m.v), Text: m.name})
		}
	}
	return all
}

// ticks are round values on an axis of logarithms to base 2: powers of ten, thinned out to a
// handful, or where there are fewer than two their halves and fifths.
func ticks(low, high float64, unit string) []tick {
	const most = 6
	var values []float64
	for _, steps := range [][]float64{{1}, {1, 2, 5}, {1, 1.2, 1.5, 2, 2.5, 3, 4, 5, 6, 8}} {
		values = values[:0]
		for power := math.Floor(low * math.Log10(2)); power <= math.Ceil(high*math.Log10(2)); power++ {
			for _, s := range steps {
				if v := s * math.Pow(10, power); math.Log2(v) >= low && math.Log2(v) <= high {
					values = append(values, v)
				}
			}
		}
		if len(values) > 1 {
			break
		}
	}
	var all []tick
	every := (len(values) + most - 1) / most
	for i, v := range values {
		if i%max(every, 1) == 0 {
			all = append(all, tick{At: 100 * (math.Log2(v) - low) / (high - low), Text: quantity(v, unit)})
		}
	}
	return all
}
