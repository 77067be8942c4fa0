package fleet

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"

	"github.com/gureum/gureum/fleet/jail"
	"github.com/gureum/gureum/fleet/spec"
	"github.com/gureum/gureum/fleet/state"
	"github.com/gureum/gureum/net/ipam"
	"github.com/gureum/gureum/net/tap"
	"github.com/gureum/gureum/net/vswitch"
)

// privileged tells whether machines get ports on the host's switch. Without privilege
// their interfaces are user-mode networks (net/usernet), and the host is left as it is.
func privileged() bool { return os.Geteuid() == 0 }

// switched calls f with the lock on the host's side of the networks held.
func (f *Fleet) switched(ctx context.Context, do func() error) (err error) {
	if !privileged() {
		return nil
	}
	if err := errors.Join(f.Dirs.Make(), os.MkdirAll(state.HostRun, 0o711)); err != nil {
		return err
	}
	lock, err := state.WaitLock(ctx, state.SwitchLock())
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, lock.Unlock()) }()
	return do()
}

// plug connects a machine that is about to start to its networks: bridges, services and
// taps are made where they are not there. It gives the queues of the taps, in the order
// of the machine's ports. What it made before an error is for release.
func (f *Fleet) plug(ctx context.Context, record *state.VM, plan *spec.Plan) (queues [][]*os.File, err error) {
	if len(record.Ports) == 0 {
		return nil, nil
	}
	if !privileged() {
		return make([][]*os.File, len(record.Ports)), nil
	}
	defer func() {
		if err != nil {
			closeAll(queues)
			queues = nil
		}
	}()
	err = f.switched(ctx, func() error {
		if err := f.announce(); err != nil {
			return err
		}
		publisher, err := f.publisher(record)
		if err != nil {
			return err
		}
		for i, port := range record.Ports {
			if err := f.plugPort(ctx, record, port, plan.Publish, i == publisher); err != nil {
				return err
			}
		}
		return nil
	})
	for _, port := range record.Ports {
		if err != nil {
			break
		}
		var files []*os.File
		files, err = tap.Attach(port.Tap, port.Queues)
		queues = append(queues, files)
	}
	return queues, err
}

// plugPort makes one port, to which what is published leads if it is the publisher.
func (f *Fleet) plugPort(ctx context.Context, record *state.VM, port state.Port, published []spec.Publish, publisher bool) error {
	n, err := f.Dirs.FindNetwork(port.Network)
	if err != nil {
		return err
	}
	if err := f.bringUp(ctx, n); err != nil {
		return fmt.Errorf("network %s: %w", n.Name, err)
	}
	if !publisher {
		published = nil
	}
	p, err := switchPort(record, port, published)
	if err != nil {
		return err
	}
	if err := vswitch.AddPort(switchNetwork(n), p); err != nil {
		return fmt.Errorf("network %s: %w", n.Name, err)
	}
	return nil
}

func switchNetwork(n *state.Network) vswitch.Network {
	return vswitch.Network{
		ID: n.ID, Name: n.Name, Subnet: n.Subnet, Subnet6: n.Subnet6, MTU: n.MTU,
		Internal: n.Internal, Isolated: n.Isolated, HostAccess: n.HostAccess, Shielded: n.Shielded,
	}
}

func switchPort(record *state.VM, port state.Port, published []spec.Publish) (vswitch.Port, error) {
	mac, err := ipam.ParseMAC(port.MAC)
	if err != nil {
		return vswitch.Port{}, err
	}
	p := vswitch.Port{
		Tap: port.Tap, Network: port.Network, MAC: mac, IP: port.IP, IP6: port.IP6,
		Queues: port.Queues, UID: record.UID(), GID: record.UID(),
	}
	for _, x := range published {
		p.Publish = append(p.Publish, vswitch.Publish{HostIP: x.HostIP, HostPort: x.HostPort, GuestPort: x.GuestPort, UDP: x.UDP})
	}
	return p, nil
}

func closeAll(queues [][]*os.File) {
	for _, files := range queues {
		for _, file := range files {
			_ = file.Close() // of a tap: nothing is lost
		}
	}
}

// release takes from the host what a machine had that does not run: its ports on the
// switch and its control group. It does all that it can, whatever has become of ctx.
func (f *Fleet) release(ctx context.Context, record *state.VM) error {
	err := f.unplug(context.WithoutCancel(ctx), record)
	if privileged() {
		err = errors.Join(err, jail.Cgroup{ID: record.ID}.Remove())
	}
	return err
}

// unplug takes a machine that does not run from its networks. A network that no machine
// is on any more leaves the host.
func (f *Fleet) unplug(ctx context.Context, record *state.VM) error {
	taps := record.Taps()
	if len(taps) == 0 {
		return nil
	}
	return f.switched(ctx, func() error {
		var errs []error
		for _, name := range taps {
			errs = append(errs, vswitch.RemovePort(name))
		}
		return errors.Join(append(errs, f.takeDownIdle(ctx, record.ID))...)
	})
}

// takeDownIdle takes the networks down on which no machine lives but the one that is
// about to end. The switch's lock is held.
func (f *Fleet) takeDownIdle(ctx context.Context, except string) error {
	networks, _ := f.Dirs.Networks() // others are in nobody's way, and are told where networks are listed
	busy, err := f.busyNetworks(except)
	if err != nil {
		return err
	}
	var errs []error
	for _, n := range networks {
		if !busy[n.ID] {
			errs = append(errs, f.takeDownLocked(ctx, n))
		}
	}
	return errors.Join(errs...)
}

// busyNetworks are those that a machine lives on, or may live on.
func (f *Fleet) busyNetworks(except string) (map[string]bool, error) {
	vms, unknown, err := f.readable()
	if err != nil {
		return nil, err
	}
	busy := map[string]bool{}
	if unknown != nil {
		networks, _ := f.Dirs.Networks() // what cannot be read is not taken down
		for _, n := range networks {
			busy[n.ID] = true
		}
	}
	for _, record := range vms {
		if record.ID == except || len(record.Ports) == 0 {
			continue
		}
		lives, err := state.Held(f.Dirs.Alive(record.ID))
		if err != nil {
			return nil, err
		}
		for _, port := range record.Ports {
			busy[port.Network] = busy[port.Network] || lives
		}
	}
	return busy, nil
}

// takeDown removes a network from the host.
func (f *Fleet) takeDown(ctx context.Context, n *state.Network) error {
	return f.switched(ctx, func() error { return f.takeDownLocked(ctx, n) })
}

func (f *Fleet) takeDownLocked(ctx context.Context, n *state.Network) error {
	err := os.Remove(f.Dirs.Hosts(n.ID)) // it tells of machines that may be gone by then
	if errors.Is(err, fs.ErrNotExist) {
		err = nil
	}
	return errors.Join(f.stopService(ctx, n.ID), vswitch.RemoveNetwork(n.ID), err)
}
