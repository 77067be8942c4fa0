package report

import (
	"cmp"
	_ "embed" // the page
	"fmt"
	"html"
	"io"
	"reflect"
	"slices"
	"strings"
	"sync"
	"text/template"

	"github.com/gureum/gureum/bench/result"
)

//go:embed page.html
var pageText string

// page is parsed when it is first used: a start of the program has no time for it.
var page = sync.OnceValue(func() *template.Template {
	return template.Must(template.New("page").Parse(pageText))
})

// HTML writes a page that shows the report with plots. It is one file, loads nothing, runs no
// script, and follows the reader's choice of light or dark. what says what groups measure.
func HTML(w io.Writer, r *result.Report, what map[string]string) error {
	v := newView(r, what)
	escape(reflect.ValueOf(v))
	return page().Execute(w, v)
}

// escape makes all texts in v harmless in the page, which has them in elements and in quoted
// attributes only. It is done here for all of them, as html/template, which would do it at each
// place, costs every start of the program 18 KB and 90 allocations.
func escape(v reflect.Value) {
	switch v.Kind() {
	case reflect.String:
		v.SetString(html.EscapeString(v.String()))
	case reflect.Pointer:
		escape(v.Elem())
	case reflect.Struct:
		for i := range v.NumField() {
			escape(v.Field(i))
		}
	case reflect.Slice:
		for i := range v.Len() {
			escape(v.Index(i))
		}
	default: // numbers and truths
	}
}

// view is what the page's template shows: texts, and places in percent.
type view struct {
	Title, Version, Started, Took, Clock, Noise string
	Interrupted                                 bool
	Glance                                      []glance
	Environment                                 []Row
	Groups                                      []groupView
	Notes                                       []result.Note
	Spread                                      string // from which on it is much
	EnoughRuns                                  int
	Confidence                                  string
}

type groupView struct {
	Name, ID string
	What     string
	Base     string
	Figures  []figureView
	Latency  []histogramView
	Notes    []result.Note
}

type figureView struct {
	Name, Unit, Better string
	Single             bool // it has one case, and that no name
	Cases              []caseView
}

type caseView struct {
	Name string
	Rows []rowView
}

// rowView is a subject's line: the bar of its median, its samples, and its spread.
type rowView struct {
	Subject                 string
	Colour                  int
	Median, Spread, Samples string
	Ratio, Interval         string
	Doubt                   string // a class of the page's, "" if there is none
	DoubtWords              string
	Bar                     float64
	Plot, Zoom              box
}

// colours of the page.
const colours = 8

func newView(r *result.Report, what map[string]string) *view {
	v := &view{
		Title: "gureum bench", Version: r.Version, Started: r.Started.UTC().Format("2006-01-02 15:04 UTC"), Took: duration(r.Seconds),
		Clock: clockWords(r.Clock), Noise: noiseWords(r.Noise), Interrupted: r.Interrupted, EnoughRuns: result.EnoughRuns(),
		Spread: fmt.Sprintf("%.0f%%", 100*muchSpread), Confidence: fmt.Sprintf("%.0f%%", 100*result.Confidence),
	}
	for _, row := range Environment(r.Environment) {
		if row.Value != "" {
			v.Environment = append(v.Environment, row)
		}
	}
	groups := arrange(r)
	colour := map[string]int{}
	for _, g := range groups {
		for _, s := range g.Subjects {
			if _, has := colour[s]; !has {
				colour[s] = len(colour) % colours
			}
		}
	}
	notes := slices.Clone(r.Notes)
	for i, g := range groups {
		gv := groupView{Name: g.Name, ID: fmt.Sprintf("group-%d", i), What: what[g.Name]}
		for _, f := range g.Figures {
			gv.add(&f, r.Clock, colour)
		}
		for _, n := range notes {
			if n.Group == g.Name {
				gv.Notes = append(gv.Notes, n)
			}
		}
		notes = slices.DeleteFunc(notes, func(n result.Note) bool { return n.Group == g.Name })
		v.Groups = append(v.Groups, gv)
	}
	v.Notes = notes
	v.Glance = atAGlance(groups, colour)
	return v
}

func duration(seconds float64) string {
	if seconds < 100 {
		return fmt.Sprintf("%.0f s", seconds)
	}
	return fmt.Sprintf("%.0f min", seconds/60)
}

// add puts a figure with its plots into the group.
func (g *groupView) add(f *figure, clock string, colour map[string]int) {
	fv := figureView{Name: f.Name, Unit: unitWords(f.Unit, clock), Single: len(f.Cases) == 1 && f.Cases[0].Name == ""}
	if f.Better != result.Neither {
		fv.Better = string(f.Better) + " is better"
	}
	for i := range f.Cases {
		c := &f.Cases[i]
		g.Base = cmp.Or(g.Base, c.Base)
		cv := caseView{Name: c.Name}
		top, away := c.extent()
		for j := range c.Entries {
			e := &c.Entries[j]
			cv.Rows = append(cv.Rows, c.row(e, colour[e.Subject], top, away))
		}
		fv.Cases = append(fv.Cases, cv)
		if h, any := histograms(f, c, colour); any {
			g.Latency = append(g.Latency, h)
		}
	}
	g.Figures = append(g.Figures, fv)
}

// extent is the largest sample of a case, and the largest distance of one to its median as
// a share of that: where the two plots end.
func (c *circumstance) extent() (top, away float64) {
	for _, e := range c.Entries {
		for _, s := range e.Samples {
			top = max(top, s)
			if e.Median > 0 {
				away = max(away, s/e.Median-1, 1-s/e.Median)
			}
		}
	}
	const margin = 1.02 // for the last dot
	return top * margin, away * margin
}

func (c *circumstance) row(e *entry, colour int, top, away float64) rowView {
	t := c.cells(e)
	v := rowView{Subject: e.Subject, Colour: colour, Median: t.value, Interval: t.interval, Samples: runsWords(e.Samples, e.Unit)}
	if e.Ratio != nil {
		v.Ratio = "×" + digits(e.Ratio.Ratio)
	}
	if len(e.Samples) > 2 {
		v.Spread = "±" + percent(e.Spread)
	}
	switch c.doubt(e) {
	case even:
		v.Doubt, v.DoubtWords = "even", "no difference shown"
	case noisy:
		v.Doubt, v.DoubtWords = "noisy", "too noisy to conclude"
	}
	if top > 0 {
		v.Bar = percentOf(e.Median / top)
		v.Plot = boxOf(e.Samples, func(s float64) float64 { return max(0, s) / top })
	}
	if limit := zoomLimit(away); e.Median > 0 {
		v.Zoom = boxOf(e.Samples, func(s float64) float64 { return 0.5 + (s/e.Median-1)/limit/2 })
		v.Zoom.Limit = fmt.Sprintf("%.0f%%", 100*limit)
	}
	return v
}

// zoomLimit is where the plot of the spread ends: the next of few round shares, so that plots
// can be compared with one another.
func zoomLimit(away float64) float64 {
	for _, limit := range []float64{0.02, 0.1, 0.5, 1} {
		if away <= limit {
			return limit
		}
	}
	return away
}

// runsWords are the samples in words, for whoever points at them.
func runsWords(samples []float64, unit string) string {
	const most = 40
	words := make([]string, 0, len(samples))
	for _, s := range samples[:min(len(samples), most)] {
		words = append(words, quantity(s, unit))
	}
	text := fmt.Sprintf("%d runs: %s", len(samples), strings.Join(words, ", "))
	if len(samples) > most {
		text += ", …"
	}
	return text
}
