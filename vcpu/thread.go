package vcpu

import (
	"errors"
	"fmt"
	"runtime"
	"strconv"

	"golang.org/x/sys/unix"
)

// kickSignal brings a thread out of KVM_RUN. See the package comment for why this one.
const kickSignal = unix.SIGURG

// offFirstThread runs f, locked to its thread for ever, on any but the first of the process:
// that one's name is the process's, and it does not end with its goroutine.
func offFirstThread(f func()) {
	runtime.LockOSThread()
	if unix.Gettid() != unix.Getpid() {
		f()
		return
	}
	done := make(chan struct{})
	go func() { // which is not run here, as this thread is taken
		defer close(done)
		runtime.LockOSThread()
		f()
	}()
	<-done
	runtime.UnlockOSThread()
}

// thread is a vCPU's goroutine, from Start to the end of the group.
func (c *cpu) thread() {
	g := c.group
	defer g.threads.Done()
	// Never unlocked: the thread has a name and a history and ends with the goroutine.
	setThreadName("vcpu" + strconv.Itoa(c.index))
	unblockKickSignal()

	g.mu.Lock()
	c.tid = unix.Gettid()
	g.mu.Unlock()

	stop := c.enter()
	if first := g.leave(c, stop); first && g.cfg.OnStop != nil {
		g.cfg.OnStop(*stop)
	}
}

// enter runs the guest once the caller has done with the thread what it wants.
func (c *cpu) enter() *Stop {
	if on := c.group.cfg.OnThread; on != nil {
		if err := on(); err != nil {
			return &Stop{Kind: KindRunFailed, CPU: c.index, Err: fmt.Errorf("vcpu%d: prepare its thread: %w", c.index, err)}
		}
	}
	return c.loop()
}

// leave is called when the thread will not enter the guest again. It gives true if stop is what
// ended the group.
func (g *Group) leave(c *cpu, stop *Stop) (first bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	c.tid = 0
	g.live--
	if stop != nil && g.cause == nil && g.state != StateStopping {
		first = true
		g.cause = stop
		g.stopLocked()
	}
	if g.live == 0 {
		g.state = StateStopped
	}
	g.cond.Broadcast()
	return first
}

// park is called by a vCPU's thread after KVM_RUN was interrupted and attention is set. It
// returns when the vCPU may run again, or false if it is to end.
func (g *Group) park(c *cpu) bool {
	g.mu.Lock()
	waited := false
	for g.state == StatePausing || g.state == StatePaused {
		if !waited {
			waited = true
			g.parked++
			if g.parked == g.live {
				g.cond.Broadcast()
			}
		}
		g.cond.Wait()
	}
	if waited {
		g.parked--
	}
	run := g.state == StateRunning
	if run {
		c.m.SetImmediateExit(false)
	}
	g.mu.Unlock()
	if run && waited {
		// EINVAL: the guest has no kvmclock. Any other failure leaves it without the hint,
		// which is no reason to end it.
		_ = c.m.KVMClockCtrl()
	}
	return run
}

// kickAll brings all vCPUs out of the guest, and keeps them out until each has cleared its
// immediate_exit in park. The caller holds mu and has set the state that they will see.
func (g *Group) kickAll() {
	g.attention.Store(true)
	pid := unix.Getpid()
	for _, c := range g.cpus {
		c.m.SetImmediateExit(true)
		if c.tid == 0 {
			continue // not started: its first KVM_RUN returns at once; or ended
		}
		// mu keeps the thread alive, so the id is still its own and the call cannot fail.
		_ = unix.Tgkill(pid, c.tid, kickSignal)
	}
}

// onVCPUThread tells if the caller is a bus handler. The caller holds mu.
func (g *Group) onVCPUThread() bool {
	tid := unix.Gettid()
	for _, c := range g.cpus {
		if c.tid == tid {
			return true
		}
	}
	return false
}

var errThread = errors.New("called by a bus handler on a vcpu's own thread, which would wait for itself")

func errOwnThread(op string) error { return fmt.Errorf("%s: %w", op, errThread) }

// unblockKickSignal undoes a mask that a parent process may have left. The Go runtime does the
// same, except when GODEBUG=asyncpreemptoff=1.
func unblockKickSignal() {
	var set unix.Sigset_t
	set.Val[0] = 1 << (uint(kickSignal) - 1)
	_ = unix.PthreadSigmask(unix.SIG_UNBLOCK, &set, nil)
}
