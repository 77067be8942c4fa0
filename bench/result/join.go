package result

import (
	"errors"
	"fmt"
	"maps"
	"reflect"
	"slices"
)

// Join makes one report of several that one host gave one after the other, or side by side,
// each for other groups. Its errors say what does not fit together.
func Join(reports ...*Report) (*Report, error) {
	if len(reports) == 0 {
		return nil, errors.New("there is no report")
	}
	out := *reports[0]
	out.Series, out.Notes = slices.Clone(out.Series), slices.Clone(out.Notes)
	out.Environment.Peers = maps.Clone(out.Environment.Peers)
	for _, r := range reports[1:] {
		if err := out.take(r); err != nil {
			return nil, err
		}
	}
	return &out, nil
}

// take adds what another report of the host has.
func (r *Report) take(other *Report) error {
	switch {
	case r.Clock != other.Clock:
		return fmt.Errorf("time is counted in %s in one, in %s in another", r.Clock, other.Clock)
	case r.Version != other.Version:
		return fmt.Errorf("they are of different versions, %s and %s", r.Version, other.Version)
	}
	if err := r.Environment.join(other.Environment); err != nil {
		return err
	}
	r.Series = append(r.Series, other.Series...)
	if key, is := r.twice(); is {
		return fmt.Errorf("two of them have %s", key)
	}
	for _, n := range other.Notes {
		if !slices.Contains(r.Notes, n) {
			r.Notes = append(r.Notes, n)
		}
	}
	if other.Started.Before(r.Started) {
		r.Started = other.Started
	}
	r.Seconds += other.Seconds
	r.Interrupted = r.Interrupted || other.Interrupted
	r.Noise = r.Noise.join(other.Noise)
	return nil
}

// join adds the peers of another report, of a host that is otherwise the same.
func (e *Environment) join(other Environment) error {
	mine, others := *e, other
	mine.Peers, others.Peers = nil, nil
	if !reflect.DeepEqual(mine, others) {
		return errors.New("they are of different hosts, or of one that was changed")
	}
	if e.Peers == nil {
		e.Peers = map[string]string{}
	}
	for name, version := range other.Peers {
		if had, is := e.Peers[name]; is && had != version {
			return fmt.Errorf("%s is %s in one, %s in another", name, had, version)
		}
		e.Peers[name] = version
	}
	return nil
}

// join is the worse of two, and nil if one is not known.
func (n *Noise) join(other *Noise) *Noise {
	if n == nil || other == nil {
		return nil
	}
	return &Noise{Steal: max(n.Steal, other.Steal), Throttled: n.Throttled + other.Throttled, Load: max(n.Load, other.Load)}
}
