// Package report shows what a run of 'gureum bench' found: as a table for a terminal, as a page
// for a browser, as rows for a spreadsheet; and what two runs say of one another. It measures
// nothing, and says no more than the samples do.
package report

import (
	"slices"

	"github.com/gureum/gureum/bench/result"
)

// group is one of the report's, arranged for reading.
type group struct {
	Name     string
	Subjects []string
	Figures  []figure
}

// figure is what was measured, in one or several cases.
type figure struct {
	Name   string
	Unit   string
	Better result.Better
	Cases  []circumstance
}

// circumstance has a figure's series in one case, one for each subject.
type circumstance struct {
	Name    string
	Base    string // the subject that the others are compared with, "" for none
	Entries []entry
}

// entry is a series, and what is to be said of it.
type entry struct {
	result.Series
	Median float64
	Spread float64
	// Ratio to the base; nil for the base itself, and where there is none.
	Ratio *result.Of
}

// The subjects that others are compared with.
const (
	subjectGureum = "gureum"
	subjectHost   = "host"
	// groupCPU asks what a guest loses: there the base is the host, if it was measured.
	groupCPU = "cpu"
)

// muchSpread is the Spread from which on a series is noisy. With it, a handful of runs can
// be a tenth off without anything having changed.
const muchSpread = 0.1

// arrange puts series in the order of their groups, figures and cases.
func arrange(r *result.Report) []group {
	var groups []group
	for _, s := range r.Series {
		if len(s.Samples) == 0 {
			continue
		}
		g := find(&groups, func(g group) bool { return g.Name == s.Group }, group{Name: s.Group})
		if !slices.Contains(g.Subjects, s.Subject) {
			g.Subjects = append(g.Subjects, s.Subject)
		}
		f := find(&g.Figures, func(f figure) bool { return f.Name == s.Figure && f.Unit == s.Unit }, figure{Name: s.Figure, Unit: s.Unit, Better: s.Better})
		c := find(&f.Cases, func(c circumstance) bool { return c.Name == s.Case }, circumstance{Name: s.Case})
		c.Entries = append(c.Entries, entry{Series: s, Median: result.Median(s.Samples), Spread: result.Spread(s.Samples)})
	}
	for _, g := range groups {
		for _, f := range g.Figures {
			for i := range f.Cases {
				f.Cases[i].compare(g.Name, g.Subjects)
			}
		}
	}
	return groups
}

// find gives the element that is looked for, made if it is not there.
func find[T any](in *[]T, is func(T) bool, fresh T) *T {
	i := slices.IndexFunc(*in, is)
	if i < 0 {
		i = len(*in)
		*in = append(*in, fresh)
	}
	return &(*in)[i]
}

// compare puts the entries in the group's order and gives each its ratio to the base.
func (c *circumstance) compare(group string, subjects []string) {
	slices.SortStableFunc(c.Entries, func(a, b entry) int {
		return slices.Index(subjects, a.Subject) - slices.Index(subjects, b.Subject)
	})
	base := -1
	wanted := []string{subjectGureum}
	if group == groupCPU {
		wanted = []string{subjectHost, subjectGureum}
	}
	for _, name := range wanted {
		if base < 0 {
			base = slices.IndexFunc(c.Entries, func(e entry) bool { return e.Subject == name })
		}
	}
	if base < 0 || len(c.Entries) < 2 {
		return
	}
	c.Base = c.Entries[base].Subject
	for i := range c.Entries {
		if of, ok := result.RatioOf(c.Entries[i].Samples, c.Entries[base].Samples); ok && i != base {
			c.Entries[i].Ratio = &of
		}
	}
}

// base is the entry that others are compared with, nil without one.
func (c *circumstance) base() *entry {
	for i := range c.Entries {
		if c.Entries[i].Subject == c.Base {
			return &c.Entries[i]
		}
	}
	return nil
}

// doubt says in how far an entry lets one conclude anything.
type doubt int

const (
	sure doubt = iota
	// even: its interval includes 1, so no difference to the base is shown.
	even
	// noisy: samples are so far apart that nothing can be concluded.
	noisy
)

// doubt of an entry beside its base. A noisy entry whose ratio is still clearly above or
// below 1 is not in doubt.
func (c *circumstance) doubt(e *entry) doubt {
	spread := e.Spread
	if b := c.base(); b != nil {
		spread = max(spread, b.Spread)
	}
	clear := e.Ratio != nil && e.Ratio.Interval != nil && !e.Ratio.Interval.Contains(1)
	switch {
	case clear:
		return sure
	case e.Ratio == nil && e.Spread > muchSpread, e.Ratio != nil && spread > muchSpread:
		return noisy
	case e.Ratio != nil && e.Ratio.Interval != nil:
		return even
	}
	return sure
}
