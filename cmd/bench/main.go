// Command bench measures what virtualization costs: boot time and the memory of
// the VMM, ours beside our peers'. On a host without KVM it moves itself into
// the lab, in its deterministic mode.
package main

import (
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
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

func run() error {
	runs := flag.Int("runs", 5, "how often each VMM boots; the median counts")
	gokvm := flag.String("gokvm", "", "path of a gokvm program to measure as well")
	inside := flag.String("inside", "", "directory with what to boot; set when bench calls itself in the lab")
	flag.Parse()
	if *inside != "" {
		return measure(*inside, *runs, *gokvm)
	}
	dir, err := os.MkdirTemp("", "gureum-bench-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	if err := bench.Prepare(dir); err != nil {
		return err
	}
	if lab.HostHasKVM() {
		return measure(dir, *runs, *gokvm)
	}
	return measureInLab(dir, *runs, *gokvm)
}

// measureInLab runs this program in the lab.
func measureInLab(dir string, runs int, gokvm string) error {
	self, err := os.Executable()
	if err != nil {
		return err
	}
	cmd := exec.Command(filepath.Join(filepath.Dir(self), "lab"), "--deterministic", "--",
		self, "-inside", dir, "-runs", fmt.Sprint(runs), "-gokvm", gokvm)
	cmd.Stdout, cmd.Stderr = os.Stdout, os.Stderr
	// The signal comes when the thread ends that started the lab, so that one
	// must be the program's own.
	runtime.LockOSThread()
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGTERM}
	return cmd.Run()
}

// measure prints the tables. All files are first copied to memory, so that no
// contestant waits for a disk.
func measure(dir string, runs int, gokvm string) error {
	self, err := os.Executable()
	if err != nil {
		return err
	}
	stage, err := bench.NewStage(dir, filepath.Join(filepath.Dir(self), "gureum"), gokvm)
	if err != nil {
		return err
	}
	defer stage.Close()
	boots, err := bench.MeasureBoot(stage.BootContestants(), runs, os.Stderr)
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
