package fleet

import (
	"context"
	"errors"
	"fmt"

	"github.com/gureum/gureum/fleet/spec"
	"github.com/gureum/gureum/vm"
)

// Redefine gives a machine that does not run another definition. It keeps its id, its
// layers on images, and its addresses on the networks that it stays on.
func (f *Fleet) Redefine(ctx context.Context, ref string, s spec.Spec) error {
	plan, err := s.Plan()
	if err != nil {
		return &vm.InputError{Err: err}
	}
	if err := errors.Join(plan.Check(), checkLimits(plan)); err != nil {
		return err
	}
	return f.locked(ctx, func() error {
		return f.withMachine(ctx, ref, func(m *Machine) error {
			if alive(m.Status) {
				return fmt.Errorf("%s: %w: stop it first", m.Name, ErrRunning)
			}
			previous, err := f.settle(ctx, m.VM)
			if err != nil {
				return err
			}
			m.Spec, m.Ports = s, nil
			if s.Name != "" && s.Name != m.Name {
				m.Name = s.Name
				if err := f.setName(m.VM); err != nil {
					return err
				}
			}
			if err := f.allocate(m.VM, plan, previous); err != nil {
				return err
			}
			if err := f.checkPublisher(m.VM, plan); err != nil {
				return err
			}
			return errors.Join(f.Dirs.PutVM(m.VM), f.tellServices(ctx))
		})
	})
}
