package result

import (
	"math"
	"slices"
	"sync"

	"github.com/aclements/go-moremath/stats"
)

// Confidence is that of intervals, and 1-Confidence the chance to see a difference
// where there is none.
const Confidence = 0.95

// Interval is where a value is with some confidence.
type Interval struct {
	Low  float64 `json:"low"`
	High float64 `json:"high"`
	// Confidence that it has, 0 to 1. Few samples may not reach that which was asked for.
	Confidence float64 `json:"confidence"`
}

// Contains tells whether v is in it.
func (i Interval) Contains(v float64) bool { return i.Low <= v && v <= i.High }

// MedianInterval is the interval of the median by order statistics, which assume nothing of
// the distribution. Fewer than six samples have too little confidence even in their whole
// range: that is given then, with what it has. No samples give NaN.
func MedianInterval(samples []float64) Interval {
	n := len(samples)
	if n == 0 {
		return Interval{Low: math.NaN(), High: math.NaN()}
	}
	s := slices.Sorted(slices.Values(samples))
	ci := stats.QuantileCI(n, 0.5, Confidence)
	if ci.LoOrder < 1 || ci.HiOrder > n {
		return Interval{Low: s[0], High: s[n-1], Confidence: 1 - math.Exp2(float64(1-n))}
	}
	return Interval{Low: s[ci.LoOrder-1], High: s[ci.HiOrder-1], Confidence: ci.Confidence}
}

// Difference is the p-value of the Mann-Whitney U test: how likely two sets of samples are so
// far apart if nothing is different. It is exact for up to 25 samples each, 50 if no two are the same.
func Difference(a, b []float64) float64 {
	r, err := stats.MannWhitneyUTest(a, b, stats.LocationDiffers)
	if err != nil { // no samples, or all are the same
		return 1
	}
	return min(r.P, 1)
}

// Enough tells whether so many samples of two sides can differ with Confidence at all,
// however far apart they are: two orders of many say that most, so the p-value is not below
// two divided by the number of orders.
func Enough(a, b int) bool { return leastP(a, b) <= 1-Confidence }

// EnoughRuns is how many samples of each side are enough.
func EnoughRuns() int {
	n := 1
	for !Enough(n, n) {
		n++
	}
	return n
}

func leastP(a, b int) float64 {
	orders, _ := math.Lgamma(float64(a + b + 1))
	left, _ := math.Lgamma(float64(a + 1))
	right, _ := math.Lgamma(float64(b + 1))
	return 2 / math.Exp(orders-left-right)
}

// Of is the ratio of one set of samples to another.
type Of struct {
	// Ratio is that of the medians.
	Ratio float64
	// Interval is nil where there are too few samples, or some are not above zero.
	Interval *Interval
}

// RatioOf tells how much larger the samples are than those of the base; false if the base's
// median is not above zero. The interval is the one that belongs to the U test: it has the
// ratios by which the base can be multiplied without the test seeing a difference.
func RatioOf(samples, base []float64) (Of, bool) {
	below := Median(base)
	if len(samples) == 0 || len(base) == 0 || below <= 0 {
		return Of{}, false
	}
	of := Of{Ratio: Median(samples) / below}
	rank, confidence := pairRank(len(samples), len(base))
	if rank < 1 || slices.Min(samples) <= 0 || slices.Min(base) <= 0 {
		return of, true
	}
	pairs := make([]float64, 0, len(samples)*len(base))
	for _, s := range samples {
		for _, b := range base {
			pairs = append(pairs, s/b)
		}
	}
	slices.Sort(pairs)
	// The test knows no medians: theirs may be outside in a distribution with gaps.
	of.Interval = &Interval{Low: min(pairs[rank-1], of.Ratio), High: max(pairs[len(pairs)-rank], of.Ratio), Confidence: confidence}
	return of, true
}

// exactPairs is up to how many pairs the distribution of U is computed, not approximated.
const exactPairs = 400

// pairRank is the rank among all pairs, from below and from above, at which the interval with
// Confidence ends; 0 if the samples are too few.
func pairRank(a, b int) (rank int, confidence float64) {
	tail := (1 - Confidence) / 2
	if a*b > exactPairs {
		n, m := float64(a), float64(b)
		u := stats.NormalDist{Mu: n * m / 2, Sigma: math.Sqrt(n * m * (n + m + 1) / 12)}
		return int(u.InvCDF(tail)), Confidence
	}
	if known, ok := ranks.Load([2]int{a, b}); ok {
		return known.(pairEnd).rank, known.(pairEnd).confidence
	}
	u := stats.UDist{N1: a, N2: b}
	for u.CDF(float64(rank)) <= tail {
		rank++
	}
	confidence = 1 - 2*u.CDF(float64(rank-1))
	ranks.Store([2]int{a, b}, pairEnd{rank, confidence})
	return rank, confidence
}

// ranks are the pairEnds that were computed, by both numbers of samples: a report has hundreds
// of figures, and nearly all have as many.
var ranks sync.Map

type pairEnd struct {
	rank       int
	confidence float64
}

// Spread is half the distance of the quartiles as a share of the median: how far a typical
// sample is from it. It is 0 for fewer than three samples, and for a median of zero.
func Spread(samples []float64) float64 {
	median := Median(samples)
	if len(samples) < 3 || median == 0 {
		return 0
	}
	return (Quantile(samples, 0.75) - Quantile(samples, 0.25)) / 2 / math.Abs(median)
}
