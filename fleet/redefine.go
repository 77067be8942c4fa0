package fleet

import (
	"context"
	"errors"
	"fmt"
	"net/netip"

	"github.com/gureum/gureum/fleet/spec"
	"github.com/gureum/gureum/fleet/state"
	"github.com/gureum/gureum/vm"
)

// Redefine gives a machine that does not run another definition. It keeps its id, its
// layers on images, and its addresses on the networks that it stays on.
func (f *Fleet) Redefine(ctx context.Context, ref string, s spec.Spec) (err error) {
	plan, err := s.Plan()
	if err != nil {
		return &vm.InputError{Err: err}
	}
	if err := plan.Check(); err != nil {
		return err
	}
	lock, err := f.Dirs.Lock(ctx)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, lock.Unlock()) }()
	record, err := f.Dirs.FindVM(ref)
	if err != nil {
		return err
	}
	own, err := f.Dirs.LockVM(ctx, record.ID)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, own.Unlock()) }()
	status, err := f.Dirs.Status(record.ID)
	if err != nil {
		return err
	}
	if alive(status) {
		return fmt.Errorf("%s: %w: stop it first", record.Name, ErrRunning)
	}
	previous := record.Ports
	record.Spec, record.Ports = s, nil
	if s.Name != "" && s.Name != record.Name {
		record.Name = s.Name
		if err := f.setName(record); err != nil {
			return err
		}
	}
	if err := f.allocate(record, plan, previous); err != nil {
		return err
	}
	return f.Dirs.PutVM(record)
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
