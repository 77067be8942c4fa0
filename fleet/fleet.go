// Package fleet runs many machines on one host, without a daemon: each is a process of
// its own (fleet/vmm), what is known of it is on disk (fleet/state), and it is talked to
// by its own socket (fleet/api).
//
//	command line --> Fleet --> state (records, locks, journals)
//	                   |-----> vmm processes, by api
//	                   '-----> networks
//
// Any process may die at any time. Every call here goes by what is the case, not by what
// was written to be the case, and takes with it what a process that died left behind.
package fleet

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/gureum/gureum/fleet/api"
	"github.com/gureum/gureum/fleet/spec"
	"github.com/gureum/gureum/fleet/state"
	"github.com/gureum/gureum/vm"
)

// Fleet is the machines of one host, or of one user on it. It may be used from several
// goroutines and by several processes at once.
type Fleet struct {
	Dirs state.Dirs
	// Release is the program's, for the machines' processes to tell.
	Release string
}

// Open names the fleet of this user.
func Open(release string) (*Fleet, error) {
	dirs, err := state.DefaultDirs()
	if err != nil {
		return nil, err
	}
	return &Fleet{Dirs: dirs, Release: release}, nil
}

// Errors that callers decide on; match with errors.Is.
var (
	ErrRunning    = errors.New("the machine runs")
	ErrNotRunning = errors.New("the machine does not run")
)

// Machine is a machine and what it is now.
type Machine struct {
	*state.VM
	state.Status
}

// Create makes a machine that does not run yet. Errors in what the user asked for are
// *vm.InputError, found before anything is made.
func (f *Fleet) Create(ctx context.Context, s spec.Spec) (*state.VM, error) {
	plan, err := s.Plan()
	if err != nil {
		return nil, &vm.InputError{Err: err}
	}
	if err := errors.Join(plan.Check(), checkLimits(plan)); err != nil {
		return nil, err
	}
	record := &state.VM{ID: state.NewID(state.IDLength), Name: s.Name, Created: time.Now().UTC(), Spec: s, Want: state.WantStopped}
	err = f.locked(ctx, func() error {
		if err := f.setName(record); err != nil {
			return err
		}
		if err := f.allocate(record, plan, nil); err != nil {
			return err
		}
		if err := f.checkPublisher(record, plan); err != nil {
			return err
		}
		if err := f.Dirs.PutVM(record); err != nil {
			return errors.Join(err, f.Dirs.RemoveVM(record.ID))
		}
		return f.note(record.ID, state.Entry{Event: state.EventCreate})
	})
	if err != nil {
		return nil, err
	}
	return record, nil
}

// locked calls do with the fleet's lock held.
func (f *Fleet) locked(ctx context.Context, do func() error) (err error) {
	lock, err := f.Dirs.Lock(ctx)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, lock.Unlock()) }()
	return do()
}

// withMachine calls do with a machine's lock held, and its record and status as they are
// under it.
func (f *Fleet) withMachine(ctx context.Context, ref string, do func(*Machine) error) (err error) {
	record, err := f.Dirs.FindVM(ref)
	if err != nil {
		return err
	}
	lock, err := f.Dirs.LockVM(ctx, record.ID)
	if errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("%w: %q", state.ErrNotFound, ref) // it was removed just now
	}
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, lock.Unlock()) }()
	if record, err = f.Dirs.GetVM(record.ID); err != nil {
		return err
	}
	status, err := f.Dirs.Status(record.ID)
	if err != nil {
		return err
	}
	return do(&Machine{record, status})
}

// setName checks a machine's name, or makes one. The fleet's lock is held.
func (f *Fleet) setName(record *state.VM) error {
	vms, err := f.Dirs.VMs()
	if err != nil {
		return err
	}
	taken := map[string]bool{}
	for _, other := range vms {
		taken[other.Name] = true
	}
	if record.Name == "" {
		record.Name = newName(taken)
		return nil
	}
	if err := state.CheckName("machine", record.Name); err != nil {
		return &vm.InputError{Err: err}
	}
	if taken[record.Name] {
		return &vm.InputError{Err: fmt.Errorf("name %q: %w: give another, or remove that machine: gureum rm %s", record.Name, state.ErrExists, record.Name)}
	}
	return nil
}

// note adds a line to a machine's journal. Only for one whose process does not live.
func (f *Fleet) note(id string, e state.Entry) error {
	j, err := state.OpenJournal(f.Dirs.Journal(id))
	if err != nil {
		return err
	}
	return errors.Join(j.Add(e), j.Close())
}

// Get gives the machine that a name, an id or the beginning of one stands for.
func (f *Fleet) Get(ref string) (*Machine, error) {
	record, err := f.Dirs.FindVM(ref)
	if err != nil {
		return nil, err
	}
	status, err := f.Dirs.Status(record.ID)
	return &Machine{record, status}, err
}

// List gives all machines, the oldest first. Those that cannot be read come as errors
// beside the others.
func (f *Fleet) List() ([]*Machine, error) {
	vms, err := f.Dirs.VMs()
	errs := []error{err}
	var out []*Machine
	for _, record := range vms {
		status, err := f.Dirs.Status(record.ID)
		if err != nil {
			errs = append(errs, fmt.Errorf("machine %s: %w", record.Name, err))
			continue
		}
		out = append(out, &Machine{record, status})
	}
	return out, errors.Join(errs...)
}

// Client talks to a machine's process.
func (f *Fleet) Client(id string) *api.Client { return api.NewClient(f.Dirs.API(id)) }

// Rename gives a machine another name. A guest that runs keeps its host name until it
// is started again.
func (f *Fleet) Rename(ctx context.Context, ref, name string) error {
	if name == "" {
		return &vm.InputError{Err: state.CheckName("machine", name)}
	}
	return f.locked(ctx, func() error {
		return f.withMachine(ctx, ref, func(m *Machine) error {
			if m.Name == name {
				return nil
			}
			m.Name = name
			if err := f.setName(m.VM); err != nil {
				return err
			}
			return errors.Join(f.Dirs.PutVM(m.VM), f.tellServices(ctx))
		})
	})
}

// Remove removes a machine and its disks. One that runs is refused, or with force killed
// first. A machine that is not there gives state.ErrNotFound. One whose record cannot be
// read is removed with force, by its whole id.
func (f *Fleet) Remove(ctx context.Context, ref string, force bool) error {
	return f.locked(ctx, func() error {
		if force && f.isDamaged(ref) {
			return f.removeDamaged(ctx, ref)
		}
		return f.withMachine(ctx, ref, func(m *Machine) error {
			if alive(m.Status) {
				if !force {
					return fmt.Errorf("%s: %w: stop it first, or give --force", m.Name, ErrRunning)
				}
				if err := f.end(ctx, m.ID); err != nil {
					return fmt.Errorf("%s: %w", m.Name, err)
				}
			}
			if err := f.release(ctx, m.VM); err != nil {
				return err
			}
			return errors.Join(f.Dirs.RemoveVM(m.ID), f.tellServices(ctx))
		})
	})
}

func alive(s state.Status) bool { return s.Phase == state.Running || s.Phase == state.Paused }
