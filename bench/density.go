package bench

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/gureum/gureum/bench/footprint"
)

// Density is what many machines at a time cost.
type Density struct {
	Machines int
	// Starts are how long gureum run took for each, which returns once the guest's first
	// instruction ran; Up is when all guests' agents had answered, since the first start.
	Starts []time.Duration
	Up     time.Duration
	// Footprints are of the processes a while after the last guest came up; Rested are those
	// after each has given back for the last time what its guest's start took.
	Footprints, Rested []footprint.Memory
	// Used is the memory that the host has less, in bytes.
	Used uint64
	// Reached counts the machines that reached the next one by its name.
	Reached int
	// Removed is how long it took to remove them all.
	Removed time.Duration
	// Left is what was left on the host after that.
	Left []string
}

// densityMemory is the size of each guest, in MiB.
const densityMemory = 64

// densityWait is how long all guests together may take to come up once the last was
// started: on an emulated host they are slow.
const densityWait = 30 * time.Minute

type density struct {
	gureum string
	env    []string
	result *Density
	log    io.Writer
}

// MeasureDensity starts machines with the embedded guest on one network, one after the
// other, lets them be, and removes them.
func MeasureDensity(ctx context.Context, gureum string, machines int, log io.Writer) (_ *Density, err error) {
	dir, err := os.MkdirTemp("", "gur")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(dir)
	d := &density{gureum, append(os.Environ(), "GUREUM_STATE="+dir+"/state", "GUREUM_RUN="+dir+"/run"), &Density{Machines: machines}, log}
	before, err := densityMark()
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, d.removeAll(context.WithoutCancel(ctx), before)) }()
	for _, step := range []func(context.Context) error{d.start, d.awaitAll, d.look, d.reach} {
		if err := step(ctx); err != nil {
			return nil, err
		}
	}
	return d.result, nil
}

// densityState is what the host has.
type densityState struct {
	available uint64 // memory, in bytes
	things    []string
}

func densityMark() (densityState, error) {
	var s densityState
	text, err := os.ReadFile("/proc/meminfo")
	if err != nil {
		return s, err
	}
	for line := range bytes.Lines(text) {
		if rest, is := bytes.CutPrefix(line, []byte("MemAvailable:")); is {
			kib, _, _ := bytes.Cut(bytes.TrimSpace(rest), []byte(" "))
			s.available, err = strconv.ParseUint(string(kib), 10, 54)
			s.available <<= 10
		}
	}
	for _, pattern := range []string{"/sys/class/net/*", "/sys/fs/cgroup/gureum/*/", "/run/gureum/fleets/*"} {
		found, globErr := filepath.Glob(pattern)
		err = errors.Join(err, globErr)
		s.things = append(s.things, found...)
	}
	for _, pid := range densityProcesses() {
		s.things = append(s.things, fmt.Sprintf("process %d", pid))
	}
	return s, err
}

// densityProcesses are the machines' processes.
func densityProcesses() []int {
	files, _ := filepath.Glob("/proc/[0-9]*/cmdline")
	var pids []int
	for _, file := range files {
		text, _ := os.ReadFile(file) // it may have ended
		if bytes.HasPrefix(text, []byte("gureum\x00vmm\x00")) {
			pid, _ := strconv.Atoi(filepath.Base(filepath.Dir(file)))
			pids = append(pids, pid)
		}
	}
	return pids
}

func (d *density) run(ctx context.Context, args ...string) ([]byte, error) {
	cmd := exec.CommandContext(ctx, d.gureum, args...)
	cmd.Env = d.env
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		return nil, fmt.Errorf("gureum %s: %w: %s", strings.Join(args, " "), err, bytes.TrimSpace(stderr.Bytes()))
	}
	return out, nil
}

func densityName(i int) string { return fmt.Sprintf("v%d", i) }

func (d *density) start(ctx context.Context) error {
	if _, err := d.run(ctx, "network", "create", "density"); err != nil {
		return err
	}
	begin := time.Now()
	for i := range d.result.Machines {
		at := time.Now()
		_, err := d.run(ctx, "run", "-d", "--name", densityName(i), "--net", "density", "--memory", fmt.Sprintf("%dM", densityMemory))
		if err != nil {
			return err
		}
		d.result.Starts = append(d.result.Starts, time.Since(at))
		if (i+1)%10 == 0 {
			fmt.Fprintf(d.log, "%d machines after %.0f s\n", i+1, time.Since(begin).Seconds())
		}
	}
	d.result.Up = time.Since(begin) // so far
	return nil
}

// awaitAll waits until every guest's agent has answered.
func (d *density) awaitAll(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, densityWait)
	defer cancel()
	begin := time.Now()
	for {
		out, err := d.run(ctx, "ps", "-o", "json")
		if err != nil {
			return err
		}
		var list []struct{ Name, Phase, Stage string }
		if err := json.Unmarshal(out, &list); err != nil {
			return err
		}
		up := 0
		for _, m := range list {
			if m.Phase != "running" {
				return fmt.Errorf("%s: it is %s", m.Name, m.Phase)
			}
			if m.Stage == "agent" {
				up++
			}
		}
		fmt.Fprintf(d.log, "%d of %d guests are up\n", up, d.result.Machines)
		if up == d.result.Machines {
			d.result.Up += time.Since(begin)
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("%d of %d guests are up: %w", up, d.result.Machines, ctx.Err())
		case <-time.After(5 * time.Second):
		}
	}
}

// The processes are left alone for a while before they are looked at, and until none gives
// memory back any more before they are looked at again.
const (
	densitySettle = 20 * time.Second
	densityRest   = 60 * time.Second // after that
)

// look reads what memory the processes take.
func (d *density) look(ctx context.Context) (err error) {
	if d.result.Footprints, err = d.footprints(ctx, densitySettle); err != nil {
		return err
	}
	d.result.Rested, err = d.footprints(ctx, densityRest)
	return err
}

func (d *density) footprints(ctx context.Context, after time.Duration) ([]footprint.Memory, error) {
	select {
	case <-ctx.Done():
		return nil, ctx.Err()
	case <-time.After(after):
	}
	var all []footprint.Memory
	for _, pid := range densityProcesses() {
		f, err := footprint.OfGureum(pid)
		if err != nil {
			return nil, err
		}
		all = append(all, f)
	}
	if len(all) != d.result.Machines {
		return nil, fmt.Errorf("%d processes for %d machines", len(all), d.result.Machines)
	}
	return all, nil
}

// reach has each machine reach the next by its name.
func (d *density) reach(ctx context.Context) error {
	now, err := densityMark()
	if err != nil {
		return err
	}
	d.result.Used = now.available
	for i := range d.result.Machines {
		next := densityName((i + 1) % d.result.Machines)
		if _, err := d.run(ctx, "exec", densityName(i), "ping", "-c", "1", "-W", "20", next); err != nil {
			fmt.Fprintln(d.log, err)
			continue
		}
		d.result.Reached++
	}
	return ctx.Err()
}

// removeAll removes all machines and finds what is left.
func (d *density) removeAll(ctx context.Context, before densityState) error {
	d.result.Used = before.available - min(d.result.Used, before.available)
	out, err := d.run(ctx, "ps", "-aq")
	if err != nil {
		return err
	}
	begin := time.Now()
	if ids := strings.Fields(string(out)); len(ids) > 0 {
		if _, err := d.run(ctx, append([]string{"rm", "-f"}, ids...)...); err != nil {
			return err
		}
	}
	d.result.Removed = time.Since(begin)
	if _, err := d.run(ctx, "network", "rm", "density"); err != nil {
		return err
	}
	after, err := densityMark()
	for _, thing := range after.things {
		if !slices.Contains(before.things, thing) && !strings.HasPrefix(thing, "/run/gureum/fleets/") {
			d.result.Left = append(d.result.Left, thing)
		}
	}
	return err
}

// PrintDensity prints the figures.
func PrintDensity(w io.Writer, d *Density) error {
	slices.Sort(d.Starts)
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintf(t, "machines of %d MiB\t%d\n", densityMemory, d.Machines)
	fmt.Fprintf(t, "a start, median and longest\t%.2f s\t%.2f s\n", d.Starts[len(d.Starts)/2].Seconds(), d.Starts[len(d.Starts)-1].Seconds())
	fmt.Fprintf(t, "all guests up after\t%.0f s\t%.2f a second\n", d.Up.Seconds(), float64(d.Machines)/d.Up.Seconds())
	row := func(name string, of []footprint.Memory, bytes func(footprint.Memory) uint64) {
		list := make([]uint64, 0, len(of))
		for _, f := range of {
			list = append(list, bytes(f))
		}
		slices.Sort(list)
		fmt.Fprintf(t, "%s, median and largest\t%.1f MiB\t%.1f MiB\n", name, mib(list[len(list)/2]), mib(list[len(list)-1]))
	}
	vmm := func(f footprint.Memory) uint64 { return f.VMM }
	row(fmt.Sprintf("RSS of the VMM beside guest RAM, %.0f s after", densitySettle.Seconds()), d.Footprints, vmm)
	row("of that its alone", d.Footprints, func(f footprint.Memory) uint64 { return f.Private })
	row(fmt.Sprintf("RSS of the VMM beside guest RAM, %.0f s after", (densitySettle+densityRest).Seconds()), d.Rested, vmm)
	row("RSS of guest RAM, kernel files included", d.Footprints, func(f footprint.Memory) uint64 { return f.Guest })
	fmt.Fprintf(t, "memory of the host in use, a machine\t%.1f MiB\n", mib(d.Used/uint64(d.Machines)))
	fmt.Fprintf(t, "reached the next by name\t%d\n", d.Reached)
	fmt.Fprintf(t, "all removed in\t%.1f s\n", d.Removed.Seconds())
	fmt.Fprintf(t, "left behind\t%d\t%s\n", len(d.Left), strings.Join(d.Left, " "))
	return t.Flush()
}

// VMMBound is what a VMM takes at most beside its guest's RAM, in bytes.
const VMMBound = 12 << 20

// LargestVMM is what the largest VMM takes beside its guest's RAM, at either look, in bytes.
func (d *Density) LargestVMM() uint64 {
	var largest uint64
	for _, f := range slices.Concat(d.Footprints, d.Rested) {
		largest = max(largest, f.VMM)
	}
	return largest
}

func mib(n uint64) float64 { return float64(n) / (1 << 20) }
