package suite

import (
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/gureum/gureum/bench/meter"
	"github.com/gureum/gureum/bench/result"
)

// counters are what a watch reads: a meter.Meter.
type counters interface {
	Read() (meter.Reading, error)
	Close() error
}

// watch follows what a guest prints about its rows, and reads the counters of its VMM at
// the marks. The guest is believed in nothing but the figures that it gives.
type watch struct {
	// open is the counters of the VMM.
	open  func() (counters, error)
	exits bool // whether they tell exits, too
	rows  []row

	meter counters
	begun meter.Reading
	at    int             // row that is being made
	idle  []meter.Reading // cost of rows that do nothing
	cost  meter.Reading   // of the last one that does something
	of    int             // and its number
	got   map[int][]outcome
	err   error // the first
}

// outcome is what came of a row once.
type outcome struct {
	answer
	latency *result.Distribution // nil if there is none
	cost    meter.Reading        // less that of the marks
}

func newWatch(open func() (counters, error)) *watch {
	return &watch{open: open, rows: rows(), at: noRow, of: noRow, got: map[int][]outcome{}}
}

// noRow is none that is being made.
const noRow = idleRow - 1

// line takes in a line of the console.
func (w *watch) line(text string) {
	_, rest, marked := strings.Cut(text, rowMark)
	if !marked || w.err != nil {
		return
	}
	words := strings.SplitN(rest, " ", 3)
	n, err := strconv.Atoi(words[0])
	if err != nil || n < idleRow || n >= len(w.rows) || len(words) < 2 {
		w.err = fmt.Errorf("the guest says %q", text)
		return
	}
	switch words[1] {
	case rowOpens:
		w.err = w.opened()
	case rowBegins:
		w.err = w.begin(n)
	case rowEnds:
		w.err = w.end(n)
	case rowAnswer:
		w.err = w.answer(n, words[len(words)-1])
	}
}

func (w *watch) opened() error {
	if w.meter != nil {
		return errors.New("the guest begins twice")
	}
	m, err := w.open()
	if err != nil {
		return err
	}
	w.meter = m
	return nil
}

func (w *watch) begin(n int) error {
	if w.meter == nil {
		return fmt.Errorf("row %d begins before the first mark", n)
	}
	var err error
	w.begun, err = w.meter.Read()
	w.at = n
	return err
}

func (w *watch) end(n int) error {
	if w.at != n {
		return fmt.Errorf("row %d ends, and %d has begun", n, w.at)
	}
	now, err := w.meter.Read()
	if err != nil {
		return err
	}
	cost := now.Sub(w.begun)
	if w.at = noRow; n == idleRow {
		w.idle = append(w.idle, cost)
		return nil
	}
	w.cost, w.of = w.less(cost), n
	return nil
}

func (w *watch) answer(n int, text string) error {
	if w.of != n {
		return fmt.Errorf("row %d has an answer, and %d has been made", n, w.of)
	}
	w.of = noRow
	o := outcome{cost: w.cost}
	if err := json.Unmarshal([]byte(text), &o.answer); err != nil {
		return fmt.Errorf("%q: %w", text, err)
	}
	if o.Latency != nil {
		var err error
		if o.latency, err = o.Latency.distribution(); err != nil {
			return fmt.Errorf("%q: %w", text, err)
		}
	}
	w.got[n] = append(w.got[n], o)
	return nil
}

func (w *watch) close() error {
	if w.meter == nil {
		return nil
	}
	return w.meter.Close()
}

// less is a cost without what the marks did: the median of the rows that do nothing.
func (w *watch) less(cost meter.Reading) meter.Reading {
	field := func(of func(meter.Reading) float64) float64 {
		idle := []float64{}
		for _, r := range w.idle {
			idle = append(idle, of(r))
		}
		if len(idle) == 0 {
			return of(cost)
		}
		return max(0, of(cost)-result.Median(idle))
	}
	return meter.Reading{
		CPU:       time.Duration(field(func(r meter.Reading) float64 { return float64(r.CPU) })),
		Exits:     uint64(field(func(r meter.Reading) float64 { return float64(r.Exits) })),
		UserExits: uint64(field(func(r meter.Reading) float64 { return float64(r.UserExits) })),
	}
}
