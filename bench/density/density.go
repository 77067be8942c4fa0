// Package density measures what many virtual machines at a time cost a host: how quickly they
// start, what memory the host has less for each, and how many would fill it. The guests do
// nothing, as those of package footprint.
package density

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/gureum/gureum/bench/footprint"
	"github.com/gureum/gureum/bench/peer"
	"github.com/gureum/gureum/bench/result"
)

// Group is the word of the command line.
const Group = "density"

// The figures. The two last are never of one run: memory was out, or it was not.
const (
	FigureStart  = "a start, exec to guest's first program"
	FigureRate   = "starts"
	FigureMemory = "memory of the host, a VM"
	FigurePSS    = "PSS beside guest RAM, a VM"
	FigureOut    = "VMs until memory is out"
	FigureWould  = "VMs until memory is out, reckoned"
)

// Config says what to measure.
type Config struct {
	Peers []peer.Peer
	// Guests are the same guest in several ways (see footprint.Config).
	Guests []peer.Guest
	// Machines is how many VMs of each contestant are started, unless the memory that the
	// host has left falls below Floor, in bytes.
	Machines int
	Floor    uint64
	// Settle is how long the VMs are left alone before their memory is read.
	Settle time.Duration
	Dir    string
	Pin    *peer.Pinning
	// Available tells how much memory the host has left.
	Available func() (uint64, error)
	Progress  func(what string)
}

// Measure fills the host with VMs of one contestant after the other. One that fails is told
// in the notes. When ctx ends, it gives what it has.
func Measure(ctx context.Context, c Config) ([]result.Series, []result.Note, error) {
	m := &measurement{Config: c}
	for _, p := range c.Peers {
		err := m.fill(ctx, p)
		if ctx.Err() != nil {
			return m.series, m.notes, context.Cause(ctx)
		}
		if err != nil {
			kind := result.KindError
			if errors.Is(err, peer.ErrUnsupported) {
				kind = result.KindMissing
			}
			m.note(kind, "%s: %v", p.Name, err)
		}
	}
	return m.series, m.notes, nil
}

type measurement struct {
	Config
	series []result.Series
	notes  []result.Note
}

func (m *measurement) note(kind, format string, args ...any) {
	m.notes = append(m.notes, result.Note{Group: Group, Kind: kind, Text: fmt.Sprintf(format, args...)})
}

// fleet are the VMs of one contestant.
type fleet struct {
	vms    []*footprint.Idle
	starts []float64     // ns each
	took   time.Duration // all starts, without the rests between
	full   bool          // the floor was reached
	// halves are the memory that the host had left before the first VM, when half of them
	// ran, and when all did.
	before, half, end uint64
	inHalf            int // how many that is
}

// fill starts VMs and measures them.
func (m *measurement) fill(ctx context.Context, p peer.Peer) (err error) {
	f := &fleet{}
	defer func() {
		for _, vm := range f.vms {
			err = errors.Join(err, vm.Stop())
		}
	}()
	if f.before, err = m.Available(); err != nil {
		return err
	}
	if f.before < m.Floor {
		return fmt.Errorf("this host has %d MiB of memory left, and %d are never used: nothing was started", f.before>>20, m.Floor>>20)
	}
	if err := m.start(ctx, p, f, (m.Machines+1)/2); err != nil {
		return err
	}
	f.inHalf = len(f.vms)
	if f.half, err = m.settled(ctx); err != nil {
		return err
	}
	if err := m.start(ctx, p, f, m.Machines); err != nil {
		return err
	}
	if f.end, err = m.settled(ctx); err != nil {
		return err
	}
	return m.report(p, f)
}

// start starts VMs up to a number, or until the host has no memory left for more.
func (m *measurement) start(ctx context.Context, p peer.Peer, f *fleet, upTo int) error {
	for len(f.vms) < upTo && !f.full {
		if m.Progress != nil {
			m.Progress(fmt.Sprintf("density: %s, VM %d of %d", p.Name, len(f.vms)+1, m.Machines))
		}
		began := time.Now()
		vm, err := footprint.StartIdle(ctx, p, m.Guests, m.Dir, m.Pin)
		if err != nil {
			return fmt.Errorf("VM %d: %w", len(f.vms)+1, err)
		}
		f.took += time.Since(began)
		f.vms = append(f.vms, vm)
		f.starts = append(f.starts, float64(vm.Start.Nanoseconds()))
		left, err := m.Available()
		if err != nil {
			return err
		}
		f.full = left < m.Floor
	}
	return nil
}

// settled is the memory that the host has left once what starts took has been given back.
func (m *measurement) settled(ctx context.Context) (uint64, error) {
	select {
	case <-time.After(m.Settle):
	case <-ctx.Done():
		return 0, context.Cause(ctx)
	}
	return m.Available()
}

// report makes the series of a contestant.
func (m *measurement) report(p peer.Peer, f *fleet) error {
	add := func(figure, c, unit string, better result.Better, samples ...float64) {
		key := result.Key{Group: Group, Figure: figure, Case: c, Subject: p.Name}
		m.series = append(m.series, result.Series{Key: key, Unit: unit, Better: better, Samples: samples})
	}
	n := len(f.vms)
	all := fmt.Sprintf("%d VMs", m.Machines) // a key is the same however many it came to
	add(FigureStart, all, result.Nanoseconds, result.Lower, f.starts...)
	add(FigureRate, all, result.PerSecond, result.Higher, float64(n)/f.took.Seconds())
	var pss []float64
	for _, vm := range f.vms {
		memory, err := vm.Memory()
		if err != nil {
			return err
		}
		pss = append(pss, float64(memory.PSS))
	}
	add(FigurePSS, all, result.Bytes, result.Lower, pss...)
	first, last := cost(f.before, f.half, f.inHalf), cost(f.half, f.end, n-f.inHalf)
	if first > 0 {
		add(FigureMemory, "the first half", result.Bytes, result.Lower, first)
	}
	if last > 0 {
		add(FigureMemory, "the last half", result.Bytes, result.Lower, last)
	}
	switch {
	case f.full:
		add(FigureOut, "", result.Count, result.Higher, float64(n))
	case last > 0 && f.end > m.Floor:
		add(FigureWould, "", result.Count, result.Higher, float64(n)+float64(f.end-m.Floor)/last)
	default:
		m.note(result.KindNoise, "%s: %d VMs took no memory that could be told from the host's own coming and going: give more machines", p.Name, n-f.inHalf)
	}
	return nil
}

// cost is what each of some VMs took of the memory that the host had left before and after
// them, 0 if that is not to be seen.
func cost(before, after uint64, vms int) float64 {
	if vms == 0 || after >= before {
		return 0
	}
	return float64(before-after) / float64(vms)
}
