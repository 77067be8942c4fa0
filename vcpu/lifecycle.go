package vcpu

import "fmt"

// State is where a Group is in its life.
//
//	created --Start--> running <--Resume/Pause--> paused
//	   \                  |                         |
//	    +-----------------+--- Stop, or the guest --+--> stopped
type State int

// The states. Stopping is when some threads still have to end, pausing when some still run.
const (
	StateCreated State = iota
	StateRunning
	StatePausing
	StatePaused
	StateStopping
	StateStopped
	StateClosed
)

func (s State) String() string {
	switch s {
	case StateCreated:
		return "not started"
	case StateRunning:
		return "running"
	case StatePausing:
		return "pausing"
	case StatePaused:
		return "paused"
	case StateStopping:
		return "stopping"
	case StateStopped:
		return "stopped"
	case StateClosed:
		return "closed"
	}
	return fmt.Sprintf("in state %d", int(s))
}

// State tells where the group is. It may have moved on by the time the caller looks.
func (g *Group) State() State {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.stateLocked()
}

func (g *Group) stateLocked() State {
	if g.closed {
		return StateClosed
	}
	return g.state
}

// expect gives a StateError unless the group is in one of these states.
func (g *Group) expect(op string, allowed ...State) error {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.expectLocked(op, allowed...)
}

func (g *Group) expectLocked(op string, allowed ...State) error {
	state := g.stateLocked()
	for _, s := range allowed {
		if s == state {
			return nil
		}
	}
	return g.stateError(op)
}

func (g *Group) stateError(op string) error {
	e := &StateError{Op: op, State: g.stateLocked()}
	if g.cause != nil {
		e.Cause = g.cause.Err
	}
	return e
}

// Start lets the vCPUs run, each on its own thread. It does not wait for them.
func (g *Group) Start() error {
	g.op.Lock()
	defer g.op.Unlock()
	g.mu.Lock()
	defer g.mu.Unlock()
	if err := g.expectLocked("start", StateCreated); err != nil {
		return err
	}
	g.state = StateRunning
	g.live = len(g.cpus)
	g.threads.Add(len(g.cpus))
	for _, c := range g.cpus {
		go offFirstThread(c.thread)
	}
	return nil
}

// Pause brings all vCPUs out of the guest and returns when none is in it any more and all
// their port and memory accesses are complete. It waits for bus handlers that are at work.
func (g *Group) Pause() error {
	g.op.Lock()
	defer g.op.Unlock()
	return g.pause()
}

func (g *Group) pause() error {
	g.mu.Lock()
	defer g.mu.Unlock()
	if err := g.expectLocked("pause", StateRunning); err != nil {
		return err
	}
	if g.onVCPUThread() {
		return errOwnThread("pause")
	}
	g.state = StatePausing
	g.kickAll()
	for g.state == StatePausing && g.parked < g.live {
		g.cond.Wait()
	}
	if g.state != StatePausing {
		return g.stateError("pause")
	}
	g.state = StatePaused
	return nil
}

// Resume lets paused vCPUs run again. Guests with kvmclock are told of the pause, so that
// their watchdogs do not take it for a hang.
func (g *Group) Resume() error {
	g.op.Lock()
	defer g.op.Unlock()
	return g.resume()
}

func (g *Group) resume() error {
	g.mu.Lock()
	defer g.mu.Unlock()
	if err := g.expectLocked("resume", StatePaused); err != nil {
		return err
	}
	g.attention.Store(false)
	g.state = StateRunning
	g.cond.Broadcast()
	return nil
}

// Stop ends all threads and waits for them. It may be called in any state and again; a Pause
// that waits gives up. It waits for bus handlers that are at work.
func (g *Group) Stop() error {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.onVCPUThread() {
		return errOwnThread("stop")
	}
	switch g.state {
	case StateCreated:
		g.state = StateStopped
		g.cond.Broadcast()
	case StateRunning, StatePausing, StatePaused:
		g.stopLocked()
	}
	g.waitLocked()
	return nil
}

// End tells all threads to end and does not wait for them, so that a bus handler may call it:
// the guest executes nothing after the access that it is called in. Stop or Wait waits. A group
// that does not run is left alone.
func (g *Group) End() {
	g.mu.Lock()
	defer g.mu.Unlock()
	switch g.state {
	case StateRunning, StatePausing, StatePaused:
		g.stopLocked()
	}
}

// stopLocked tells all threads to end.
func (g *Group) stopLocked() {
	g.state = StateStopping
	g.kickAll()
	g.cond.Broadcast()
}

func (g *Group) waitLocked() {
	for g.state != StateStopped {
		g.cond.Wait()
	}
}

// Wait returns when the group has stopped: after Stop, or because the guest ended. Cause tells
// which.
func (g *Group) Wait() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.waitLocked()
}

// Cause tells how the guest ended by itself; ok is false if it did not.
func (g *Group) Cause() (s Stop, ok bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.cause == nil {
		return Stop{}, false
	}
	return *g.cause, true
}

// Close stops the group, waits for all its goroutines, OnStop's too, and gives the vCPUs up. The
// second Close does nothing.
func (g *Group) Close() error {
	if err := g.Stop(); err != nil {
		return err
	}
	g.threads.Wait()
	g.op.Lock()
	defer g.op.Unlock()
	g.mu.Lock()
	closed := g.closed
	g.closed = true
	g.mu.Unlock()
	if closed {
		return nil
	}
	var first error
	for _, c := range g.cpus {
		if c.vcpu == nil {
			continue
		}
		if err := c.vcpu.Close(); err != nil && first == nil {
			first = err
		}
	}
	return first
}
