package report

import (
	"encoding/json"
	"encoding/xml"
	"errors"
	"io"
	"reflect"
	"strings"
	"testing"

	"github.com/gureum/gureum/bench/compare"
	"github.com/gureum/gureum/bench/result"
)

const hostile = `"><script>alert('x')</script><b onclick="y">&amp;`

// fill puts a text into each field of v that has one.
func fill(v reflect.Value, text string) {
	switch v.Kind() {
	case reflect.String:
		v.SetString(text)
	case reflect.Struct:
		for i := range v.NumField() {
			if v.Type() != reflect.TypeFor[result.Distribution]() && v.Field(i).CanSet() {
				fill(v.Field(i), text)
			}
		}
	case reflect.Slice:
		for i := range v.Len() {
			fill(v.Index(i), text)
		}
	case reflect.Pointer:
		if !v.IsNil() {
			fill(v.Elem(), text)
		}
	default:
	}
}

// TestPageIsHarmless has a report all of whose texts would be more than text if they were let.
func TestPageIsHarmless(t *testing.T) {
	r := sample()
	fill(reflect.ValueOf(r), hostile)
	r.Environment.Peers = map[string]string{hostile: hostile}
	var out strings.Builder
	if err := HTML(&out, r, map[string]string{hostile: hostile}); err != nil {
		t.Fatal(err)
	}
	page := out.String()
	for _, bad := range []string{"<script", "<b onclick", `""><`} {
		if strings.Contains(page, bad) {
			t.Errorf("%q is in the page", bad)
		}
	}
	if n := strings.Count(page, "&lt;script&gt;"); n < 20 {
		t.Errorf("the text is in the page %d times", n)
	}
	wellFormed(t, page)
}

// wellFormed reads the page as XML, with HTML's elements that have no end.
func wellFormed(t *testing.T, page string) {
	t.Helper()
	d := xml.NewDecoder(strings.NewReader(page))
	d.Strict, d.AutoClose, d.Entity = false, xml.HTMLAutoClose, xml.HTMLEntity
	for {
		_, err := d.Token()
		if errors.Is(err, io.EOF) {
			return
		}
		if err != nil {
			t.Fatal(err)
		}
	}
}

// TestEmptyPage is of a run that was ended at once.
func TestEmptyPage(t *testing.T) {
	var out strings.Builder
	if err := HTML(&out, &result.Report{Interrupted: true, Clock: result.ClockInstructions}, nil); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"Interrupted", "counted in instructions"} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("%q is not in the page", want)
		}
	}
	wellFormed(t, out.String())
}

func TestBox(t *testing.T) {
	b := boxOf([]float64{1, 2, 3, 4, 5, 50}, func(v float64) float64 { return v / 100 })
	if b.First != 2.25 || b.Median != 3.5 || b.Third != 4.75 || b.Low != 1 || b.High != 5 || len(b.Dots) != 6 {
		t.Errorf("%+v", b)
	}
	if b := boxOf([]float64{-1, 7}, func(v float64) float64 { return v }); b.Dots[0] != 0 || b.Dots[1] != 100 {
		t.Errorf("outside of the axis: %+v", b)
	}
	if boxOf(nil, nil).Shown {
		t.Error("a box of nothing")
	}
}

func TestHistogram(t *testing.T) {
	entries := []entry{
		{Series: result.Series{Key: result.Key{Subject: "a"}, Distribution: result.Summarize([]float64{100, 100, 100, 1e6})}},
		{Series: result.Series{Key: result.Key{Subject: "b"}}},
	}
	h, ok := histograms(&figure{Name: "f", Unit: result.Nanoseconds}, &circumstance{Entries: entries}, nil)
	if !ok || len(h.Rows) != 1 || len(h.Rows[0].Bars) != 2 || len(h.Rows[0].Marks) != 3 {
		t.Fatalf("%+v", h)
	}
	first, last := h.Rows[0].Bars[0], h.Rows[0].Bars[1]
	if first.At > 0.1 || first.Height != 100 || last.Height < 40 || last.At+last.Width < 99.9 || last.Width > 5 {
		t.Errorf("%+v", h.Rows[0].Bars)
	}
	if len(h.Ticks) < 2 || len(h.Ticks) > 6 {
		t.Errorf("ticks: %+v", h.Ticks)
	}
	for _, same := range [][]float64{{0, 0}, nil} {
		entries[0].Distribution = result.Summarize(same)
		if _, ok := histograms(&figure{}, &circumstance{Entries: entries}, nil); ok {
			t.Errorf("a histogram of %v", same)
		}
	}
}

func TestGlance(t *testing.T) {
	got := map[string]string{}
	group := ""
	for _, g := range atAGlance(arrange(sample()), nil) {
		if g.Group != "" {
			group = g.Group
		}
		got[group+" "+g.Subject] = g.Ratio + " " + g.Figures
	}
	for subject, want := range map[string]string{"boot gureum": "×1 the base", "cpu host": "×1 the base", "footprint qemu": "of gureum, 1 figure"} {
		if !strings.HasSuffix(got[subject], want) {
			t.Errorf("%s: %q, want %q", subject, got[subject], want)
		}
	}
	// Fewer operations a second and a longer latency are both worse.
	if text := got["block qemu"]; !strings.HasPrefix(text, "×1.6") {
		t.Errorf("block: %q", text)
	}
}

// FuzzReport reads any file as a report, and shows and compares it.
func FuzzReport(f *testing.F) {
	text, err := json.Marshal(sample())
	if err != nil {
		f.Fatal(err)
	}
	f.Add(text)
	f.Add([]byte(`{"schema":1,"clock":"wall","series":[{"group":"a","figure":"b","subject":"c","unit":"ns","samples":[0,-1,1e23,1e-23],"distribution":{"events":1,"p99":-1,"buckets":[{"up_to":-1,"events":2},{"up_to":1e22,"events":1},{"up_to":1,"events":1}]}}]}`))
	f.Fuzz(func(t *testing.T, text []byte) {
		r, err := result.Parse(text)
		if err != nil {
			return
		}
		if err := errors.Join(Table(io.Discard, r, Style{Width: 80}), CSV(io.Discard, r)); err != nil {
			t.Error(err)
		}
		var page strings.Builder
		if err := HTML(&page, r, nil); err != nil || strings.Contains(page.String(), "NaN") || strings.Contains(page.String(), "Inf%") {
			t.Errorf("%v, or a place that is no number", err)
		}
		c, err := compare.Reports(r, r, compare.Options{Threshold: 0.05})
		if err != nil {
			t.Fatal(err)
		}
		if c.Worse+c.Better > 0 {
			t.Errorf("a report is not itself: %d worse, %d better", c.Worse, c.Better)
		}
		if err := Changes(io.Discard, c, Style{Width: 80}); err != nil {
			t.Error(err)
		}
		if _, err := json.Marshal(c); err != nil {
			t.Error(err)
		}
	})
}
