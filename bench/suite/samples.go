package suite

import (
	"github.com/gureum/gureum/bench/result"
)

// sampleKey tells the samples of a group apart.
type sampleKey struct {
	row            int
	setup, subject string
}

type rowSamples map[sampleKey]*samples

// samples are what the runs of a row gave.
type samples struct {
	values, lost          []float64
	cpu, exits, userExits []float64 // for each unit of cost
	median, p99, p999     []float64
	latencies             []*result.Distribution
}

func (s *samples) add(w *row, a outcome, exits bool) {
	units, cost := w.costs(a.answer), a.cost
	s.values = append(s.values, a.Value)
	s.cpu = append(s.cpu, float64(cost.CPU)/units)
	if exits {
		s.exits = append(s.exits, float64(cost.Exits)/units)
		s.userExits = append(s.userExits, float64(cost.UserExits)/units)
	}
	if w.cost == "datagram" {
		s.lost = append(s.lost, float64(a.Lost)/float64(a.Requests))
	}
	if l := a.latency; l != nil {
		s.median, s.p99, s.p999 = append(s.median, l.P50), append(s.p99, l.P99), append(s.p999, l.P999)
		s.latencies = append(s.latencies, l)
	}
}

// rowFigure is one of the series that a row gives.
type rowFigure struct {
	name   func(*row) string
	unit   string // "" is the row's
	better result.Better
	of     func(*samples) []float64
}

func called(name string) func(*row) string { return func(*row) string { return name } }

func each(name string) func(*row) string {
	return func(w *row) string { return name + " a " + w.cost }
}

// rowFigures are all of them, in the order of reports. The first is the row's own.
var rowFigures = []rowFigure{
	{func(w *row) string { return w.figure }, "", "", func(s *samples) []float64 { return s.values }},
	{called("latency, median"), result.Nanoseconds, result.Lower, func(s *samples) []float64 { return s.median }},
	{called("latency, 99th percentile"), result.Nanoseconds, result.Lower, func(s *samples) []float64 { return s.p99 }},
	{called("latency, 99.9th percentile"), result.Nanoseconds, result.Lower, func(s *samples) []float64 { return s.p999 }},
	{called("datagrams lost"), result.Ratio, result.Lower, func(s *samples) []float64 { return s.lost }},
	{each("CPU time"), result.Nanoseconds, result.Lower, func(s *samples) []float64 { return s.cpu }},
	{each("exits"), result.Count, result.Lower, func(s *samples) []float64 { return s.exits }},
	{each("exits to user space"), result.Count, result.Lower, func(s *samples) []float64 { return s.userExits }},
}

// addRows puts a group's samples into the report: each figure of all rows and setups, of all
// subjects.
func (r *run) addRows(group string, got rowSamples) {
	all := rows()
	for i, f := range rowFigures {
		for n := range all {
			w := &all[n]
			for _, setup := range w.setups {
				for _, who := range r.names() {
					s := got[sampleKey{n, setup, who}]
					if w.group != group || s == nil {
						continue
					}
					r.addSamples(w.series(f, i == 0, setup, who, s), f.of(s))
				}
			}
		}
	}
}

// series is a figure of a row without its samples.
func (w *row) series(f rowFigure, own bool, setup, subject string, s *samples) result.Series {
	key := result.Key{Group: w.group, Figure: f.name(w), Subject: subject}
	if !own {
		key.Case = w.figure
	}
	if w.group == groupNet {
		if key.Case != "" {
			key.Case += ", "
		}
		key.Case += setup
	}
	out := result.Series{Key: key, Unit: f.unit, Better: f.better}
	if own {
		out.Unit, out.Better = w.unit, w.better
	}
	if f.name(w) == "latency, median" {
		out.Distribution = result.Merge(s.latencies)
	}
	return out
}

// names are those of all subjects.
func (r *run) names() []string {
	var all []string
	for _, p := range r.vmms() {
		all = append(all, p.Name)
	}
	if r.withHost {
		all = append(all, HostPeer)
	}
	return all
}
