// Command bench measures what 'gureum bench' does not: disk and network by fio, iperf3 and
// ping, in guests of gureum and QEMU, or with -density a host full of machines. On a host
// without KVM it moves itself into the lab.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/gureum/gureum/bench"
	"github.com/gureum/gureum/bench/host"
	"github.com/gureum/gureum/lab"
)

func main() {
	if err := runUntilSignal(); err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

// options are the flags.
type options struct {
	runs           int
	inside         string
	cache, machine string
	vhost          string
	rows           string
	scale, queues  int
	wall           bool
	density        int
	ioRows         []bench.IORow // what rows selects
}

func (o *options) parse() {
	flag.IntVar(&o.runs, "runs", 1, "how often each VMM makes all rows; the median counts")
	flag.StringVar(&o.inside, "inside", "", "directory with what to boot; set when bench calls itself in the lab")
	flag.StringVar(&o.cache, "cache", "writeback", "cache of the disk: writeback or none (past the host's page cache)")
	flag.StringVar(&o.machine, "machine", "microvm", "QEMU's machine: microvm (virtio over MMIO) or q35 (PCI)")
	flag.StringVar(&o.vhost, "vhost", "both", "who moves the frames: off (the VMM), on (the host's kernel) or both, one after the other")
	flag.StringVar(&o.rows, "rows", ".", "those rows whose name this regular expression matches")
	flag.IntVar(&o.scale, "scale", 100, "amount of work in percent")
	flag.IntVar(&o.queues, "queues", 1, "queue pairs of the network, and CPUs of its guests")
	flag.BoolVar(&o.wall, "wall", false, "in the lab, measure by the machine's clock in place of instructions")
	flag.IntVar(&o.density, "density", 0, "run this number of machines at a time in place of all else; in the lab on a host of 12 GiB")
	flag.Parse()
}

// check finds wrong values.
func (o *options) check() error {
	match, err := regexp.Compile(o.rows)
	if err != nil {
		return fmt.Errorf("-rows: %w", err)
	}
	o.ioRows = bench.SelectRows(bench.ToolRows(max(o.scale, 1)), match)
	switch {
	case len(o.ioRows) == 0:
		return fmt.Errorf("-rows %q matches no row; without it you see them all", o.rows)
	case o.queues < 1 || o.queues > 16:
		return fmt.Errorf("-queues %d: give 1 to 16", o.queues)
	case !slices.Contains([]string{"off", "on", "both"}, o.vhost):
		return fmt.Errorf("-vhost %q: give off, on or both", o.vhost)
	case !slices.Contains([]string{"microvm", "q35"}, o.machine):
		return fmt.Errorf("-machine %q: give microvm or q35", o.machine)
	case !slices.Contains([]string{"writeback", "none"}, o.cache):
		return fmt.Errorf("-cache %q: give writeback or none", o.cache)
	case o.scale < 1:
		return fmt.Errorf("-scale %d: give 1 or more", o.scale)
	case o.density < 0 || o.density > 250:
		return fmt.Errorf("-density %d: give 1 to 250, as many as a network has addresses for", o.density)
	case o.runs < 1:
		return fmt.Errorf("-runs %d: give 1 or more", o.runs)
	}
	return nil
}

// runUntilSignal runs until a signal wants the end: what was made is taken back first.
func runUntilSignal() error {
	ctx, stop := signal.NotifyContext(context.Background(), unix.SIGINT, unix.SIGTERM, unix.SIGHUP)
	defer stop()
	return run(ctx)
}

func run(ctx context.Context) error {
	var o options
	o.parse()
	if err := o.check(); err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(2)
	}
	if o.inside != "" {
		return o.measure(ctx, o.inside)
	}
	if !o.wall && !lab.HostHasKVM() && lab.MendedEmulator() == "" {
		return errors.New("to count instructions the lab needs an emulator of its own, since Debian's breaks guests on the way: run 'make lab-qemu' first, or give -wall to measure by the clock")
	}
	dir, err := os.MkdirTemp("", "gureum-bench-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	if o.density == 0 {
		if err := bench.Prepare(dir, o.ioRows); err != nil {
			return err
		}
	}
	if lab.HostHasKVM() {
		return o.measure(ctx, dir)
	}
	var flags []string
	if o.density > 0 {
		flags = append(flags, "--memory", "12G")
	}
	if !o.wall {
		flags = append(flags, "--deterministic")
	}
	return measureInLab(ctx, dir, flags...)
}

// measureInLab runs this program in the lab, a host with these flags.
func measureInLab(ctx context.Context, dir string, args ...string) error {
	self, err := os.Executable()
	if err != nil {
		return err
	}
	args = append(args, "--", self, "-inside", dir)
	cmd := exec.CommandContext(ctx, filepath.Join(filepath.Dir(self), "lab"), append(args, os.Args[1:]...)...)
	cmd.Stdout, cmd.Stderr = os.Stdout, os.Stderr
	cmd.Cancel = func() error { return cmd.Process.Signal(unix.SIGTERM) }
	// The signal comes when the thread ends that started the lab, so that one
	// must be the program's own.
	runtime.LockOSThread()
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGTERM}
	return cmd.Run()
}

// measure prints the tables. All files are first copied to memory, so that no
// contestant waits for a disk.
func (o *options) measure(ctx context.Context, dir string) error {
	self, err := os.Executable()
	if err != nil {
		return err
	}
	if o.density > 0 {
		dir = ""
	}
	stage, err := bench.NewStage(dir, filepath.Join(filepath.Dir(self), "gureum"))
	if err != nil {
		return err
	}
	defer stage.Close()
	if o.density > 0 {
		return o.measureDensity(ctx, stage)
	}
	return o.measureIO(ctx, stage)
}

func (o *options) measureIO(ctx context.Context, stage *bench.Stage) error {
	removeDisk, err := host.PrepareDisk()
	if err != nil {
		return err
	}
	remove, err := bench.PrepareTap(o.queues)
	if err != nil {
		return errors.Join(err, removeDisk())
	}
	config := bench.IOConfig{Disk: host.DiskDevice, Cache: o.cache, Machine: o.machine, Queues: o.queues, Vhost: o.vhost}
	err = o.measureRows(ctx, stage.IOContestants(config))
	return errors.Join(err, remove(), removeDisk())
}

func (o *options) measureRows(ctx context.Context, contestants []bench.Contestant) error {
	stop, err := bench.ServeTools(ctx)
	if err != nil {
		return err
	}
	results, err := bench.MeasureIO(ctx, contestants, o.ioRows, o.runs, os.Stderr)
	if err == nil {
		err = bench.PrintIO(os.Stdout, o.ioRows, results)
	}
	return errors.Join(err, stop())
}

func (o *options) measureDensity(ctx context.Context, stage *bench.Stage) error {
	d, err := bench.MeasureDensity(ctx, stage.Gureum, o.density, os.Stderr)
	if err != nil {
		return err
	}
	if o.inside != "" && !o.wall {
		fmt.Println("by the clock of a host that takes 1 ns for an instruction")
	}
	if err := bench.PrintDensity(os.Stdout, d); err != nil {
		return err
	}
	if largest := d.LargestVMM(); largest > bench.VMMBound {
		return fmt.Errorf("a VMM takes %d KiB beside its guest's RAM, more than %d", largest>>10, bench.VMMBound>>10)
	}
	if d.Reached < d.Machines || len(d.Left) > 0 {
		return errors.New("not all machines reached one another, or something was left behind")
	}
	return nil
}
