package fleet

import (
	"context"
	"fmt"
	"net/netip"

	"github.com/gureum/gureum/fleet/spec"
	"github.com/gureum/gureum/fleet/state"
	"github.com/gureum/gureum/vm"
)

// Redefine gives a machine that does not run another definition. It keeps its id, its
// layers on images, and its addresses on the networks that it stays on.
func (f *Fleet) Redefine(ctx context.Context, ref string, s spec.Spec) error {
	plan, err := s.Plan()
	if err != nil {
		return &vm.InputError{Err: err}
	}
	if err := plan.Check(); err != nil {
		return err
	}
	return f.locked(ctx, func() error {
		return f.withMachine(ctx, ref, func(m *Machine) error {
			if alive(m.Status) {
				return fmt.Errorf("%s: %w: stop it first", m.Name, ErrRunning)
			}
			previous := m.Ports
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
			return f.Dirs.PutVM(m.VM)
		})
	})
}

// had is the address that a machine had on a network.
func had(previous []state.Port, network string) netip.Addr {
	for _, port := range previous {
		if port.Network == network {
			return port.IP
		}
	}
	return netip.Addr{}
}
