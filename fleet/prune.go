package fleet

import (
	"context"
	"errors"
	"fmt"

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
	return machines, strays, errors.Join(broken, err)
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
		held, err := state.Held(f.Dirs.Alive(id))
		if err != nil {
			return err
		}
		if held {
			if err := f.end(ctx, id); err != nil {
				return fmt.Errorf("machine %s, which has no record: %w", id, err)
			}
		}
		return f.Dirs.RemoveVM(id)
	})
}
