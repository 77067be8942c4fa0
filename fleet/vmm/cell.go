package vmm

import (
	"fmt"
	"os"

	"golang.org/x/sys/unix"

	"github.com/gureum/gureum/fleet/jail"
	"github.com/gureum/gureum/fleet/spec"
	"github.com/gureum/gureum/fleet/state"
	"github.com/gureum/gureum/virtio/blk"
	"github.com/gureum/gureum/virtio/fs"
	virtionet "github.com/gureum/gureum/virtio/net"
	"github.com/gureum/gureum/virtio/ratelimit"
	"github.com/gureum/gureum/virtio/vhost"
	"github.com/gureum/gureum/vm"
)

// Cell is what the jail of a machine's process is like, for whoever starts it and for the
// process itself, by the plan as the user's words gave it.
func Cell(dirs state.Dirs, record *state.VM, plan *spec.Plan) jail.Config {
	c := jail.Config{Root: dirs.VMRoot(record.ID), UID: record.UID(), GID: record.UID(), NewNet: true}
	if os.Geteuid() != 0 {
		c.Rootless, c.NoUserNS = true, !jail.UserNamespaces()
		c.UserNet = len(plan.Ports) > 0 // all interfaces are user-mode networks then
	}
	for i := range plan.Config.NICs {
		n := &plan.Config.NICs[i]
		c.UserNet = c.UserNet || n.User
		// A tap that the user named is opened by the process.
		c.NewNet = c.NewNet && n.Tap == ""
	}
	c.NewNet = c.NewNet && !c.UserNet // whose sockets are the host's
	for _, s := range plan.Config.Shares {
		c.Shares = append(c.Shares, jail.Folder{Path: s.Dir, ReadOnly: s.ReadOnly})
	}
	return c
}

// prepareCell has the machine make do with what there is in the jail: no rings of
// io_uring, whose requests no filter sees, folders that were opened for it, and filters
// for the virtual CPUs' threads.
func (p *process) prepareCell() error {
	c := &p.plan.Config
	c.OnVCPUThread = jail.EnterVCPU
	for i := range c.Disks {
		c.Disks[i].Engine = blk.EngineWorkers
	}
	if len(c.Shares) == 0 {
		return nil
	}
	var limit unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &limit); err != nil {
		return os.NewSyscallError("getrlimit", err)
	}
	p.cell.Limits.Files = limit.Cur // a descriptor for each file that the guest knows of
	if p.cell.Rootless {
		return nil
	}
	if len(p.options.Shares) != len(c.Shares) {
		return fmt.Errorf("%d folders were handed over for %d shares", len(p.options.Shares), len(c.Shares))
	}
	for i := range c.Shares {
		s := &c.Shares[i]
		owner, err := jail.OwnerOf(s.Dir)
		if err != nil {
			return &vm.InputError{Err: fmt.Errorf("share: %w", err)}
		}
		s.Root = p.options.Shares[i]
		id := uint32(p.cell.UID)
		s.Owner = fs.Owner{UID: id, GID: id, AsUID: owner.UID, AsGID: owner.GID}
	}
	return nil
}

const vhostNet = "/dev/vhost-net"

// confine takes from this process all that it does not need any more. Everything is open
// by then, and the guest has not run.
func (p *process) confine() error {
	var err error
	if p.pid, err = jail.HostPID(); err != nil {
		return fmt.Errorf("number of the machine's process: %w", err)
	}
	if err := p.holdVhost(); err != nil {
		return err
	}
	return jail.Enter(p.cell)
}

// holdVhost opens the devices by which the host's kernel moves frames, for the driver to
// start later.
func (p *process) holdVhost() error {
	count, must := 0, false
	for i := range p.plan.Config.NICs {
		n := &p.plan.Config.NICs[i]
		limited := n.RX != ratelimit.Config{} || n.TX != ratelimit.Config{}
		if n.User || n.Vhost == virtionet.VhostOff || limited {
			continue
		}
		count += max(1, n.Queues)
		must = must || n.Vhost == virtionet.VhostOn
	}
	if count == 0 {
		return nil
	}
	err := vhost.Hold(vhostNet, count)
	if err != nil && must {
		return &vm.HostError{Err: err}
	}
	return nil
}
