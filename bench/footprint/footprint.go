// Package footprint measures what a virtual machine monitor takes of its host while its
// guest does nothing: memory beside guest RAM, by Firecracker's method (the sum over all
// mappings but the guest's, tests/framework/utils.py there), threads, descriptors, and the
// size of the program.
package footprint

import (
	"bufio"
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

// Mark is what the guest prints before it does nothing.
const Mark = "gureum-bench idle"

// Init is the guest's first program.
const Init = `#!/bin/sh
echo "` + Mark + `"
exec /bin/busybox sleep 1000000
`

// Cmdline boots it.
const Cmdline = "quiet panic=-1 rdinit=/bench-idle"

// settle is how long the guest is left alone first: what the start took for a moment has
// been given back by then.
const settle = 4 * time.Second

// limit is how long a guest may take to come up.
const limit = 60 * time.Second

// Config says what to measure.
type Config struct {
	Peers    []peer.Peer
	Guest    peer.Guest
	Runs     int
	Dir      string
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

// Measure starts each contestant in turns. One that fails is told in the notes and left out.
// When ctx ends, it gives what it has.
func Measure(ctx context.Context, c Config) ([]result.Series, []result.Note, error) {
	var notes []result.Note
	samples := make([][][]float64, len(c.Peers)) // of a peer, of a figure
	for i := range samples {
		samples[i] = make([][]float64, len(figures))
	}
	out := make([]bool, len(c.Peers))
	for n := range c.Runs {
		for i, p := range c.Peers {
			if out[i] {
				continue
			}
			if c.Progress != nil {
				c.Progress(fmt.Sprintf("footprint: %s, run %d of %d", p.Name, n+1, c.Runs))
			}
			values, err := c.once(ctx, p)
			if ctx.Err() != nil {
				return series(c.Peers, samples), notes, context.Cause(ctx)
			}
			if err != nil {
				kind := result.KindError
				if errors.Is(err, peer.ErrUnsupported) {
					kind = result.KindMissing
				}
				notes = append(notes, result.Note{Group: Group, Kind: kind, Text: fmt.Sprintf("%s: %v", p.Name, err)})
				out[i] = true
				continue
			}
			for f, v := range values {
				samples[i][f] = append(samples[i][f], v)
			}
		}
	}
	return series(c.Peers, samples), notes, nil
}

func series(peers []peer.Peer, samples [][][]float64) []result.Series {
	var all []result.Series
	for f, figure := range figures {
		for i, p := range peers {
			if len(samples[i][f]) == 0 {
				continue
			}
			all = append(all, result.Series{
				Key:  result.Key{Group: Group, Figure: figure.name, Subject: p.Name},
				Unit: figure.unit, Better: result.Lower, Samples: samples[i][f],
			})
		}
	}
	return all
}

// once starts one contestant, measures it and ends it.
func (c *Config) once(ctx context.Context, p peer.Peer) (values []float64, err error) {
	g := c.Guest
	if g.Dir, err = os.MkdirTemp(c.Dir, "run-"); err != nil {
		return nil, err
	}
	defer os.RemoveAll(g.Dir)
	args, err := p.Command(g)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	cmd := peer.Process(ctx, args)
	out, err := cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	var console strings.Builder
	lines := bufio.NewScanner(out)
	up := false
	for !up && lines.Scan() {
		console.WriteString(lines.Text() + "\n")
		up = strings.Contains(lines.Text(), Mark)
	}
	if up {
		select {
		case <-time.After(settle):
		case <-ctx.Done():
		}
		values, err = measure(cmd.Process.Pid, p, uint64(g.MemoryMiB)<<20)
	} else {
		err = fmt.Errorf("%s: its guest did not come up:\n%s", strings.Join(args, " "), peer.LastWords(console.String()))
	}
	cancel()
	_ = cmd.Wait() // it was killed
	return values, err
}

func measure(pid int, p peer.Peer, memory uint64) ([]float64, error) {
	var f Memory
	var err error
	if p.Name == "gureum" {
		f, err = OfGureum(pid)
	} else {
		f, err = OfProcess(pid, memory)
	}
	var values []float64
	for _, figure := range figures {
		if err != nil {
			return nil, err
		}
		var v float64
		v, err = figure.of(pid, f)
		values = append(values, v)
	}
	return values, err
}

// pageTables are those of a process in bytes (proc_pid_status(5)); of kernel memory it is what
// can be told a process.
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
