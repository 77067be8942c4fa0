package agent

import (
	"errors"
	"sync"
	"syscall"

	"golang.org/x/sys/unix"
)

// Reaper starts processes and collects how they ended. One that reaps all is
// for PID 1: it also buries the orphans that the kernel hands to it, without
// ever taking the status of a process that Start was called for.
type Reaper struct {
	mu   sync.Mutex
	cond sync.Cond
	all  bool
	live map[int]chan unix.WaitStatus
	gen  int // counts starts, to see one that came between a wait and a lock
}

// NewReaper returns a Reaper. With all set there must be no other, and nothing
// else in the program may start processes; its goroutine never ends.
func NewReaper(all bool) *Reaper {
	r := &Reaper{all: all, live: map[int]chan unix.WaitStatus{}}
	r.cond.L = &r.mu
	if all {
		go r.reapAll()
	}
	return r
}

// Start runs a program. The channel gives its status once and is not closed.
func (r *Reaper) Start(path string, args []string, attr *syscall.ProcAttr) (int, <-chan unix.WaitStatus, error) {
	// Under the lock, so that a child which ends at once is not collected
	// before it is known.
	r.mu.Lock()
	defer r.mu.Unlock()
	pid, err := syscall.ForkExec(path, args, attr)
	if err != nil {
		return 0, nil, err
	}
	status := make(chan unix.WaitStatus, 1)
	r.live[pid] = status
	r.gen++
	if r.all {
		r.cond.Signal()
	} else {
		go r.reapOne(pid)
	}
	return pid, status, nil
}

// Signal sends sig to the process group of a process that Start started. It
// does nothing when the process has ended: its number may be another's by now.
func (r *Reaper) Signal(pid int, sig syscall.Signal) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.live[pid] == nil {
		return unix.ESRCH
	}
	return unix.Kill(-pid, sig)
}

// Idle reports whether there is no process left at all below this one. It is
// meant for PID 1, whose descendants all others are.
func (r *Reaper) Idle() bool {
	_, err := waitNext(unix.P_ALL, 0, unix.WNOHANG)
	return errors.Is(err, unix.ECHILD)
}

// reapOne waits for one child, leaving all others alone.
func (r *Reaper) reapOne(pid int) {
	for {
		if _, err := waitNext(unix.P_PID, pid, 0); !errors.Is(err, unix.EINTR) {
			break
		}
	}
	r.collect(pid)
}

// reapAll waits for any child.
func (r *Reaper) reapAll() {
	for {
		r.mu.Lock()
		gen := r.gen
		r.mu.Unlock()
		pid, err := waitNext(unix.P_ALL, 0, 0)
		if err == nil {
			r.collect(pid)
			continue
		}
		if errors.Is(err, unix.EINTR) {
			continue
		}
		// No child: only Start can make one, since orphans descend from it.
		r.mu.Lock()
		for r.gen == gen {
			r.cond.Wait()
		}
		r.mu.Unlock()
	}
}

// collect takes the status of a child that is known to have ended. Until then
// its number cannot be reused.
func (r *Reaper) collect(pid int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	var st unix.WaitStatus
	for {
		if _, err := unix.Wait4(pid, &st, 0, nil); !errors.Is(err, unix.EINTR) {
			break
		}
	}
	if status := r.live[pid]; status != nil {
		delete(r.live, pid)
		status <- st
	}
}
