// Package footprint measures what a virtual machine monitor takes of its host while its
// guest does nothing: memory beside guest RAM, by Firecracker's method (the sum over all
// mappings but the guest's, tests/framework/utils.py there), the kernel's memory for it,
// threads, descriptors, and the size of the program.
package footprint

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"time"

	"github.com/gureum/gureum/bench/peer"
	"github.com/gureum/gureum/bench/result"
)

// Group is the word of the command line.
const Group = "footprint"

// Config says what to measure.
type Config struct {
	Peers []peer.Peer
	// Guests are the same guest in several ways, of which each contestant gets the first that
	// it can run; Ways are words for them.
	Guests []peer.Guest
	Ways   []string
	Runs   int
	// Together is how many VMs of a contestant run at a time where the cost of several is
	// measured, which is once.
	Together int
	// Settle is how long VMs are left alone before they are measured.
	Settle   time.Duration
	Dir      string
	Pin      *peer.Pinning
	Progress func(what string)
}

// figure is one of a process's.
type figure struct {
	name, unit string
	of         func(pid int, f Memory) (float64, error)
}

var figures = []figure{
	{"RSS beside guest RAM", result.Bytes, func(_ int, f Memory) (float64, error) { return float64(f.VMM), nil }},
	{"PSS beside guest RAM", result.Bytes, func(_ int, f Memory) (float64, error) { return float64(f.PSS), nil }},
	{"private dirty beside guest RAM", result.Bytes, func(_ int, f Memory) (float64, error) { return float64(f.Dirty), nil }},
	{"guest RAM in use", result.Bytes, func(_ int, f Memory) (float64, error) { return float64(f.Guest), nil }},
	{"page tables", result.Bytes, func(pid int, _ Memory) (float64, error) { return pageTables(pid) }},
	{"threads", result.Count, func(pid int, _ Memory) (float64, error) { return entries(pid, "task") }},
	{"file descriptors", result.Count, func(pid int, _ Memory) (float64, error) { return entries(pid, "fd") }},
	{"program file", result.Bytes, func(pid int, _ Memory) (float64, error) { return programSize(pid) }},
}

// measurement is one in the making.
type measurement struct {
	Config
	groups  *cgroups // nil where there are none
	samples map[result.Key][]float64
	units   map[string]string // by figure
	order   []string          // of figures
	notes   []result.Note
	out     map[string]bool // contestants that failed
	told    map[string]bool // contestants whose guest differs, which was told
}

// Measure starts each contestant in turns, then several of each at a time. One that fails is
// told in the notes and left out. When ctx ends, it gives what it has.
func Measure(ctx context.Context, c Config) (_ []result.Series, _ []result.Note, err error) {
	m := &measurement{Config: c, samples: map[result.Key][]float64{}, units: map[string]string{}, out: map[string]bool{}, told: map[string]bool{}}
	var failed error
	if m.groups, failed = newCgroups(cgroupRoot); failed != nil {
		m.note(result.KindMissing, "the kernel's memory is not measured: %v", failed)
	} else {
		defer func() { err = errors.Join(err, m.groups.close()) }()
	}
	for n := range c.Runs {
		err = m.round(ctx, fmt.Sprintf("run %d of %d", n+1, c.Runs), 1)
		if err != nil {
			return m.series(), m.notes, err
		}
	}
	if c.Together > 1 {
		err = m.round(ctx, fmt.Sprintf("%d VMs at a time", c.Together), c.Together)
	}
	return m.series(), m.notes, err
}

func (m *measurement) note(kind, format string, args ...any) {
	m.notes = append(m.notes, result.Note{Group: Group, Kind: kind, Text: fmt.Sprintf(format, args...)})
}

// round measures each contestant with a number of VMs at a time.
func (m *measurement) round(ctx context.Context, what string, vms int) error {
	for _, p := range m.Peers {
		if m.out[p.Name] {
			continue
		}
		if m.Progress != nil {
			m.Progress(fmt.Sprintf("footprint: %s, %s", p.Name, what))
		}
		err := m.together(ctx, p, vms)
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		if err != nil {
			kind := result.KindError
			if errors.Is(err, peer.ErrUnsupported) {
				kind = result.KindMissing
			}
			m.note(kind, "%s, %s: %v", p.Name, what, err)
			m.out[p.Name] = true
		}
	}
	return nil
}

// together starts VMs of a contestant one after the other, and measures them all. A sample is
// of one VM, so several VMs give as many.
func (m *measurement) together(ctx context.Context, p peer.Peer, vms int) (err error) {
	var running []*Idle
	defer func() {
		for _, i := range running {
			err = errors.Join(err, i.Stop())
		}
	}()
	for range vms {
		i, err := startIdle(ctx, p, m.Guests, m.Dir, m.Pin, m.groups)
		if err != nil {
			return err
		}
		running = append(running, i)
		if i.Guest > 0 && !m.told[p.Name] {
			m.told[p.Name] = true
			m.note(result.KindMethod, "the guest of %s has %s: it cannot run one with %s", p.Name, m.Ways[i.Guest], m.Ways[0])
		}
	}
	select {
	case <-time.After(m.Settle):
	case <-ctx.Done():
		return context.Cause(ctx)
	}
	c := "1 VM"
	if vms > 1 {
		c = fmt.Sprintf("%d VMs", vms)
	}
	for _, i := range running {
		if err := m.measure(i, p, c); err != nil {
			return err
		}
	}
	return nil
}

// measure takes the figures of one VM.
func (m *measurement) measure(i *Idle, p peer.Peer, c string) error {
	f, err := i.Memory()
	if err != nil {
		return err
	}
	pid := i.cmd.Process.Pid
	for _, figure := range figures {
		v, err := figure.of(pid, f)
		if err != nil {
			return err
		}
		m.add(figure.name, figure.unit, c, p, v)
	}
	if i.group == nil {
		return nil
	}
	kernel, err := i.group.kernelMemory()
	if err != nil {
		return err
	}
	for _, figure := range kernelFigures {
		if v, told := kernel[figure.name]; told {
			m.add(figure.name, result.Bytes, c, p, v)
		}
	}
	return nil
}

func (m *measurement) add(name, unit, c string, p peer.Peer, v float64) {
	if _, known := m.units[name]; !known {
		m.units[name] = unit
		m.order = append(m.order, name)
	}
	key := result.Key{Group: Group, Figure: name, Case: c, Subject: p.Name}
	m.samples[key] = append(m.samples[key], v)
}

func (m *measurement) series() []result.Series {
	var all []result.Series
	for _, c := range []string{"1 VM", fmt.Sprintf("%d VMs", m.Together)} {
		for _, name := range m.order {
			for _, p := range m.Peers {
				key := result.Key{Group: Group, Figure: name, Case: c, Subject: p.Name}
				if samples := m.samples[key]; len(samples) > 0 {
					all = append(all, result.Series{Key: key, Unit: m.units[name], Better: result.Lower, Samples: samples})
				}
			}
		}
	}
	return all
}

// pageTables are those of a process in bytes (proc_pid_status(5)): they can be told without
// control groups.
func pageTables(pid int) (float64, error) {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return 0, err
	}
	var kib uint64
	for line := range strings.Lines(string(text)) {
		if rest, ok := strings.CutPrefix(line, "VmPTE:"); ok {
			_, err := fmt.Sscan(rest, &kib)
			return float64(kib << 10), err
		}
	}
	return 0, fmt.Errorf("/proc/%d/status has no VmPTE", pid)
}

// entries counts what is in a folder of a process.
func entries(pid int, folder string) (float64, error) {
	list, err := os.ReadDir(fmt.Sprintf("/proc/%d/%s", pid, folder))
	return float64(len(list)), err
}

// programSize is the size of a process's program file; shared libraries are not in it.
func programSize(pid int) (float64, error) {
	st, err := os.Stat(fmt.Sprintf("/proc/%d/exe", pid))
	if err != nil {
		return 0, err
	}
	return float64(st.Size()), nil
}
