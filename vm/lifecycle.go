package vm

import (
	"context"
	"fmt"
	"log/slog"
	"time"

	"github.com/gureum/gureum/devices"
	"github.com/gureum/gureum/vcpu"
)

// State is where the machine is in its life.
func (m *Machine) State() State {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.state
}

// Start lets the virtual CPUs run.
func (m *Machine) Start() error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.state != Created {
		return &StateError{"start", m.state}
	}
	if err := m.cpus.Start(); err != nil {
		return &HostError{fmt.Errorf("start the virtual CPUs: %w", err)}
	}
	m.state = Running
	m.trim = time.AfterFunc(trimDelay, m.Trim)
	go m.supervise()
	m.notify(EventStarted)
	return nil
}

// Pause stops all virtual CPUs between two instructions. The guest does not
// notice but for the time that passes.
func (m *Machine) Pause() error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.state != Running {
		return &StateError{"pause", m.state}
	}
	if err := m.cpus.Pause(); err != nil {
		return fmt.Errorf("pause: %w", err)
	}
	m.state = Paused
	return nil
}

// Resume lets a paused machine go on.
func (m *Machine) Resume() error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.state != Paused {
		return &StateError{"resume", m.state}
	}
	if err := m.cpus.Resume(); err != nil {
		return fmt.Errorf("resume: %w", err)
	}
	m.state = Running
	return nil
}

// Stop presses the power button and waits for the guest to switch itself off;
// when ctx ends first, the machine is killed. A paused machine is resumed, as
// it could not answer otherwise.
func (m *Machine) Stop(ctx context.Context) error {
	if m.State() == Paused {
		if err := m.Resume(); err != nil {
			return err
		}
	}
	if err := m.PressPowerButton(); err != nil {
		return err
	}
	select {
	case <-m.stopped:
	case <-ctx.Done():
		m.Kill()
		<-m.stopped
	}
	return nil
}

// Kill ends the machine at once, as if its power were cut. Wait tells when it is
// over. A machine that has stopped is left alone.
func (m *Machine) Kill() { m.end(Outcome{Reason: Killed, Err: ErrStopped}) }

// Wait waits for the machine's end and says how it came about.
func (m *Machine) Wait() Outcome {
	<-m.stopped
	return m.outcome
}

// Done is closed when the machine has stopped.
func (m *Machine) Done() <-chan struct{} { return m.stopped }

// PressPowerButton has ACPI tell the guest that its power button was pressed.
func (m *Machine) PressPowerButton() error {
	if s := m.State(); s != Running {
		return &StateError{"press the power button", s}
	}
	m.platform.acpi.PressPowerButton()
	return nil
}

// CtrlAltDel presses these keys on the guest's keyboard.
func (m *Machine) CtrlAltDel() error {
	if s := m.State(); s != Running {
		return &StateError{"press Ctrl-Alt-Del", s}
	}
	return m.platform.keyboard.CtrlAltDel()
}

// end asks the supervisor to end the machine. Only the first outcome counts. It
// is called from vCPU threads, so it must not wait for them.
func (m *Machine) end(o Outcome) {
	select {
	case m.ended <- o:
	default:
	}
}

// supervise waits for the machine's end, joins its threads, takes guest memory from
// the devices, and lets out what the guest still had to say.
func (m *Machine) supervise() {
	outcome := <-m.ended
	m.trim.Stop()
	if err := m.cpus.Stop(); err != nil {
		slog.Error("stop the virtual CPUs", "name", m.config.Name, "error", err)
	}
	m.virtio.stop()
	m.drain()
	m.mu.Lock()
	m.state = Stopped
	m.outcome = outcome
	m.mu.Unlock()
	slog.Info("machine stopped", "name", m.config.Name, "reason", outcome.Reason.String())
	close(m.stopped)
}

// drain lets everything that the guest wrote come out.
func (m *Machine) drain() {
	ctx, cancel := context.WithTimeout(context.Background(), drainTimeout)
	defer cancel()
	m.console.drain(ctx)
	m.platform.drain(ctx)
}

// deviceEvent is called by devices, on the thread of the vCPU that wrote to them.
func (m *Machine) deviceEvent(e devices.Event) {
	slog.Debug("device event", "name", m.config.Name, "event", e)
	switch e {
	case devices.PowerOff:
		m.off(PoweredOff)
	case devices.Reset:
		m.off(Rebooted)
	case devices.Panicked:
		m.notify(EventGuestPanic)
		m.end(Outcome{Reason: Panicked})
	}
}

// off takes the guest off its processors: one that switched itself off would look a thousand
// times whether it is, an exit each, until the supervisor had its turn.
func (m *Machine) off(reason Reason) {
	m.notify(EventGuestShutdown)
	m.end(Outcome{Reason: reason})
	m.cpus.End()
}

// cpuStopped is called on the thread of a vCPU that cannot go on.
func (m *Machine) cpuStopped(s vcpu.Stop) {
	reason := Failed
	if s.Kind == vcpu.KindTripleFault {
		reason = TripleFaulted
	}
	m.end(Outcome{Reason: reason, Err: s.Err})
}
