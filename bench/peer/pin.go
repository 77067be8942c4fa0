package peer

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"strconv"

	"golang.org/x/sys/unix"
)

// leastToPin is how many CPUs a host must have for its measurements to be pinned: with fewer
// nothing worth the name would be left to guests.
const leastToPin = 4

// Pinning keeps contestants to some CPUs of the host, and this program, with its end of
// network loads, to the others, so that they do not drive one another from CPU to CPU. A
// nil Pinning does nothing.
type Pinning struct {
	before, own, contestants unix.CPUSet
}

// Pin keeps this program to the first quarter of the CPUs that it may use. The error says
// why nothing is pinned.
func Pin() (*Pinning, error) {
	var p Pinning
	if err := unix.SchedGetaffinity(0, &p.before); err != nil {
		return nil, err
	}
	all := p.before.Count()
	if all < leastToPin {
		return nil, fmt.Errorf("nothing is pinned to CPUs: this host has %d for it, and it takes %d", all, leastToPin)
	}
	p.own, p.contestants = split(&p.before)
	if err := setAffinity(&p.own); err != nil {
		return nil, errors.Join(err, setAffinity(&p.before))
	}
	return &p, nil
}

// split gives the first quarter of the CPUs, and the others.
func split(all *unix.CPUSet) (own, contestants unix.CPUSet) {
	mine := all.Count() / 4
	for cpu := range len(all) * strconv.IntSize {
		switch {
		case !all.IsSet(cpu):
		case own.Count() < mine:
			own.Set(cpu)
		default:
			contestants.Set(cpu)
		}
	}
	return own, contestants
}

// setAffinity keeps all threads of this program to some CPUs; those to come do as the
// threads that make them (sched_setaffinity(2)). It goes over them again until there is no
// new one, as one that was not kept yet may have made another.
func setAffinity(set *unix.CPUSet) error {
	for seen := map[int]bool{}; ; {
		threads, err := os.ReadDir("/proc/self/task")
		if err != nil {
			return err
		}
		news := false
		for _, t := range threads {
			tid, err := strconv.Atoi(t.Name())
			if err != nil {
				return err
			}
			if seen[tid] {
				continue
			}
			seen[tid], news = true, true
			if err := unix.SchedSetaffinity(tid, set); err != nil && !errors.Is(err, unix.ESRCH) {
				return fmt.Errorf("keep thread %d to some CPUs: %w", tid, err)
			}
		}
		if !news {
			return nil
		}
	}
}

// Close lets this program use all CPUs again.
func (p *Pinning) Close() error {
	if p == nil {
		return nil
	}
	return setAffinity(&p.before)
}

// String says how many CPUs are whose.
func (p *Pinning) String() string {
	if p == nil {
		return "nothing is pinned"
	}
	return fmt.Sprintf("contestants are kept to %d CPUs, the benchmark itself to %d others", p.contestants.Count(), p.own.Count())
}

// Start starts a contestant on its CPUs: a process keeps to those of the thread that starts it.
func (p *Pinning) Start(cmd *exec.Cmd) (err error) {
	if p == nil {
		return cmd.Start()
	}
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	if err := unix.SchedSetaffinity(0, &p.contestants); err != nil {
		return fmt.Errorf("keep %s to some CPUs: %w", cmd.Path, err)
	}
	defer func() { err = errors.Join(err, unix.SchedSetaffinity(0, &p.own)) }()
	return cmd.Start()
}
