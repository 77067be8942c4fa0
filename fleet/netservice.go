package fleet

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/gureum/gureum/fleet/state"
	"github.com/gureum/gureum/net/service"
	"github.com/gureum/gureum/net/vswitch"
)

// ServiceCommand is the hidden command of the program that serves a network:
//
//	gureum netd ID
//
// Its descriptors from FirstFile up are the lock that says that it lives, and a pipe on
// which it says "ready", or what is wrong.
const ServiceCommand = "netd"

const serviceReady = "ready"

// nobody is the user that a network's service becomes: it owns nothing.
const nobody = 65534

// bringUp makes a network on the host, if it is not there. The switch's lock is held.
func (f *Fleet) bringUp(ctx context.Context, n *state.Network) error {
	if err := vswitch.AddNetwork(switchNetwork(n)); err != nil {
		return err
	}
	if err := os.MkdirAll(f.Dirs.NetworkRun(n.ID), 0o755); err != nil {
		return err
	}
	if err := f.writeHosts(n.ID); err != nil {
		return err
	}
	return f.startService(ctx, n)
}

// startService starts a network's service if it does not live.
func (f *Fleet) startService(ctx context.Context, n *state.Network) (err error) {
	life, err := state.TryLock(f.Dirs.ServiceAlive(n.ID))
	if errors.Is(err, state.ErrBusy) {
		return nil
	}
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, life.Unlock()) }()
	return f.spawn(ctx, process{
		log: f.serviceLog(n.ID), args: []string{ServiceCommand, n.ID}, life: life,
		judge: func(report []byte) error {
			if string(report) == serviceReady {
				return nil
			}
			return fmt.Errorf("start its service: %s (see %s)", bytes.TrimSpace(report), f.serviceLog(n.ID))
		},
	})
}

func (f *Fleet) serviceLog(id string) string {
	return filepath.Join(f.Dirs.NetworkRun(id), "service.log")
}

// stopService ends a network's service, if it lives, and takes its lock away, by which the
// supervisor knows that it is not wanted. The switch's lock is held.
func (f *Fleet) stopService(ctx context.Context, id string) error {
	path := f.Dirs.ServiceAlive(id)
	if _, err := os.Stat(path); errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	held, err := state.Held(path)
	if err != nil {
		return err
	}
	if held {
		err = f.killService(ctx, id, path)
	}
	if err != nil {
		return fmt.Errorf("end the network's service: %w", err)
	}
	return os.Remove(path)
}

// killService kills a network's service and waits for its end.
func (f *Fleet) killService(ctx context.Context, id, path string) error {
	pid, err := readPID(filepath.Join(f.Dirs.NetworkRun(id), "pid"))
	if err != nil {
		return err
	}
	if err := killHolder(path, pid); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	lock, err := state.WaitLock(ctx, path)
	if err != nil {
		return err
	}
	return lock.Unlock()
}

// ServeNetwork is the process that serves a network. It takes its sockets, drops all
// rights, says that it is ready, and answers until it is killed.
func (f *Fleet) ServeNetwork(ctx context.Context, id string, report io.WriteCloser) error {
	n, err := f.Dirs.FindNetwork(id)
	if err != nil {
		return err
	}
	if err := writePID(filepath.Join(f.Dirs.NetworkRun(id), "pid")); err != nil {
		return err
	}
	s, err := service.Open(service.Config{
		Bridge: vswitch.BridgeName(n.ID), Network: n.Name, Subnet: n.Subnet, Subnet6: n.Subnet6,
		MTU: n.MTU, Internal: n.Internal, Hosts: f.Dirs.Hosts(n.ID),
	})
	if err != nil {
		return err
	}
	if err := dropRights(); err != nil {
		return errors.Join(err, s.Close())
	}
	_, err = io.WriteString(report, serviceReady)
	if err = errors.Join(err, report.Close()); err != nil {
		return errors.Join(err, s.Close())
	}
	return s.Run(ctx)
}

// dropRights makes this process nobody's. The kernel takes the capabilities with the
// user (capabilities(7), "Effect of user ID changes on capabilities").
func dropRights() error {
	if err := unix.Prctl(unix.PR_SET_DUMPABLE, 0, 0, 0, 0); err != nil {
		return os.NewSyscallError("prctl", err)
	}
	return errors.Join(
		os.NewSyscallError("setgroups", syscall.Setgroups(nil)),
		os.NewSyscallError("setresgid", syscall.Setresgid(nobody, nobody, nobody)),
		os.NewSyscallError("setresuid", syscall.Setresuid(nobody, nobody, nobody)),
	)
}
