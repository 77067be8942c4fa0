package peer

import (
	"os/exec"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

func TestSplit(t *testing.T) {
	for _, tt := range []struct{ cpus, own int }{{4, 1}, {7, 1}, {8, 2}, {64, 16}} {
		var all unix.CPUSet
		for cpu := range tt.cpus {
			all.Set(3 * cpu) // those between are not for this program
		}
		own, contestants := split(&all)
		if own.Count() != tt.own || contestants.Count() != tt.cpus-tt.own || !own.IsSet(0) || contestants.IsSet(0) || contestants.IsSet(1) {
			t.Errorf("%d CPUs: %d and %d", tt.cpus, own.Count(), contestants.Count())
		}
	}
}

// output is what a contestant prints.
func output(p *Pinning, cmd *exec.Cmd) (string, error) {
	var out strings.Builder
	cmd.Stdout = &out
	if err := p.Start(cmd); err != nil {
		return "", err
	}
	err := cmd.Wait()
	return out.String(), err
}

// TestStartKeepsToCPUs: a process is on its CPUs from its first instruction on, and this
// program is not.
func TestStartKeepsToCPUs(t *testing.T) {
	var p Pinning
	if err := unix.SchedGetaffinity(0, &p.before); err != nil {
		t.Fatal(err)
	}
	p.own = p.before
	for cpu := range 1024 {
		if p.before.IsSet(cpu) {
			p.contestants.Set(cpu) // the last one remains
			if p.contestants.Count() > 1 {
				p.contestants.Zero()
				p.contestants.Set(cpu)
			}
		}
	}
	out, err := output(&p, exec.Command("nproc"))
	if err != nil || out != "1\n" {
		t.Errorf("%v, %q", err, out)
	}
	var now unix.CPUSet
	if err := unix.SchedGetaffinity(0, &now); err != nil || now != p.before {
		t.Errorf("%v, %v", now, err)
	}
	if _, err := output(&p, exec.Command("/no/such/program")); err == nil {
		t.Error("a program that is not there was started")
	}
}

// TestPin keeps this program to a part of the CPUs, or says why not, and lets it go again.
func TestPin(t *testing.T) {
	var before, now unix.CPUSet
	if err := unix.SchedGetaffinity(0, &before); err != nil {
		t.Fatal(err)
	}
	p, err := Pin()
	if few := before.Count() < leastToPin; few != (err != nil) || few != (p == nil) {
		t.Errorf("%d CPUs: %v", before.Count(), err)
	}
	if err := p.Close(); err != nil {
		t.Error(err)
	}
	if err := unix.SchedGetaffinity(0, &now); err != nil || now != before {
		t.Errorf("%v, %v", now, err)
	}
}

// TestNoPinning: nil does nothing.
func TestNoPinning(t *testing.T) {
	var p *Pinning
	out, err := output(p, exec.Command("echo", "x"))
	if err != nil || out != "x\n" || p.Close() != nil || p.String() == "" {
		t.Errorf("%v, %q", err, out)
	}
}
