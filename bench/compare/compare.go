// Package compare says what changed between two reports of 'gureum bench', in the manner of
// benchstat: medians, their intervals, and a test of whether they differ at all. It neither
// measures nor prints.
package compare

import (
	"fmt"
	"math"

	"github.com/gureum/gureum/bench/result"
)

// Options say when a change counts.
type Options struct {
	// Threshold is the share of a median, 0.05 for 5%, that a change has to exceed.
	Threshold float64
}

// Alpha is the p-value from which on a difference is none.
const Alpha = 1 - result.Confidence

// Comparison is what two reports say of one another. Its fields are added to, not renamed.
type Comparison struct {
	Old Side `json:"old"`
	New Side `json:"new"`
	// Clock of both, see result.
	Clock     string  `json:"clock"`
	Threshold float64 `json:"threshold"` // a share
	Alpha     float64 `json:"alpha"`
	// Worse and Better count the figures with these verdicts, without those of controls.
	Worse   int      `json:"worse"`
	Better  int      `json:"better"`
	Figures []Figure `json:"figures"`
	Means   []Mean   `json:"geomeans"`
	// Warnings are sentences on what makes the comparison doubtful.
	Warnings []string `json:"warnings"`
	// OnlyOld and OnlyNew are what the other report does not have.
	OnlyOld []result.Key `json:"only_old"`
	OnlyNew []result.Key `json:"only_new"`
}

// Side is one of the reports.
type Side struct {
	Version     string             `json:"version"`
	Started     string             `json:"started"` // RFC 3339
	Interrupted bool               `json:"interrupted,omitempty"`
	Environment result.Environment `json:"environment"`
}

// Verdict on a figure.
type Verdict string

// The verdicts.
const (
	// Worse and Better: it differs, and by more than the threshold.
	Worse  Verdict = "worse"
	Better Verdict = "better"
	// Changed is the same of a figure that has no better direction.
	Changed Verdict = "changed"
	// Small: it differs, but by no more than the threshold.
	Small Verdict = "small"
	// Same: no difference is seen.
	Same Verdict = "same"
	// TooFew: no difference could have been seen in so few samples.
	TooFew Verdict = "too few"
)

// Figure is a series that both reports have.
type Figure struct {
	result.Key
	Unit      string        `json:"unit"`
	Direction result.Better `json:"better,omitempty"` // see result.Series
	Old       Summary       `json:"old"`
	New       Summary       `json:"new"`
	// Change of the median as a share of the old one; nil if that is zero.
	Change *float64 `json:"change"`
	// Interval of the change, nil if there are too few samples for one.
	Interval *result.Interval `json:"interval,omitempty"`
	P        float64          `json:"p"`
	Verdict  Verdict          `json:"verdict"`
	// Control says that the subject is the same in both reports, so that what changed is
	// the host: a peer of one version, or the host itself.
	Control bool `json:"control,omitempty"`
}

// Summary is one side of a figure.
type Summary struct {
	Samples  int             `json:"samples"`
	Median   float64         `json:"median"`
	Interval result.Interval `json:"interval"`
}

// Mean is the geometric mean of the ratios new to old of a subject's figures of one group,
// unit and direction.
type Mean struct {
	Group     string        `json:"group"`
	Subject   string        `json:"subject"`
	Unit      string        `json:"unit"`
	Direction result.Better `json:"better,omitempty"`
	Figures   int           `json:"figures"`
	Change    float64       `json:"change"` // the mean less one
}

// Reports compares two. It refuses those that have no clock in common.
func Reports(before, after *result.Report, o Options) (*Comparison, error) {
	if before.Clock != after.Clock {
		return nil, fmt.Errorf("the old report's time is in %s, the new one's in %s: measure both in the same way", clock(before.Clock), clock(after.Clock))
	}
	c := &Comparison{
		Old: side(before), New: side(after), Clock: before.Clock, Threshold: o.Threshold, Alpha: Alpha,
		Figures: []Figure{}, Means: []Mean{}, Warnings: environments(before, after), OnlyOld: []result.Key{}, OnlyNew: []result.Key{},
	}
	later := map[result.Key]result.Series{}
	for _, s := range after.Series {
		later[s.Key] = s
	}
	for _, old := range before.Series {
		now, there := later[old.Key]
		delete(later, old.Key)
		switch {
		case !there:
			c.OnlyOld = append(c.OnlyOld, old.Key)
		case now.Unit != old.Unit:
			c.warn("%s is not compared: it was in %q, and is in %q", old.Key, old.Unit, now.Unit)
		case len(old.Samples) == 0 || len(now.Samples) == 0:
			c.warn("%s is not compared: one side has no samples", old.Key)
		default:
			f := figure(old, now, o.Threshold)
			f.Control = control(old.Subject, before, after)
			c.Figures = append(c.Figures, f)
		}
	}
	for _, s := range after.Series {
		if _, left := later[s.Key]; left {
			c.OnlyNew = append(c.OnlyNew, s.Key)
		}
	}
	c.Means = means(c.Figures)
	c.conclude()
	return c, nil
}

func clock(name string) string {
	if name == result.ClockInstructions {
		return "instructions"
	}
	return "nanoseconds of a clock"
}

func side(r *result.Report) Side {
	return Side{Version: r.Version, Started: r.Started.UTC().Format("2006-01-02T15:04:05Z"), Interrupted: r.Interrupted, Environment: r.Environment}
}

func (c *Comparison) warn(format string, args ...any) {
	c.Warnings = append(c.Warnings, fmt.Sprintf(format, args...))
}

func figure(old, now result.Series, threshold float64) Figure {
	f := Figure{Key: old.Key, Unit: old.Unit, Direction: now.Better, Old: summary(old.Samples), New: summary(now.Samples)}
	f.P = result.Difference(old.Samples, now.Samples)
	if of, ok := result.RatioOf(now.Samples, old.Samples); ok {
		change := of.Ratio - 1
		f.Change = &change
		if i := of.Interval; i != nil {
			f.Interval = &result.Interval{Low: i.Low - 1, High: i.High - 1, Confidence: i.Confidence}
		}
	}
	f.Verdict = f.judge(threshold)
	return f
}

func summary(samples []float64) Summary {
	return Summary{Samples: len(samples), Median: result.Median(samples), Interval: result.MedianInterval(samples)}
}

// judge takes a change for one if the test sees it and it exceeds the threshold. The first
// alone would be wrong one time in twenty for each of hundreds of figures, and for what
// differs from one start of a host to the next, which samples of one run do not show; the second
// alone would take noise for a change.
func (f *Figure) judge(threshold float64) Verdict {
	delta := f.New.Median - f.Old.Median
	switch {
	case f.P > Alpha && !result.Enough(f.Old.Samples, f.New.Samples) && delta != 0:
		return TooFew
	case f.P > Alpha || delta == 0:
		return Same
	case math.Abs(delta) <= threshold*math.Abs(f.Old.Median):
		return Small
	case f.Direction == result.Neither:
		return Changed
	case (delta < 0) == (f.Direction == result.Lower):
		return Better
	}
	return Worse
}

// conclude counts, and warns of what the counts do not tell.
func (c *Comparison) conclude() {
	few, moved := 0, map[string]int{}
	for _, f := range c.Figures {
		switch {
		case f.Verdict == TooFew:
			few++
		case f.Control && f.Verdict != Same && f.Verdict != Small:
			moved[f.Subject]++
		case f.Verdict == Worse:
			c.Worse++
		case f.Verdict == Better:
			c.Better++
		}
	}
	if few > 0 {
		n := result.EnoughRuns()
		c.warn("%d figures have too few samples to show any difference: measure both with --runs %d or more", few, n)
	}
	for _, m := range c.Means {
		if n := moved[m.Subject]; n > 0 {
			c.warn("%s is the same in both reports, yet %d of its figures changed by more than the threshold: the host is not what it was, so doubt the others as well", m.Subject, n)
			delete(moved, m.Subject)
		}
	}
	if len(c.Figures) == 0 {
		c.warn("the reports have no figure in common")
	}
}
