package fleet

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"

	"github.com/gureum/gureum/fleet/jail"
	"github.com/gureum/gureum/fleet/spec"
	"github.com/gureum/gureum/fleet/state"
	"github.com/gureum/gureum/vm"
)

// threads is how many threads a machine's process may have beside those of its virtual
// CPUs when nobody says: a few hundred times what it needs.
const threads = 1024

// groupLimits are a machine's limits as its control group has them.
func (f *Fleet) groupLimits(record *state.VM, plan *spec.Plan) (jail.CgroupLimits, error) {
	l := plan.Limits
	out := jail.CgroupLimits{CPU: l.CPU, Memory: l.Memory, Pids: l.Pids}
	if out.Pids == 0 {
		out.Pids = threads + plan.Config.CPUs
	}
	if l.IO == (spec.IOLimit{}) {
		return out, nil
	}
	devices, err := f.devicesOf(record, plan)
	for _, device := range devices {
		out.Disks = append(out.Disks, jail.IOLimit{
			Device: device, ReadBPS: l.IO.ReadBPS, WriteBPS: l.IO.WriteBPS, ReadIOPS: l.IO.ReadIOPS, WriteIOPS: l.IO.WriteIOPS,
		})
	}
	return out, err
}

// devicesOf are the host's disks that a machine's disks lie on, as "8:0": layers on images
// are in the machine's folder.
func (f *Fleet) devicesOf(record *state.VM, plan *spec.Plan) ([]string, error) {
	if len(plan.Config.Disks) == 0 {
		return nil, inputErrorf("io-limit: the machine has no disk")
	}
	var paths []string
	for _, d := range plan.Config.Disks {
		path := d.Path
		if _, err := os.Stat(path); err != nil { // it is the name of an image
			path = f.Dirs.VMDir(record.ID)
		}
		paths = append(paths, path)
	}
	var devices []string
	seen := map[string]bool{}
	for _, path := range paths {
		device, err := deviceOf(path)
		if err != nil {
			return nil, &vm.HostError{Err: fmt.Errorf("io-limit: %w", err)}
		}
		if !seen[device] {
			devices = append(devices, device)
		}
		seen[device] = true
	}
	return devices, nil
}

// deviceOf is the whole disk that a file lies on, or that a block device is or is part of.
func deviceOf(path string) (string, error) {
	var st unix.Stat_t
	if err := unix.Stat(path, &st); err != nil {
		return "", &os.PathError{Op: "stat", Path: path, Err: err}
	}
	dev := st.Dev
	if st.Mode&unix.S_IFMT == unix.S_IFBLK {
		dev = st.Rdev
	}
	number := fmt.Sprintf("%d:%d", unix.Major(dev), unix.Minor(dev))
	dir, err := filepath.EvalSymlinks("/sys/dev/block/" + number)
	if errors.Is(err, fs.ErrNotExist) {
		return "", fmt.Errorf("%s lies on no block device of its own, whose use could be limited", path)
	}
	if err != nil {
		return "", err
	}
	if _, err := os.Stat(filepath.Join(dir, "partition")); err != nil {
		return number, nil
	}
	whole, err := os.ReadFile(filepath.Join(filepath.Dir(dir), "dev"))
	return string(whole[:max(0, len(whole)-1)]), err // without its line feed
}

// Limit changes the limits in a machine's definition, and those of its process if it
// runs. change is given the definition.
func (f *Fleet) Limit(ctx context.Context, ref string, change func(*spec.Spec)) error {
	return f.withMachine(ctx, ref, func(m *Machine) error {
		change(&m.Spec)
		plan, err := m.Spec.Plan()
		if err != nil {
			return &vm.InputError{Err: err}
		}
		if err := checkLimits(plan); err != nil {
			return err
		}
		if alive(m.Status) {
			limits, err := f.groupLimits(m.VM, plan)
			if err != nil {
				return err
			}
			if err := (jail.Cgroup{ID: m.ID}).Set(limits); err != nil {
				return &vm.HostError{Err: err}
			}
		}
		return f.Dirs.PutVM(m.VM)
	})
}

// checkLimits refuses what cannot be had here, before anything is made.
func checkLimits(plan *spec.Plan) error {
	switch {
	case plan.Limits == (spec.Limits{}):
		return nil
	case !privileged():
		return inputErrorf("limits are set by control groups, which only root can make: leave out cpu-limit, memory-limit, pids-limit and io-limit")
	case !jail.HaveCgroups():
		return &vm.HostError{Err: errors.New("limits: no control groups are mounted in /sys/fs/cgroup")}
	}
	return nil
}
