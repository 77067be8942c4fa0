package report

import (
	"cmp"
	"fmt"
	"io"
	"strings"
	"unicode/utf8"

	"github.com/gureum/gureum/bench/result"
)

// Style is what the terminal can show.
type Style struct {
	// Width is how many columns there are.
	Width int
	// ASCII says that other letters do not work.
	ASCII bool
}

// The narrowest table that is tried, and from which width on there are intervals and bars.
const (
	leastWidth    = 40
	intervalWidth = 80
	barWidth      = 60
)

// printer writes lines of a style, and keeps the first error.
type printer struct {
	w     io.Writer
	style Style
	err   error
}

func newPrinter(w io.Writer, s Style) *printer {
	s.Width = max(s.Width, leastWidth)
	return &printer{w: w, style: s}
}

// line writes one, without blanks at its end.
func (p *printer) line(text string) {
	if p.style.ASCII {
		text = plain.Replace(text)
	}
	if p.err == nil {
		_, p.err = io.WriteString(p.w, strings.TrimRight(text, " ")+"\n")
	}
}

// prose writes a text in lines that fit, those after the first indented.
func (p *printer) prose(text string) {
	for _, line := range strings.Split(strings.TrimRight(text, "\n"), "\n") {
		p.wrap(line)
	}
}

func (p *printer) wrap(text string) {
	if text == "" {
		p.line("")
		return
	}
	line := ""
	indent := text[:len(text)-len(strings.TrimLeft(text, " "))]
	for word := range strings.FieldsSeq(text) {
		switch {
		case line == "":
			line = indent + word
		case utf8.RuneCountInString(line)+1+utf8.RuneCountInString(word) > p.style.Width:
			p.line(line)
			line = indent + "  " + word
		default:
			line += " " + word
		}
	}
	p.line(line)
}

// Table writes a table of each group: medians, with half the distance of the quartiles as
// a share of the median, and the ratio to the group's base with its interval and a bar.
func Table(w io.Writer, r *result.Report, s Style) error {
	p := newPrinter(w, s)
	p.prose(fmt.Sprintf("gureum %s; %s, %d CPUs; %s", r.Version, cmp.Or(r.Environment.CPU, "unknown CPU"), r.Environment.CPUs, clockWords(r.Clock)))
	if text := noiseWords(r.Noise); text != "" {
		p.prose(text)
	}
	for _, g := range arrange(r) {
		p.group(g)
	}
	for _, n := range r.Notes {
		p.line("")
		p.prose(strings.TrimPrefix(n.Group+" "+n.Kind, " ") + ": " + n.Text)
	}
	if r.Interrupted {
		p.line("")
		p.prose("interrupted: not all that was asked for is here")
	}
	return p.err
}

// noiseWords say what the host did besides, "" where a report does not know.
func noiseWords(n *result.Noise) string {
	if n == nil {
		return ""
	}
	return fmt.Sprintf("host noise: steal %s of the CPUs' time, throttled %d times, load %.2f at the start", percent(n.Steal), n.Throttled, n.Load)
}

// columns are the widths of a table's.
type columns struct{ name, subject, value, spread, ratio, interval, bar int }

// cell texts of one entry.
type cells struct{ subject, value, spread, ratio, interval string }

func (c *circumstance) cells(e *entry) cells {
	out := cells{subject: e.Subject, value: quantity(e.Median, e.Unit)}
	if len(e.Samples) > 2 {
		out.spread = "±" + fmt.Sprintf("%.0f%%", 100*e.Spread)
	}
	if e.Ratio != nil {
		out.ratio = "×" + digits(e.Ratio.Ratio)
		if i := e.Ratio.Interval; i != nil {
			out.interval = digits(i.Low) + "–" + digits(i.High)
		}
	}
	switch c.doubt(e) {
	case even:
		out.ratio += " ~"
	case noisy:
		if out.ratio == "" {
			out.spread += " !"
		} else {
			out.ratio += " !"
		}
	}
	return out
}

// label is how a case is named in the table: below its figure, or with it.
func (f *figure) label(c *circumstance) string {
	if c.Name == "" {
		return f.Name
	}
	return "  " + c.Name
}

// columns fits a group's into the width. Names get what is left, but not less than a third.
func (p *printer) columns(g *group) columns {
	var c columns
	widest := func(n *int, text string) {
		if p.style.ASCII {
			text = plain.Replace(text)
		}
		*n = max(*n, utf8.RuneCountInString(text))
	}
	for _, f := range g.Figures {
		for i := range f.Cases {
			widest(&c.name, f.label(&f.Cases[i]))
			for j := range f.Cases[i].Entries {
				t := f.Cases[i].cells(&f.Cases[i].Entries[j])
				widest(&c.subject, t.subject)
				widest(&c.value, t.value)
				widest(&c.spread, t.spread)
				widest(&c.ratio, t.ratio)
				widest(&c.interval, t.interval)
			}
		}
	}
	if p.style.Width < intervalWidth {
		c.interval = 0
	}
	const gaps = 2
	used := 0
	for _, n := range []int{c.subject, c.value, c.spread, c.ratio, c.interval} {
		if n > 0 {
			used += n + gaps
		}
	}
	const least, most = 10, 30
	left := p.style.Width - used
	if len(g.Subjects) > 1 && p.style.Width >= barWidth {
		c.bar = min(max(left-c.name-gaps, least), most)
		left -= c.bar + gaps
	}
	c.name = max(min(c.name, left), least)
	return c
}

func (p *printer) group(g group) {
	c := p.columns(&g)
	p.line("")
	p.line(g.Name)
	doubts := map[doubt]bool{}
	base := ""
	few := false
	for _, f := range g.Figures {
		if f.Cases[0].Name != "" {
			p.line(f.Name)
		}
		for i := range f.Cases {
			each := &f.Cases[i]
			base = cmp.Or(base, each.Base)
			p.circumstance(&f, each, c)
			for j := range each.Entries {
				e := &each.Entries[j]
				doubts[each.doubt(e)] = true
				few = few || e.Ratio != nil && !result.Enough(len(e.Samples), len(each.base().Samples))
			}
		}
	}
	p.legend(base, doubts, few)
}

// circumstance writes a line for each subject.
func (p *printer) circumstance(f *figure, c *circumstance, w columns) {
	longest := 0.0
	for i := range c.Entries {
		longest = max(longest, c.Entries[i].Median)
	}
	name := f.label(c)
	if utf8.RuneCountInString(name) > w.name {
		p.wrap(name)
		name = ""
	}
	for i := range c.Entries {
		e := &c.Entries[i]
		t := c.cells(e)
		text := p.pad(name, w.name, false) + p.pad(t.subject, w.subject, false) + p.pad(t.value, w.value, true) +
			p.pad(t.spread, w.spread, false) + p.pad(t.ratio, w.ratio, false) + p.pad(t.interval, w.interval, false)
		if w.bar > 0 && longest > 0 && len(c.Entries) > 1 {
			text += p.bar(e.Median/longest, w.bar)
		}
		p.line(text)
		name = ""
	}
	for i := range c.Entries {
		if d := c.Entries[i].Distribution; d != nil {
			p.wrap("    " + c.Entries[i].Subject + ", single events: " + percentiles(d, f.Unit))
		}
	}
}

// percentiles are those of a distribution in words.
func percentiles(d *result.Distribution, unit string) string {
	return fmt.Sprintf("p50 %s, p99 %s, p99.9 %s, max %s, of %d",
		quantity(d.P50, unit), quantity(d.P99, unit), quantity(d.P999, unit), quantity(d.Max, unit), d.Events)
}

// pad fills a cell up to its column's width and the gap after it; nothing for no column.
func (p *printer) pad(text string, width int, right bool) string {
	if width == 0 {
		return ""
	}
	if p.style.ASCII {
		text = plain.Replace(text)
	}
	blanks := strings.Repeat(" ", max(0, width-utf8.RuneCountInString(text)))
	if right {
		return blanks + text + "  "
	}
	return text + blanks + "  "
}

// bar draws a share of a width. What is not zero is seen.
func (p *printer) bar(share float64, width int) string {
	share = min(max(share, 0), 1)
	if p.style.ASCII {
		n := int(share*float64(width) + 0.5)
		if share > 0 {
			n = max(n, 1)
		}
		return strings.Repeat("#", n)
	}
	const eighths = 8
	n := int(share*float64(width*eighths) + 0.5)
	if share > 0 {
		n = max(n, 1)
	}
	text := strings.Repeat("█", n/eighths)
	if rest := n % eighths; rest > 0 {
		text += string([]rune("▏▎▍▌▋▊▉")[rest-1])
	}
	return text
}

// legend explains the marks that a group has.
func (p *printer) legend(base string, doubts map[doubt]bool, few bool) {
	if base != "" {
		p.prose(fmt.Sprintf("× is the ratio to %s, and after it its %.0f%% interval", base, 100*result.Confidence))
	}
	if few {
		p.prose(fmt.Sprintf("so few runs have no interval: give --runs %d or more", result.EnoughRuns()))
	}
	if doubts[even] {
		p.prose("~ the interval includes 1: no difference is shown")
	}
	if doubts[noisy] {
		p.prose(fmt.Sprintf("! too noisy to conclude: the quartiles are more than %.0f%% from the median; quieten the host, or give more --runs", 100*muchSpread))
	}
}
