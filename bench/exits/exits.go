// Package exits measures what it takes to leave a guest and come back: port and memory-mapped
// I/O, doorbells, instructions and registers that KVM answers, wake-ups, interrupts between
// CPUs, and the first touch of memory.
//
// The guest is our own, in folder guest: it runs on the bare virtual machine, without a
// kernel, so that nothing but the event is in the time. A VMM that starts an ELF kernel by
// PVH can run it, and so peers are measured with the same bits.
package exits

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/gureum/gureum/bench/peer"
	"github.com/gureum/gureum/bench/result"
)

// Group is the word of the command line.
const Group = "exits"

const (
	// limit ends a run that hangs. It takes a second or two, and longer in a lab on a busy
	// machine.
	limit = 60 * time.Second
	// diskBytes is the size of the device's disk, of which nothing is read.
	diskBytes = 1 << 20
	// cpus of the guest: the second one is called by the first.
	cpus = 2
)

// Config says what to measure.
type Config struct {
	// Peers are the contestants, in turns.
	Peers []peer.Peer
	// Guest has the RAM disk, which the guest does not look at but VMMs may want, and the
	// memory, of which it touches some 100 MiB.
	Guest peer.Guest
	Runs  int
	// Scale is the number of events in percent.
	Scale int
	// Dir is a folder for files of the contestants, best in memory.
	Dir string
	// Pin is the CPUs that they run on.
	Pin *peer.Pinning
	// Trace says to tell by the kernel's trace events, too; root may.
	Trace bool
	// Progress is told of each run.
	Progress func(what string)
}

// Steps is how often Measure tells its progress, if nobody is left out.
func (c Config) Steps() int {
	n := len(c.Peers) * len(transports) * c.Runs
	if c.Trace {
		n *= 2
	}
	return n
}

// Measure runs the guest under each contestant in turns, with its device behind each
// transport. What a contestant cannot is told in the notes and left out. When ctx ends, it
// gives what it has.
func Measure(ctx context.Context, c Config) ([]result.Series, []result.Note, error) {
	dir, err := os.MkdirTemp(c.Dir, "exits-")
	if err != nil {
		return nil, nil, err
	}
	defer os.RemoveAll(dir)
	m := &measurement{Config: c, dir: dir, samples: map[result.Key][]float64{}, events: map[result.Key][]float64{}}
	if c.Trace {
		if m.wakes, err = newWakeTrace(); err != nil {
			m.note(result.KindMissing, "what trace events tell is not measured, as they are not to be had: %v", err)
		} else {
			defer m.wakes.close()
		}
	}
	if err := m.prepare(); err != nil {
		return nil, nil, fmt.Errorf("prepare the guest in %s: %w", dir, err)
	}
	err = m.rounds(ctx)
	return m.series(), m.notes, err
}

// measurement is one in the making.
type measurement struct {
	Config
	dir    string
	notes  []result.Note
	plans  []plan
	told   []string                 // notes on what is missing
	events map[result.Key][]float64 // all of all runs
	// samples are the medians of runs.
	samples map[result.Key][]float64
	wakes   *wakeTrace // nil without
}

// plan is a kind of run: a contestant, and what it is asked for.
type plan struct {
	peer    peer.Peer
	guest   peer.Guest
	name    string // of the transport
	figures []figure
	traced  bool // of which all figures are told by the host, or none
}

// prepare writes the guest and its disk, and makes the plans. What is not about a device is
// measured once, with the first transport that a contestant has.
func (m *measurement) prepare() error {
	g := m.Guest
	g.Kernel, g.Disk, g.CPUs = filepath.Join(m.dir, "kernel"), filepath.Join(m.dir, "disk"), cpus
	err := errors.Join(os.WriteFile(g.Kernel, image, 0o600), os.WriteFile(g.Disk, make([]byte, diskBytes), 0o600))
	if err != nil {
		return err
	}
	for _, p := range m.Peers {
		asked := traced(scaled(m.Scale), false)
		for _, t := range transports {
			g.Transport, g.Dir, g.Cmdline = t.Transport, m.dir, request(asked)
			_, err := p.Command(g)
			if errors.Is(err, peer.ErrUnsupported) {
				m.note(result.KindMissing, "%s, %s: %v", p.Name, t.name, err)
				continue
			}
			if err != nil {
				return err
			}
			m.plans = append(m.plans, plan{peer: p, guest: g, name: t.name, figures: asked})
			if m.wakes != nil {
				told := traced(scaled(m.Scale), true)
				g.Cmdline = request(told)
				m.plans = append(m.plans, plan{peer: p, guest: g, name: t.name, figures: told, traced: true})
			}
			asked = slices.DeleteFunc(slices.Clone(asked), func(f figure) bool { return !f.device })
		}
	}
	return nil
}

func (m *measurement) note(kind, format string, args ...any) {
	text := fmt.Sprintf(format, args...)
	if slices.Contains(m.told, text) {
		return
	}
	m.told = append(m.told, text)
	m.notes = append(m.notes, result.Note{Group: Group, Kind: kind, Text: text})
}

// rounds carries out all plans in turns, a number of times.
func (m *measurement) rounds(ctx context.Context) error {
	out := make([]bool, len(m.plans))
	for n := range m.Runs {
		for i, p := range m.plans {
			if out[i] {
				continue
			}
			if m.Progress != nil {
				m.Progress(fmt.Sprintf("exits: %s, %s, run %d of %d", p.peer.Name, p.name, n+1, m.Runs))
			}
			report, err := m.run(ctx, p)
			if ctx.Err() != nil {
				return context.Cause(ctx)
			}
			if err != nil {
				m.note(result.KindError, "%s, %s: %v", p.peer.Name, p.name, err)
				out[i] = true
				continue
			}
			m.take(p, report)
		}
	}
	return nil
}

// key is that of a figure's series.
func (p *plan) key(f figure) result.Key {
	k := result.Key{Group: Group, Figure: f.name, Subject: p.peer.Name}
	if f.device {
		k.Case = p.name
	}
	return k
}

func (m *measurement) take(p plan, r *Report) {
	for _, f := range p.figures {
		key, events := p.key(f), r.Events[f.event]
		switch {
		case len(events) == f.events:
			m.samples[key] = append(m.samples[key], result.Median(events))
			m.events[key] = append(m.events[key], events...)
		case r.Missing[f.event] != "":
			m.note(result.KindMissing, "%s, %s: %s is not measured: %s", p.peer.Name, p.name, f.name, r.Missing[f.event])
		default:
			m.note(result.KindError, "%s, %s: %s: %d events of %d", p.peer.Name, p.name, f.name, len(events), f.events)
		}
	}
}

func (m *measurement) series() []result.Series {
	var all []result.Series
	seen := map[result.Key]bool{}
	for _, f := range figures {
		for _, t := range transports {
			for _, p := range m.plans {
				key := p.key(f)
				if p.traced != f.traced || p.name != t.name || seen[key] || len(m.samples[key]) == 0 {
					continue
				}
				seen[key] = true
				all = append(all, result.Series{
					Key: key, Unit: result.Nanoseconds, Better: result.Lower,
					Samples: m.samples[key], Distribution: result.Summarize(m.events[key]),
				})
			}
		}
	}
	return all
}

// run runs the guest to its end, and puts what the host told in the place of what the guest did
// if the plan is about that.
func (m *measurement) run(ctx context.Context, p plan) (*Report, error) {
	if !p.traced {
		return m.once(ctx, p)
	}
	var report *Report
	text, err := m.wakes.follow(func() (err error) {
		report, err = m.once(ctx, p)
		return err
	})
	if err != nil {
		return nil, err
	}
	wakes := parseWakes(text, report.Tick)
	for _, f := range p.figures {
		report.Events[f.event] = lastWakes(wakes, f.events)
	}
	return report, nil
}

// once runs the guest to its end.
func (m *measurement) once(ctx context.Context, p plan) (*Report, error) {
	g := p.guest
	var err error
	if g.Dir, err = os.MkdirTemp(m.dir, "run-"); err != nil {
		return nil, err
	}
	defer os.RemoveAll(g.Dir)
	args, err := p.peer.Command(g)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	var out, errs strings.Builder
	cmd := peer.Process(ctx, args)
	cmd.Stdout, cmd.Stderr = &out, &errs
	if err = m.Pin.Start(cmd); err == nil {
		err = cmd.Wait()
	}
	text := strings.ReplaceAll(out.String(), "\r", "")
	words := peer.LastWords(text + "\n" + errs.String())
	var status *exec.ExitError
	if err != nil && (!p.peer.AnyStatus || !errors.As(err, &status)) {
		return nil, fmt.Errorf("%s: %w\n%s", strings.Join(args, " "), err, words)
	}
	report, err := ParseReport(text)
	if err != nil {
		return nil, fmt.Errorf("%s: %w:\n%s", strings.Join(args, " "), err, words)
	}
	return report, nil
}
