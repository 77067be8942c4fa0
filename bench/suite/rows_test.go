package suite

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/gureum/gureum/bench/load"
	"github.com/gureum/gureum/bench/meter"
	"github.com/gureum/gureum/bench/peer"
	"github.com/gureum/gureum/bench/result"
)

// TestRowsAreMade makes each row on the host, with little work, and reads the answer as from
// a guest.
func TestRowsAreMade(t *testing.T) {
	file := filepath.Join(t.TempDir(), "disk")
	if err := os.WriteFile(file, make([]byte, 16<<20), 0o600); err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	go func() { _ = load.Serve(l) }()
	defer l.Close()
	const percent = 1
	for i, r := range rows() {
		if r.disk != nil {
			r.disk.Buffered = true // not all file systems take requests past the page cache
		}
		a, err := r.make(file, l.Addr().String(), percent)
		if err == nil {
			err = r.check(a, percent)
		}
		if err != nil {
			t.Errorf("%s: %v", r.figure, err)
			continue
		}
		text, err := json.Marshal(a)
		if err != nil {
			t.Fatal(err)
		}
		w := newWatch(nil)
		w.of = i
		w.line(fmt.Sprintf("%s%d %s %s", rowMark, i, rowAnswer, text))
		if w.err != nil || len(w.got[i]) != 1 || w.got[i][0].Value != a.Value {
			t.Errorf("%s: %v, %+v", r.figure, w.err, w.got[i])
			continue
		}
		d := w.got[i][0].latency
		streams := r.unit == result.BytesPerSec && r.disk == nil || r.cost == "datagram"
		if streams != (d == nil) || d != nil && d.Events != a.Requests {
			t.Errorf("%s: latency %+v of %d", r.figure, d, a.Requests)
		}
	}
}

// TestRowsAreDifferent: no two series have the same key, and each row is made somewhere.
func TestRowsAreDifferent(t *testing.T) {
	seen := map[result.Key]bool{}
	known := []string{}
	for _, group := range []string{groupBlock, groupNet} {
		for _, s := range setups(group) {
			known = append(known, s.name)
			if len(s.rowsOf()) == 0 {
				t.Errorf("nothing is made in %q", s.name)
			}
		}
	}
	for _, w := range rows() {
		if w.cost == "" || len(w.setups) == 0 {
			t.Errorf("%+v", w)
		}
		for _, setup := range w.setups {
			if !slices.Contains(known, setup) {
				t.Errorf("%s: there is no %q", w.figure, setup)
			}
			for i, f := range rowFigures {
				key := w.series(f, i == 0, setup, "x", &samples{}).Key
				if seen[key] {
					t.Errorf("%+v is there twice", key)
				}
				seen[key] = true
			}
		}
	}
}

func TestLatencyOnTheWire(t *testing.T) {
	var all []time.Duration
	for i := range 1000 {
		all = append(all, time.Duration(20_000+i*i))
	}
	l := shorten(all)
	text, err := json.Marshal(l)
	if err != nil || len(text) > 300 {
		t.Errorf("%v: %d bytes for 1000 events: %s", err, len(text), text)
	}
	d, err := l.distribution()
	if err != nil || d.Events != 1000 || d.Min != 20_000 || d.Max != 20_000+999*999 || d.P99 < 900_000 {
		t.Fatalf("%+v, %v", d, err)
	}
	if last := d.Buckets[len(d.Buckets)-1]; last.UpTo < d.Max || d.Buckets[0].UpTo < d.Min {
		t.Errorf("buckets %+v do not hold %v to %v", d.Buckets, d.Min, d.Max)
	}
	if shorten(nil) != nil {
		t.Error("no requests have a latency")
	}
	for _, bad := range []latency{
		{},
		{First: -1, Counts: []uint64{1}},
		{First: 1000, Counts: []uint64{1}},
		{Figures: [5]int64{2, 1}, Counts: []uint64{1}},
		{Counts: []uint64{1 << 63}},
		{Counts: []uint64{0, 0}},
	} {
		if _, err := bad.distribution(); err == nil {
			t.Errorf("%+v is taken", bad)
		}
	}
}

// counting is counters that go up by a step at each reading.
type counting struct{ step, at meter.Reading }

func (c *counting) Read() (meter.Reading, error) {
	c.at.CPU += c.step.CPU
	c.at.Exits += c.step.Exits
	c.at.UserExits += c.step.UserExits
	return c.at, nil
}

func (c *counting) Close() error { return nil }

func TestWatch(t *testing.T) {
	c := &counting{step: meter.Reading{CPU: time.Millisecond, Exits: 10, UserExits: 1}}
	w := newWatch(func() (counters, error) { return c, nil })
	for _, line := range []string{
		"a message of the kernel", "gureum-bench row -1 open", "gureum-bench row -1 begin", "gureum-bench row -1 end",
		"[  1.0] gureum-bench row 3 begin",
	} {
		w.line(line)
	}
	c.step = meter.Reading{CPU: 5 * time.Millisecond, Exits: 500}
	w.line("gureum-bench row 3 end")
	w.line(`gureum-bench row 3 answer {"requests":7,"value":2.5}`)
	want := meter.Reading{CPU: 4 * time.Millisecond, Exits: 490}
	if got := w.got[3]; w.err != nil || len(got) != 1 || got[0].cost != want || got[0].Requests != 7 {
		t.Errorf("%+v, %v", got, w.err)
	}
	for _, bad := range []string{
		"gureum-bench row", "gureum-bench row x begin", "gureum-bench row 999 begin", "gureum-bench row -2 end", "gureum-bench row 1 end", "gureum-bench row 1 begin",
		"gureum-bench row 1 answer {}", "gureum-bench row 1 answer", "gureum-bench row 1 answer {", "gureum-bench row -1 answer {}", `gureum-bench row 1 answer {"latency":{}}`,
	} {
		w := newWatch(func() (counters, error) { return c, nil })
		w.of = 1
		if strings.HasSuffix(bad, "{}") {
			w.of = 2
		}
		if w.line(bad); (w.err == nil) != (bad == "gureum-bench row") {
			t.Errorf("%q: %v", bad, w.err)
		}
	}
}

// FuzzWatch: a guest may print what it likes.
func FuzzWatch(f *testing.F) {
	f.Add("gureum-bench row -1 open\ngureum-bench row -1 begin\ngureum-bench row -1 end\ngureum-bench row 3 begin\ngureum-bench row 3 end\n" +
		`gureum-bench row 3 answer {"requests":7,"value":2.5,"latency":{"figures":[1,2,3,4,5],"first":3,"counts":[1,0,2]}}`)
	f.Fuzz(func(t *testing.T, console string) {
		w := newWatch(func() (counters, error) { return &counting{step: meter.Reading{CPU: 1}}, nil })
		for line := range strings.Lines(console) {
			w.line(strings.TrimSuffix(line, "\n"))
		}
		for n, all := range w.got {
			for _, o := range all {
				_ = w.rows[n].check(o.answer, 100)
				if d := o.latency; d != nil && (d.Events == 0 || result.Merge([]*result.Distribution{d, d}).Events != 2*d.Events) {
					t.Errorf("%q gives %+v", console, d)
				}
				if o.cost.CPU < 0 {
					t.Errorf("%q costs %+v", console, o.cost)
				}
			}
		}
	})
}

// fakeVMM is a VMM whose guest answers to rows at once; the work is a percent of what it is.
const fakeVMM = `#!/bin/sh
for word in $*; do
	case "$word" in bench.load=*) load=$word ;; esac
done
echo "gureum-bench row -1 open"
echo "gureum-bench row -1 begin"
echo "gureum-bench row -1 end"
for number in $(echo "${load##*:}" | tr , ' '); do
	requests=20
	case "$number" in 0|2|4) requests=10 ;; 7|9|11) requests=2 ;; 6|8|10) requests=2 ;; esac
	echo "gureum-bench row $number begin"
	echo "gureum-bench row $number end"
	echo "gureum-bench row $number answer {\"requests\":$requests,\"value\":1000}"
done
echo "gureum-bench end 0"
`

// testRun is a run with a fake gureum, and fakes of peers.
func testRun(t *testing.T, gureum string, peers ...peer.Peer) *run {
	t.Helper()
	dir := t.TempDir()
	path := filepath.Join(dir, "gureum")
	if err := os.WriteFile(path, []byte(gureum), 0o700); err != nil {
		t.Fatal(err)
	}
	return &run{
		Options: Options{Runs: 2, Scale: 4, Clock: result.ClockInstructions}, stage: &stage{dir: dir, gureum: path}, gureum: peer.Gureum(path), peers: peers,
		report: &result.Report{}, out: map[string]bool{}, plan: &plan{},
	}
}

// fakeSetup is one of the block group's without its disk.
func fakeSetup() *setup {
	s := setups(groupBlock)[0]
	s.prepare = nothing
	return &s
}

func TestMeasureSetup(t *testing.T) {
	broken := filepath.Join(t.TempDir(), "qemu")
	if err := os.WriteFile(broken, []byte("#!/bin/sh\necho kernel panic; exit 1\n"), 0o700); err != nil {
		t.Fatal(err)
	}
	p, err := peer.Find("qemu=" + broken)
	if err != nil {
		t.Fatal(err)
	}
	r := testRun(t, fakeVMM, p)
	got, s := rowSamples{}, fakeSetup()
	if err := r.measureSetup(t.Context(), s, got); err != nil {
		t.Fatal(err)
	}
	r.addRows(groupBlock, got)
	own := 0
	for _, s := range r.report.Series {
		if s.Subject != "gureum" || len(s.Samples) != r.rounds() {
			t.Errorf("%+v", s)
		}
		if s.Case == "" {
			own++
		}
		if s.Case == "" && s.Samples[0] != 1000 {
			t.Errorf("%+v", s)
		}
	}
	if own != len(s.rowsOf()) {
		t.Errorf("%d of %d rows have a figure", own, len(s.rowsOf()))
	}
	var texts []string
	for _, n := range r.report.Notes {
		texts = append(texts, n.Text)
	}
	all := strings.Join(texts, "\n")
	if !strings.Contains(all, `qemu is left out of "one CPU"`) || !strings.Contains(all, "kernel panic") || strings.Contains(all, "of 20 requests") {
		t.Errorf("notes: %s", all)
	}
}

// TestMeasureTellsWrongAmounts: a guest that did less than it was told to is no sample.
func TestMeasureTellsWrongAmounts(t *testing.T) {
	r := testRun(t, strings.ReplaceAll(fakeVMM, "requests=20", "requests=19"))
	got := rowSamples{}
	if err := r.measureSetup(t.Context(), fakeSetup(), got); err != nil {
		t.Fatal(err)
	}
	if key := (sampleKey{1, onOneCPU, "gureum"}); got[key] != nil || got[sampleKey{0, onOneCPU, "gureum"}] == nil {
		t.Errorf("%+v", got)
	}
	if n := r.report.Notes; len(n) == 0 || !strings.Contains(n[len(n)-1].Text, "19 of 20 requests") {
		t.Errorf("%+v", n)
	}
}

// TestInterruptedRows ends at once, and no subject is said to have failed.
func TestInterruptedRows(t *testing.T) {
	r := testRun(t, fakeVMM)
	ctx, cancel := context.WithCancelCause(t.Context())
	stop := errors.New("enough")
	r.Progress = func(string, int, int) { cancel(stop) }
	err := r.measureSetup(ctx, fakeSetup(), rowSamples{})
	if !errors.Is(err, stop) || len(r.report.Notes) > 0 {
		t.Errorf("%v, %+v", err, r.report.Notes)
	}
}

// TestLeftBehind: a process that holds on to the output of one that has ended does not hold
// up the measurement.
func TestLeftBehind(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	cmd := peer.Process(ctx, []string{"/bin/sh", "-c", "sleep 1000 & echo it $!; exit 3"})
	text, err := execute(nil, cmd, nil)
	if err == nil || cmd.ProcessState.ExitCode() != 3 || !strings.HasPrefix(text, "it ") {
		t.Errorf("%q, %v", text, err)
	}
	_ = cmd.Cancel() // the one that was left
}
