package suite

import (
	"context"
	"errors"
	"fmt"
	"net"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/gureum/gureum/bench/host"
	"github.com/gureum/gureum/bench/load"
	"github.com/gureum/gureum/bench/meter"
	"github.com/gureum/gureum/bench/peer"
	"github.com/gureum/gureum/bench/result"
)

// measureRows makes the rows of a group. A guest makes all of a setup, one after the other,
// and all subjects take turns.
func (r *run) measureRows(ctx context.Context, group string) error {
	got := rowSamples{}
	for _, s := range setups(group) {
		err := r.measureSetup(ctx, &s, got)
		if ctx.Err() != nil {
			break
		}
		if err != nil {
			r.note(group, result.KindError, "%s: %v", s.name, err)
		}
	}
	r.addRows(group, got)
	return context.Cause(ctx)
}

func (r *run) measureSetup(ctx context.Context, s *setup, got rowSamples) (err error) {
	remove, err := s.prepare()
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, remove()) }()
	if s.server != "" && s.other == nil {
		stop, err := serve(s.listenAddr())
		if err != nil {
			return err
		}
		defer func() { _ = stop() }()
	}
	out := map[string]bool{}
	for n := range r.rounds() {
		for _, who := range r.setupSubjects(s) {
			if out[who.name] {
				continue
			}
			r.step(fmt.Sprintf("%s: %s, %s, round %d of %d", s.group, who.name, s.name, n+1, r.rounds()))
			w, err := r.makeSetup(ctx, who, s, r.samplesOf(n))
			if ctx.Err() != nil {
				return context.Cause(ctx)
			}
			if err != nil {
				r.noteFailure(s, who, err)
				out[who.name] = true
				continue
			}
			r.takeRows(w, s, who.name, got)
		}
	}
	return nil
}

// noteFailure tells of a subject that is left out of a setup.
func (r *run) noteFailure(s *setup, who subject, err error) {
	kind := result.KindError
	if errors.Is(err, peer.ErrUnsupported) {
		kind = result.KindMissing
	}
	r.note(s.group, kind, "%s is left out of %q: %v", who.name, s.name, err)
}

// setupSubjects are those that make a setup's rows.
func (r *run) setupSubjects(s *setup) []subject {
	all := r.subjects(s.change)
	if !s.host && r.withHost {
		all = all[:len(all)-1]
	}
	return all
}

// makeSetup has one subject make all rows of a setup some times.
func (r *run) makeSetup(ctx context.Context, who subject, s *setup, runs int) (*watch, error) {
	var others []int
	if s.other != nil {
		pid, stop, err := r.startServer(ctx, who, s)
		if err != nil {
			return nil, err
		}
		defer stop()
		others = append(others, pid)
	}
	var pids []int
	var noExits error
	w := newWatch(func() (counters, error) {
		if who.host {
			return meter.CPU(pids...)
		}
		m, err := meter.Open(pids...)
		if errors.Is(err, meter.ErrNoExits) {
			noExits = err
			return meter.CPU(pids...)
		}
		return m, err
	})
	text, err := r.runLoad(ctx, who, s.address, s.args(who, runs, r.percent(), r.settleTime()), func(pid int, line string) {
		pids = append(slices.Clone(others), pid)
		w.line(line)
	})
	err = errors.Join(err, w.err, w.close())
	if err == nil && len(w.got) < len(s.rowsOf()) {
		err = fmt.Errorf("%d of %d rows have an answer:\n%s", len(w.got), len(s.rowsOf()), peer.LastWords(text))
	}
	if noExits != nil {
		r.noteOnce(s.group, result.KindMissing, noExits.Error())
	}
	w.exits = noExits == nil && !who.host
	return w, err
}

// settleTime is how long a guest rests after a mark.
func (r *run) settleTime() time.Duration {
	switch {
	case r.settle != 0:
		return r.settle
	case r.Clock == result.ClockInstructions:
		return settle
	}
	return settleWall
}

// args are those of the rows. The host reaches its own address without the tap.
func (s *setup) args(who subject, runs, scale int, settle time.Duration) []string {
	disk := "/dev/vda"
	if who.host {
		disk = host.DiskDevice
	}
	var numbers []string
	for _, n := range s.rowsOf() {
		numbers = append(numbers, strconv.Itoa(n))
	}
	args := []string{"rows", "-disk", disk, "-runs", strconv.Itoa(runs), "-scale", strconv.Itoa(scale), "-settle", settle.String()}
	if s.server != "" {
		args = append(args, "-server", s.server)
	}
	return append(args, strings.Join(numbers, ","))
}

// startServer starts the other guest of a setup, which serves until it is stopped.
func (r *run) startServer(ctx context.Context, who subject, s *setup) (pid int, stop func(), err error) {
	ctx, cancel := context.WithCancel(ctx)
	other := who
	s.other(&other.guest)
	ready, ended, failed := make(chan int, 1), make(chan struct{}), error(nil)
	go func() {
		defer close(ended)
		_, failed = r.runLoad(ctx, other, s.server, []string{"serve", s.server}, func(pid int, line string) {
			if strings.Contains(line, serveMark) {
				ready <- pid
			}
		})
	}()
	select {
	case pid = <-ready:
		return pid, func() {
			cancel()
			<-ended
		}, nil
	case <-ended:
		cancel()
		return 0, nil, fmt.Errorf("the guest that serves: %w", failed)
	}
}

// takeRows adds the rows of a subject to the samples.
func (r *run) takeRows(w *watch, s *setup, name string, got rowSamples) {
	for _, n := range s.rowsOf() {
		of := &w.rows[n]
		for _, o := range w.got[n] {
			if err := of.check(o.answer, r.percent()); err != nil {
				r.noteOnce(s.group, result.KindError, fmt.Sprintf("%s, %s, %s: %v", name, s.name, of.figure, err))
				continue
			}
			key := sampleKey{n, s.name, name}
			if got[key] == nil {
				got[key] = &samples{}
			}
			got[key].add(of, o, w.exits)
		}
	}
}

// wallFactor is how much more work rows have by a clock that is not exact. Where
// instructions are counted, few say as much as many.
const wallFactor = 40

// percent is the work of rows.
func (r *run) percent() int {
	if r.counted() {
		return r.Scale
	}
	return r.Scale * wallFactor
}

func (r *run) noteOnce(group, kind, text string) {
	for _, n := range r.report.Notes {
		if n.Group == group && n.Text == text {
			return
		}
	}
	r.note(group, kind, "%s", text)
}

// serve is the host's end of the network loads.
func serve(address string) (stop func() error, err error) {
	l, err := net.Listen("tcp4", address)
	if err != nil {
		return nil, err
	}
	done := make(chan error, 1)
	go func() { done <- load.Serve(l) }()
	return func() error { return errors.Join(l.Close(), <-done) }, nil
}
