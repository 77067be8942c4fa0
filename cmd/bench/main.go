// Command bench measures what virtualization costs: boot time and the memory of
// the VMM, ours beside our peers', and with -io what disk and network give. On a
// host without KVM it moves itself into the lab, in its deterministic mode.
package main

import (
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"syscall"

	"github.com/gureum/gureum/bench"
	"github.com/gureum/gureum/lab"
)

func main() {
	if err := run(); err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

// options are the flags.
type options struct {
	runs           int
	gokvm          string
	inside         string
	io             bool
	cache, machine string
	vhost          string
	scale, queues  int
	wall           bool
}

func (o *options) parse() {
	flag.IntVar(&o.runs, "runs", 5, "how often each VMM boots; the median counts")
	flag.StringVar(&o.gokvm, "gokvm", "", "path of a gokvm program to measure as well")
	flag.StringVar(&o.inside, "inside", "", "directory with what to boot; set when bench calls itself in the lab")
	flag.BoolVar(&o.io, "io", false, "measure disk and network in place of boot and memory")
	flag.StringVar(&o.cache, "cache", "writeback", "cache of -io's disk: writeback or none (past the host's page cache)")
	flag.StringVar(&o.machine, "machine", "microvm", "QEMU's machine for -io: microvm (virtio over MMIO) or q35 (PCI)")
	flag.StringVar(&o.vhost, "vhost", "both", "who moves the frames of -io: off (the VMM), on (the host's kernel) or both, one after the other")
	flag.IntVar(&o.scale, "scale", 100, "amount of work of -io in percent")
	flag.IntVar(&o.queues, "queues", 1, "queue pairs of the network of -io, and CPUs of its guests")
	flag.BoolVar(&o.wall, "wall", false, "in the lab, measure by the machine's clock in place of instructions")
	flag.Parse()
}

// check finds wrong values.
func (o *options) check() error {
	switch {
	case o.queues < 1 || o.queues > 16:
		return fmt.Errorf("-queues %d: give 1 to 16", o.queues)
	case !slices.Contains([]string{"off", "on", "both"}, o.vhost):
		return fmt.Errorf("-vhost %q: give off, on or both", o.vhost)
	case !slices.Contains([]string{"microvm", "q35"}, o.machine):
		return fmt.Errorf("-machine %q: give microvm or q35", o.machine)
	case !slices.Contains([]string{"writeback", "none"}, o.cache):
		return fmt.Errorf("-cache %q: give writeback or none", o.cache)
	case o.scale < 1 || o.runs < 1:
		return fmt.Errorf("-scale %d, -runs %d: give 1 or more", o.scale, o.runs)
	}
	return nil
}

func run() error {
	var o options
	o.parse()
	if err := o.check(); err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(2)
	}
	if o.inside != "" {
		return o.measure(o.inside)
	}
	dir, err := os.MkdirTemp("", "gureum-bench-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	if err := bench.Prepare(dir); err != nil {
		return err
	}
	if o.io {
		self, err := os.Executable()
		if err != nil {
			return err
		}
		if err := bench.PrepareIO(dir, filepath.Join(filepath.Dir(self), "load"), bench.IORows(o.scale)); err != nil {
			return err
		}
	}
	if lab.HostHasKVM() {
		return o.measure(dir)
	}
	return measureInLab(dir, o.wall)
}

// measureInLab runs this program in the lab.
func measureInLab(dir string, wall bool) error {
	self, err := os.Executable()
	if err != nil {
		return err
	}
	args := []string{"--deterministic"}
	if wall {
		args = nil
	}
	args = append(args, "--", self, "-inside", dir)
	cmd := exec.Command(filepath.Join(filepath.Dir(self), "lab"), append(args, os.Args[1:]...)...)
	cmd.Stdout, cmd.Stderr = os.Stdout, os.Stderr
	// The signal comes when the thread ends that started the lab, so that one
	// must be the program's own.
	runtime.LockOSThread()
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGTERM}
	return cmd.Run()
}

// measure prints the tables. All files are first copied to memory, so that no
// contestant waits for a disk.
func (o *options) measure(dir string) error {
	self, err := os.Executable()
	if err != nil {
		return err
	}
	stage, err := bench.NewStage(dir, filepath.Join(filepath.Dir(self), "gureum"), o.gokvm)
	if err != nil {
		return err
	}
	defer stage.Close()
	if o.io {
		return o.measureIO(stage)
	}
	boots, err := bench.MeasureBoot(stage.BootContestants(), o.runs, os.Stderr)
	if err != nil {
		return err
	}
	if err := bench.PrintBoots(os.Stdout, boots); err != nil {
		return err
	}
	footprint, err := bench.MeasureIdle(stage.Gureum)
	if err != nil {
		return err
	}
	return bench.PrintFootprint(os.Stdout, footprint)
}

// diskDevice is a RAM disk of the host, which takes requests past the page cache;
// no machine's disk is in the way.
const diskDevice = "/dev/ram0"

// diskSize is the size of it in KiB.
const diskSize = 256 << 10

func (o *options) measureIO(stage *bench.Stage) error {
	if _, err := os.Stat(diskDevice); err != nil {
		for _, args := range [][]string{{"brd", "rd_nr=1", fmt.Sprintf("rd_size=%d", diskSize)}, {"tun"}, {"vhost_net"}} {
			if out, err := exec.Command("modprobe", args...).CombinedOutput(); err != nil {
				return fmt.Errorf("modprobe %v: %w: %s", args, err, out)
			}
		}
	}
	remove, err := bench.PrepareTap(o.queues)
	if err != nil {
		return err
	}
	rows := bench.IORows(o.scale)
	contestants := stage.IOContestants(bench.IOConfig{Disk: diskDevice, Cache: o.cache, Machine: o.machine, Queues: o.queues, Vhost: o.vhost})
	results, err := bench.MeasureIO(contestants, rows, os.Stderr)
	if err == nil {
		err = bench.PrintIO(os.Stdout, rows, results)
	}
	return errors.Join(err, remove())
}
