package report

import (
	"cmp"
	"fmt"
	"io"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/gureum/gureum/bench/compare"
	"github.com/gureum/gureum/bench/result"
)

// Changes writes what two reports say of one another: for each figure both medians with
// their intervals, the change, and the p-value of there being none.
func Changes(w io.Writer, c *compare.Comparison, s Style) error {
	p := newPrinter(w, s)
	p.prose(fmt.Sprintf("old: gureum %s, %s, %s", c.Old.Version, c.Old.Started, cmp.Or(c.Old.Environment.CPU, "unknown CPU")))
	p.prose(fmt.Sprintf("new: gureum %s, %s, %s", c.New.Version, c.New.Started, cmp.Or(c.New.Environment.CPU, "unknown CPU")))
	p.prose(clockWords(c.Clock))
	for _, text := range c.Warnings {
		p.prose("warning: " + text)
	}
	var groups []string
	figures := map[string][]compare.Figure{}
	for _, f := range c.Figures {
		if figures[f.Group] == nil {
			groups = append(groups, f.Group)
		}
		figures[f.Group] = append(figures[f.Group], f)
	}
	for _, g := range groups {
		p.changes(g, inOrder(figures[g]), c.Means)
	}
	p.only("the old", c.OnlyOld)
	p.only("the new", c.OnlyNew)
	p.line("")
	p.prose(conclusion(c))
	return p.err
}

// changeWidth is from which width on medians have their intervals.
const changeWidth = 100

// change is a line of the table.
type change struct{ name, subject, before, after, delta, test, verdict string }

// inOrder puts all cases of a figure below one another, and all subjects of a case.
func inOrder(figures []compare.Figure) []compare.Figure {
	var names, cases []string
	for _, f := range figures {
		names, cases = append(names, f.Figure), append(cases, f.Case)
	}
	slices.SortStableFunc(figures, func(a, b compare.Figure) int {
		return cmp.Or(slices.Index(names, a.Figure)-slices.Index(names, b.Figure), slices.Index(cases, a.Case)-slices.Index(cases, b.Case))
	})
	return figures
}

func (p *printer) changeOf(f *compare.Figure) change {
	c := change{name: f.Figure, subject: f.Subject, before: p.side(f.Old, f.Unit), after: p.side(f.New, f.Unit), delta: "~"}
	if f.Case != "" {
		c.name = "  " + f.Case
	}
	c.test = fmt.Sprintf("p=%.3f n=%d", f.P, f.Old.Samples)
	if f.P < 0.0005 {
		c.test = fmt.Sprintf("p<0.001 n=%d", f.Old.Samples)
	}
	if f.Old.Samples != f.New.Samples {
		c.test += fmt.Sprintf("+%d", f.New.Samples)
	}
	switch f.Verdict {
	case compare.Same:
		return c
	case compare.TooFew:
		c.verdict = "too few"
		return c
	case compare.Small:
	default:
		c.verdict = string(f.Verdict)
	}
	c.delta = "?" // of nothing
	if f.Change != nil {
		c.delta = signed(*f.Change)
	}
	if f.Control && c.verdict != "" {
		c.verdict += " (control)"
	}
	return c
}

// side is a median with how far its interval goes, if there is room for it.
func (p *printer) side(s compare.Summary, unit string) string {
	text := quantity(s.Median, unit)
	if s.Samples < 2 || s.Median == 0 || p.style.Width < changeWidth {
		return text
	}
	return fmt.Sprintf("%s ±%.0f%%", text, 100*max(s.Interval.High/s.Median-1, 1-s.Interval.Low/s.Median))
}

func (p *printer) changes(group string, figures []compare.Figure, means []compare.Mean) {
	lines := []change{{subject: "", before: "old", after: "new", delta: "change"}}
	last := ""
	for i := range figures {
		f := &figures[i]
		if f.Case != "" && f.Figure != last {
			lines = append(lines, change{name: f.Figure})
		}
		l := p.changeOf(f)
		if i > 0 && f.Figure == last && f.Case == figures[i-1].Case {
			l.name = ""
		}
		last = f.Figure
		lines = append(lines, l)
	}
	for _, m := range means {
		if m.Group == group && m.Figures > 1 {
			name := "geometric mean, " + m.Unit
			if m.Direction != result.Neither {
				name += ", " + string(m.Direction) + " is better"
			}
			lines = append(lines, change{name: name, subject: m.Subject, delta: signed(m.Change), test: fmt.Sprintf("of %d", m.Figures)})
		}
	}
	p.line("")
	p.line(group)
	p.columnsOf(lines)
}

// columnsOf writes lines below one another. Names that are too long have a line of their own.
func (p *printer) columnsOf(lines []change) {
	var w [7]int
	for _, l := range lines {
		for i, text := range l.cells() {
			if l.subject != "" || i > 0 {
				w[i] = max(w[i], utf8.RuneCountInString(text))
			}
		}
	}
	const gap, least = 2, 10
	rest := 0
	for _, n := range w[1:] {
		if n > 0 {
			rest += n + gap
		}
	}
	w[0] = max(min(w[0], p.style.Width-rest-gap), least)
	for _, l := range lines {
		cells := l.cells()
		if cells[0] != "" && (utf8.RuneCountInString(cells[0]) > w[0] || l.subject == "") {
			p.wrap(cells[0])
			if cells[0] = ""; l.subject == "" {
				continue
			}
		}
		var text strings.Builder
		for i, cell := range cells {
			text.WriteString(p.pad(cell, w[i], i >= 2 && i <= 4))
		}
		p.line(text.String())
	}
}

func (c *change) cells() [7]string {
	return [7]string{c.name, c.subject, c.before, c.after, c.delta, c.test, c.verdict}
}

func (p *printer) only(which string, keys []result.Key) {
	if len(keys) == 0 {
		return
	}
	p.line("")
	p.prose(fmt.Sprintf("only in %s report, and not compared:", which))
	for _, k := range keys {
		p.prose("  " + k.String())
	}
}

// conclusion says what is to be made of it.
func conclusion(c *compare.Comparison) string {
	text := fmt.Sprintf("%d figures compared: %d worse and %d better by more than %s", len(c.Figures), c.Worse, c.Better, percent(c.Threshold))
	tested := 0
	for _, f := range c.Figures {
		if f.Verdict != compare.TooFew {
			tested++
		}
	}
	return text + fmt.Sprintf(" with p ≤ %.2g; ~ is no difference. By chance alone about %.0f of them would have such a p: the threshold is there for these.",
		c.Alpha, float64(tested)*c.Alpha)
}
