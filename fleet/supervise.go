package fleet

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/gureum/gureum/fleet/jail"
	"github.com/gureum/gureum/fleet/state"
	"github.com/gureum/gureum/net/vswitch"
	"github.com/gureum/gureum/vm"
)

// SuperviseCommand is the hidden command of the program that looks after what has ended.
const SuperviseCommand = "supervise"

// tendEvery is how often the supervisor looks.
const tendEvery = 500 * time.Millisecond

func (f *Fleet) supervisorLock() string { return filepath.Join(f.Dirs.Run, "supervisor.lock") }

// Supervise looks after machines that have ended: it starts those again that are to be,
// takes the others from the host's switch, and starts services of networks again that
// died. It returns when no machine runs, and at once if another process does this.
//
// Nothing waits for it: a machine runs on when it is gone, and the next command that
// starts a machine brings it back.
func (f *Fleet) Supervise(ctx context.Context) error {
	if err := f.Dirs.Make(); err != nil {
		return err
	}
	for {
		lock, err := state.TryLock(f.supervisorLock())
		if errors.Is(err, state.ErrBusy) {
			return nil
		}
		if err != nil {
			return err
		}
		f.superviseLocked(ctx)
		if err := lock.Unlock(); err != nil || ctx.Err() != nil {
			return err
		}
		// A machine that was started just now took this process for one that stays.
		if !f.anyAlive() {
			return nil
		}
	}
}

// superviseLocked is Supervise until no machine runs, or until ctx ends.
func (f *Fleet) superviseLocked(ctx context.Context) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	f.watchSwitch(ctx)
	t := tender{Fleet: f}
	defer t.looker.Close()
	for t.tend(ctx) {
		select {
		case <-ctx.Done():
			return
		case <-time.After(tendEvery):
		}
	}
}

// watchSwitch repairs the host's switch when somebody else changed it, as by flushing
// the firewall.
func (f *Fleet) watchSwitch(ctx context.Context) {
	if !privileged() {
		return
	}
	go func() {
		err := vswitch.Watch(ctx, func() {
			if err := f.Repair(ctx); err != nil {
				slog.Error("repair the switch", "error", err)
			}
		})
		if err != nil && ctx.Err() == nil {
			slog.Error("watch the switch", "error", err)
		}
	}()
}

func (f *Fleet) anyAlive() bool {
	list, _ := f.List()
	for _, m := range list {
		if alive(m.Status) {
			return true
		}
	}
	return false
}

// tender is the supervisor's eye.
type tender struct {
	*Fleet
	looker state.Looker
}

// tend looks at every machine once, and tells whether there is reason to look again. Of
// one that lives it looks at the lock alone: there may be hundreds.
func (f *tender) tend(ctx context.Context) (again bool) {
	ids, err := f.Dirs.VMIDs()
	if err != nil {
		slog.Error("list the machines", "error", err)
	}
	for _, id := range ids {
		more, err := f.tendOne(ctx, id)
		if err != nil {
			slog.Error("tend a machine", "id", id, "error", err)
		}
		again = again || more
	}
	if err := f.tendServices(ctx); err != nil {
		slog.Error("tend the networks", "error", err)
	}
	if err := f.looker.Sweep(); err != nil {
		slog.Error("look at locks", "error", err)
	}
	return again
}

func (f *tender) tendOne(ctx context.Context, id string) (again bool, err error) {
	held, err := f.looker.Held(f.Dirs.Alive(id))
	if err != nil || held {
		return held, err
	}
	record, err := f.Dirs.GetVM(id)
	if errors.Is(err, state.ErrNotFound) {
		return false, nil // it is being made, or removed
	}
	if err != nil || record.Want != state.WantRunning && !f.holds(record) {
		return false, err
	}
	return f.tendEnded(ctx, id)
}

// holds tells whether a machine has a tap or a control group on the host.
func (f *Fleet) holds(record *state.VM) bool {
	if !privileged() {
		return false
	}
	if (jail.Cgroup{ID: record.ID}).Exists() {
		return true
	}
	for _, name := range record.Taps() {
		if _, err := os.Lstat("/sys/class/net/" + name); err == nil {
			return true
		}
	}
	return false
}

// tendEnded looks after one machine that has ended. One that somebody else works on is
// left to them.
func (f *Fleet) tendEnded(ctx context.Context, id string) (again bool, err error) {
	lock, err := state.TryLock(filepath.Join(f.Dirs.VMDir(id), "lock"))
	if errors.Is(err, state.ErrBusy) {
		return true, nil
	}
	if errors.Is(err, os.ErrNotExist) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	defer func() { err = errors.Join(err, lock.Unlock()) }()
	record, err := f.Dirs.GetVM(id)
	if err != nil {
		return false, err
	}
	status, err := f.Dirs.Status(id)
	if err != nil || alive(status) {
		return true, err
	}
	if status.Phase == state.Lost && status.Ended.IsZero() {
		entry := state.Entry{Event: state.EventLost, Time: time.Now(), Reason: status.Reason}
		if (jail.Cgroup{ID: id}).OutOfMemory() {
			entry.Reason = "the host killed its process, which was at its memory limit"
		}
		if err := f.note(id, entry); err != nil {
			return false, err
		}
		status.Ended = entry.Time
	}
	if record.Want == state.WantRunning && status.Phase != state.Created {
		return f.carryOut(ctx, record, status)
	}
	return false, f.release(ctx, record)
}

// carryOut does what is to be done about a machine that has ended though it was wanted to
// run. Its lock is held.
func (f *Fleet) carryOut(ctx context.Context, record *state.VM, status state.Status) (again bool, err error) {
	plan, err := record.Spec.Plan()
	if err != nil {
		return false, err
	}
	switch judge(record, plan, status, time.Now()) {
	case later:
		return true, nil
	case restart:
		return true, f.restart(ctx, record)
	case remove:
		if err := f.release(ctx, record); err != nil {
			return false, err
		}
		return false, errors.Join(f.Dirs.RemoveVM(record.ID), f.tellServices(ctx))
	}
	record.Want = state.WantStopped
	return false, errors.Join(f.Dirs.PutVM(record), f.release(ctx, record))
}

// restart starts a machine again.
func (f *Fleet) restart(ctx context.Context, record *state.VM) error {
	record.Restarts++
	if err := f.Dirs.PutVM(record); err != nil {
		return err
	}
	if err := f.note(record.ID, state.Entry{Event: state.EventRestart}); err != nil {
		return err
	}
	err := f.launch(ctx, record, StartOptions{})
	if err == nil {
		return nil
	}
	// It counts as a run that failed, so that the next try waits, or there is none.
	status := statusMachine
	entry := state.Entry{Event: state.EventEnd, Reason: "failed to start", Status: &status, Error: err.Error()}
	return errors.Join(fmt.Errorf("start it again: %w", err), f.note(record.ID, entry))
}

// statusMachine is the exit status of a machine that failed, as the command line has it.
const statusMachine = 125

// tendServices starts the services again that have died of networks in use. One that was
// ended on purpose has left no lock.
func (f *tender) tendServices(ctx context.Context) error {
	if !privileged() {
		return nil
	}
	ids, err := f.Dirs.Served()
	errs := []error{err}
	var dead []string
	for _, id := range ids {
		path := f.Dirs.ServiceAlive(id)
		held, err := f.looker.Held(path)
		errs = append(errs, err)
		if err != nil || held {
			continue
		}
		if _, err := os.Stat(path); err == nil {
			dead = append(dead, id)
		}
	}
	if len(dead) == 0 {
		return errors.Join(errs...)
	}
	networks, err := f.Dirs.Networks()
	errs = append(errs, err)
	for _, n := range networks {
		if slices.Contains(dead, n.ID) {
			errs = append(errs, f.tendService(ctx, n))
		}
	}
	return errors.Join(errs...)
}

func (f *Fleet) tendService(ctx context.Context, n *state.Network) error {
	return f.switched(ctx, func() error {
		busy, err := f.busyNetworks("")
		if err != nil || !busy[n.ID] {
			return err
		}
		return f.bringUp(ctx, n)
	})
}

// Repair makes the host's switch what the machines that live need, whatever has become
// of it.
func (f *Fleet) Repair(ctx context.Context) error {
	return f.switched(ctx, func() error {
		want, err := wantedByAll()
		if err != nil {
			return err
		}
		left, err := vswitch.Leftovers()
		if err != nil || len(left) == 0 && len(want.Ports) == 0 {
			return err
		}
		return vswitch.Apply(want)
	})
}

// wanted is what the host's switch shall be for this fleet.
func (f *Fleet) wanted() (vswitch.State, error) {
	var want vswitch.State
	networks, err := f.Dirs.Networks()
	if err != nil {
		return want, err
	}
	busy, err := f.busyNetworks("")
	if err != nil {
		return want, err
	}
	for _, n := range networks {
		if busy[n.ID] {
			want.Networks = append(want.Networks, switchNetwork(n))
		}
	}
	vms, unknown, err := f.readable()
	if err = errors.Join(err, unknown); err != nil {
		return want, err // the port of one that lives would be taken away
	}
	for _, record := range vms {
		lives, err := state.Held(f.Dirs.Alive(record.ID))
		if err != nil {
			return want, err
		}
		if !lives {
			continue
		}
		plan, err := record.Spec.Plan()
		if err != nil {
			return want, err
		}
		publisher, err := f.publisher(record)
		if err != nil {
			return want, err
		}
		for _, u := range record.Unplugged {
			want.Unplugged = append(want.Unplugged, u.Tap)
		}
		for i, port := range record.Ports {
			published := plan.Publish
			if i != publisher {
				published = nil
			}
			p, err := switchPort(record, port, published)
			if err != nil {
				return want, err
			}
			want.Ports = append(want.Ports, p)
		}
	}
	return want, nil
}

// Attend has the supervisor look after machines that live or are to. A crash may have ended
// it, and with it the services of networks that it would start again.
func (f *Fleet) Attend() error {
	list, err := f.List()
	wanted := func(m *Machine) bool { return alive(m.Status) || m.Want == state.WantRunning }
	if !slices.ContainsFunc(list, wanted) {
		return err
	}
	return errors.Join(err, f.ensureSupervisor())
}

// ensureSupervisor starts the supervisor if there is none. A machine's lock is held by
// then, so that one that is about to return sees that it must stay.
func (f *Fleet) ensureSupervisor() error {
	held, err := state.Held(f.supervisorLock())
	if err != nil || held {
		return err
	}
	cmd, log, err := f.background(filepath.Join(f.Dirs.Run, "supervisor.log"), SuperviseCommand)
	if err != nil {
		return err
	}
	defer log.Close()
	if err := vm.WithoutHugePages(cmd.Start); err != nil {
		return fmt.Errorf("start the supervisor: %w", err)
	}
	go func() { _ = cmd.Wait() }()
	return nil
}
