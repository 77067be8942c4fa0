package exits

import (
	"slices"
	"strings"
	"testing"
)

// clock is a counter of two ticks a nanosecond.
const clock = "gureum-exits clock 80000000 0\n"

func TestParseReport(t *testing.T) {
	r, err := ParseReport("SeaBIOS\r\n" + clock + "[x] gureum-exits events pio-write 5 10*2,2,0*1,a\r\n" +
		"gureum-exits missing ipi there is no second CPU\ngureum-exits end\ngureum-exits failed after that\n")
	if err != nil {
		t.Fatal(err)
	}
	if got := r.Events["pio-write"]; !slices.Equal(got, []float64{8, 8, 9, 9, 14}) {
		t.Errorf("events %v", got)
	}
	if r.Missing["ipi"] != "there is no second CPU" || len(r.Missing) != 1 {
		t.Errorf("missing %v", r.Missing)
	}
}

func TestParseClock(t *testing.T) {
	for text, want := range map[string]float64{"80000000 0": 0.5, "80000000 1": 1, "ffffffff -1": 0.5 - 1.0/(1<<33), "1 31": 0.5} {
		if got, err := parseClock(text); err != nil || got != want {
			t.Errorf("%q: %v ns a tick (%v), want %v", text, got, err, want)
		}
	}
}

func TestParseReportRefuses(t *testing.T) {
	const events, end = "gureum-exits events a ", "\ngureum-exits end\n"
	for name, tt := range map[string]struct{ console, want string }{
		"nothing":            {"", "did not come to its end"},
		"cut off":            {clock + events + "1 5\n", "did not come to its end"},
		"failed":             {clock + "gureum-exits failed general protection fault at 2000\n", "general protection fault at 2000"},
		"no clock":           {events + "1 5" + end, "behind the clock"},
		"zero clock":         {"gureum-exits clock 0 0" + end, "no rate"},
		"shift":              {"gureum-exits clock 1 99" + end, "no rate"},
		"clock of 33 bits":   {"gureum-exits clock 100000000 0" + end, "out of range"},
		"too few values":     {clock + events + "3 5,6" + end, "2 values"},
		"too many values":    {clock + events + "1 5,6" + end, "more than was said"},
		"many of one":        {clock + events + "8 5*ffffffff" + end, "more than was said"},
		"more than it holds": {clock + events + "8193 5*2001" + end, "8193 events"},
		"no events":          {clock + events + "0 5" + end, "0 events"},
		"overflow":           {clock + events + "2 ffffffffffffffff,2" + end, "more than was said"},
		"no number":          {clock + events + "1 x" + end, "invalid syntax"},
		"no word":            {clock + "gureum-exits events a 1" + end, "want a name"},
		"twice":              {clock + events + "1 5\n" + events + "1 5" + end, "told twice"},
		"unknown":            {clock + "gureum-exits hello" + end, "unknown"},
	} {
		if r, err := ParseReport(tt.console); err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: %+v, %v, want %q", name, r, err, tt.want)
		}
	}
}

// FuzzParseReport: whatever a guest writes is refused, or is events in order that are as many
// as it may have.
func FuzzParseReport(f *testing.F) {
	f.Add(clock + "gureum-exits events pio-write 5 10*2,2,0*1,a\ngureum-exits end\n")
	f.Add(clock + "gureum-exits missing ipi why\n\ngureum-exits end")
	f.Add("gureum-exits failed x")
	f.Fuzz(func(t *testing.T, console string) {
		r, err := ParseReport(console)
		if err != nil {
			return
		}
		for name, events := range r.Events {
			if len(events) == 0 || len(events) > maxEvents || !slices.IsSorted(events) || events[0] < 0 {
				t.Errorf("%q: %d events", name, len(events))
			}
		}
	})
}
