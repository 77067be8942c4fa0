package fleet

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/gureum/gureum/fleet/jail"
	"github.com/gureum/gureum/fleet/state"
)

// Prunable is what Prune would remove: machines that have ended and are not to be started
// again, and ids of folders that a crash left without a machine.
func (f *Fleet) Prunable() (machines []*Machine, strays []string, err error) {
	list, broken := f.List()
	for _, m := range list {
		if ended(m) {
			machines = append(machines, m)
		}
	}
	strays, err = f.Dirs.Strays()
	groups, groupErr := f.strayGroups()
	for _, id := range groups {
		if !slices.Contains(strays, id) {
			strays = append(strays, id)
		}
	}
	return machines, strays, errors.Join(broken, err, groupErr)
}

// strayGroups are ids of control groups without a process, whose machines' records are
// gone, as when somebody removed the folder of all state.
func (f *Fleet) strayGroups() ([]string, error) {
	if !privileged() {
		return nil, nil
	}
	all, err := jail.EmptyCgroups()
	return slices.DeleteFunc(all, func(id string) bool {
		_, err := os.Stat(f.Dirs.VMDir(id))
		return err == nil
	}), err
}

// ended tells whether a machine ran and will not by itself run again. One that was only
// created waits for its first start.
func ended(m *Machine) bool {
	return (m.Phase == state.Exited || m.Phase == state.Lost) && !m.startsAgain()
}

// startsAgain tells whether a machine that does not run is about to be started again, by
// what it was asked to be.
func (m *Machine) startsAgain() bool {
	if m.Want != state.WantRunning {
		return false
	}
	plan, err := m.Spec.Plan()
	return err == nil && due(m.VM, plan.Restart, m.Status)
}

// Prune removes a machine, if it has still ended.
func (f *Fleet) Prune(ctx context.Context, id string) error {
	m, err := f.Get(id)
	if err != nil {
		return err
	}
	if !ended(m) {
		return fmt.Errorf("%s: %w", m.Name, ErrRunning)
	}
	return f.Remove(ctx, id, false)
}

// RemoveStray removes folders without a machine, if they are that still. A process that
// lives in them is ended: nobody can reach it any more.
func (f *Fleet) RemoveStray(ctx context.Context, id string) error {
	return f.locked(ctx, func() error {
		if _, err := f.Dirs.GetVM(id); !errors.Is(err, state.ErrNotFound) {
			return err // it is a machine, or a record that cannot be read
		}
		return f.removeAll(ctx, id)
	})
}

// removeAll removes what can be found of a machine by its id alone: a process of it, its
// control group, its interfaces and its folders. The fleet's lock is held.
func (f *Fleet) removeAll(ctx context.Context, id string) error {
	held, err := state.Held(f.Dirs.Alive(id))
	if err != nil {
		return err
	}
	if held {
		if err := f.end(ctx, id); err != nil {
			return fmt.Errorf("machine %s, which has no record: %w", id, err)
		}
	}
	if privileged() {
		if err := (jail.Cgroup{ID: id}).Remove(); err != nil {
			return err
		}
	}
	return f.Dirs.RemoveVM(id)
}

// isDamaged tells whether an id is of a machine whose record cannot be read.
func (f *Fleet) isDamaged(id string) bool {
	ids, err := f.Dirs.VMIDs()
	if err != nil || !slices.Contains(ids, id) {
		return false
	}
	_, err = f.Dirs.GetVM(id)
	return err != nil && !errors.Is(err, state.ErrNotFound)
}

// removeDamaged removes a machine whose record cannot be read. What it had on the switch is
// found by comparing that with what the others want. The fleet's lock is held.
func (f *Fleet) removeDamaged(ctx context.Context, id string) error {
	lock, err := f.Dirs.LockVM(ctx, id)
	if err != nil {
		return err
	}
	err = f.removeAll(ctx, id)
	if err == nil && len(f.links(id)) > 0 {
		err = f.Repair(ctx)
	}
	return errors.Join(err, f.tellServices(ctx), lock.Unlock())
}

// links are the host's interfaces of a machine.
func (f *Fleet) links(id string) []string {
	if !privileged() {
		return nil
	}
	found, _ := filepath.Glob("/sys/class/net/" + strings.TrimSuffix(tapName(id, 0), "0") + "*")
	return found
}

// readable gives the machines whose records can be read. Of those whose record cannot, one
// that does not live has nothing that could be in the way of others; that one lives is
// told by unknown.
func (f *Fleet) readable() (vms []*state.VM, unknown, err error) {
	vms, broken := f.Dirs.VMs()
	if broken == nil {
		return vms, nil, nil
	}
	ids, err := f.Dirs.VMIDs()
	if err != nil {
		return nil, nil, err
	}
	for _, id := range ids {
		if !f.isDamaged(id) {
			continue
		}
		held, err := state.Held(f.Dirs.Alive(id))
		if err != nil {
			return nil, nil, err
		}
		if held {
			unknown = broken
		}
	}
	return vms, unknown, nil
}

// Tidy removes what a command left that was killed while it wrote a record, or made or
// removed a network.
func (f *Fleet) Tidy(ctx context.Context) error {
	return f.locked(ctx, func() error {
		errs := []error{state.Sweep(filepath.Join(f.Dirs.State, "networks"))}
		ids, err := f.Dirs.VMIDs()
		errs = append(errs, err)
		for _, id := range ids {
			errs = append(errs, f.sweepMachine(id))
		}
		networks, err := f.Dirs.Networks()
		if err != nil {
			return errors.Join(append(errs, err)...)
		}
		served, err := f.Dirs.Served()
		errs = append(errs, err)
		for _, id := range served {
			if slices.ContainsFunc(networks, func(n *state.Network) bool { return n.ID == id }) {
				continue
			}
			if _, err := os.Stat(f.Dirs.ServiceAlive(id)); err == nil {
				errs = append(errs, f.takeDown(ctx, &state.Network{ID: id}))
			}
			errs = append(errs, os.RemoveAll(f.Dirs.NetworkRun(id)))
		}
		return errors.Join(errs...)
	})
}

// sweepMachine sweeps a machine's folder. One that somebody works on is left to them.
func (f *Fleet) sweepMachine(id string) error {
	lock, err := state.TryLock(filepath.Join(f.Dirs.VMDir(id), "lock"))
	if errors.Is(err, state.ErrBusy) || errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	return errors.Join(state.Sweep(f.Dirs.VMDir(id)), lock.Unlock())
}
