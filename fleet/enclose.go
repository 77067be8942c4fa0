package fleet

import (
	"fmt"
	"os"
	"syscall"

	"github.com/gureum/gureum/fleet/jail"
	"github.com/gureum/gureum/fleet/spec"
	"github.com/gureum/gureum/fleet/state"
	"github.com/gureum/gureum/fleet/vmm"
	"github.com/gureum/gureum/vm"
)

// enclosure is the parent's part of a machine's jail.
type enclosure struct {
	cell   jail.Config
	shares []*os.File // the shared folders, as the machine's process is to see them
	group  *os.File   // the control group; nil where a process cannot begin in it
	join   func(pid int) error
}

// enclose makes what the jail of a machine's process is started with.
func (f *Fleet) enclose(record *state.VM, plan *spec.Plan) (*enclosure, error) {
	e := &enclosure{cell: vmm.Cell(f.Dirs, record, plan)}
	if e.cell.Rootless {
		return e, nil
	}
	for _, step := range []func() error{
		func() error { return os.Chown(e.cell.Root, e.cell.UID, e.cell.GID) },
		e.openShares,
		func() error { return e.limit(f, record, plan) },
	} {
		if err := step(); err != nil {
			e.close()
			return nil, err
		}
	}
	return e, nil
}

func (e *enclosure) openShares() error {
	for _, s := range e.cell.Shares {
		file, err := e.cell.OpenShare(s)
		if err != nil {
			return &vm.HostError{Err: err}
		}
		e.shares = append(e.shares, file)
	}
	return nil
}

// limit makes the machine's control group. On a host without any, a machine without
// limits does without.
func (e *enclosure) limit(f *Fleet, record *state.VM, plan *spec.Plan) error {
	if !jail.HaveCgroups() && plan.Limits == (spec.Limits{}) {
		return nil
	}
	limits, err := f.groupLimits(record, plan)
	if err != nil {
		return err
	}
	group := jail.Cgroup{ID: record.ID}
	if err := group.Create(limits); err != nil {
		return &vm.HostError{Err: fmt.Errorf("make the machine's control group: %w", err)}
	}
	if e.group, err = group.Open(); err != nil {
		return err
	}
	if e.group == nil {
		e.join = group.Add
	}
	return nil
}

// attr completes how the machine's process is started.
func (e *enclosure) attr(a *syscall.SysProcAttr) {
	e.cell.Attr(a)
	if e.group != nil {
		a.UseCgroupFD, a.CgroupFD = true, int(e.group.Fd())
	}
}

func (e *enclosure) close() {
	for _, file := range e.shares {
		_ = file.Close() // nothing was written
	}
	if e.group != nil {
		_ = e.group.Close()
	}
}
