package vm

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"syscall"

	"github.com/gureum/gureum/guest/agent"
	"github.com/gureum/gureum/virtio"
	"github.com/gureum/gureum/virtio/vsock"
)

// Vsock is the socket device, by which programs of the guest and of the host talk
// without a network. A guest with an agent has one in any case, for the agent alone
// unless something is said here.
type Vsock struct {
	// On gives the guest the device.
	On bool
	// Path is a Unix socket that is made for programs of the host: one that
	// connects and writes "CONNECT port\n" reaches that port of the guest. The
	// guest's connections to port N of the host go to the Unix socket Path_N.
	Path string
	// CID is the guest's address; 0 is vsock.MinCID. With Vhost no two machines of a
	// host can have the same.
	CID uint64
	// Vhost has the host's kernel do the work: programs of the host then use
	// AF_VSOCK, and there is no Path.
	Vhost bool
}

// guestVsock is what a machine has of its socket device.
type guestVsock struct {
	device *vsock.Device   // nil for none
	calls  *vsock.Listener // the agent's; nil if it does not come this way
}

func (v *Vsock) check() error {
	if v.Path == "" && v.CID == 0 && !v.Vhost {
		return nil
	}
	v.On = true
	c := v.config()
	if err := c.Validate(); err != nil {
		return &InputError{err}
	}
	return nil
}

func (v *Vsock) config() vsock.Config {
	return vsock.Config{CID: v.CID, Path: v.Path, Vhost: v.Vhost}
}

// agentOnVsock tells whether the agent is to come by vsock if it can.
func (c *Config) agentOnVsock() bool { return (c.Agent || c.OwnAgent) && !c.Vsock.Vhost }

// newVsock makes the socket device.
func (m *Machine) newVsock() ([]virtio.Device, error) {
	c := &m.config
	if !c.Vsock.On && !c.agentOnVsock() {
		return nil, nil
	}
	if c.Vsock.Vhost {
		if err := openable(vsock.DefaultVhost); err != nil {
			return nil, err
		}
	}
	d, err := vsock.New(c.Vsock.config())
	if err != nil {
		return nil, &InputError{err}
	}
	m.vsock.device = d
	if c.agentOnVsock() {
		if m.vsock.calls, err = d.Listen(agent.VsockPort); err != nil {
			return nil, errors.Join(err, d.Close())
		}
	}
	return []virtio.Device{d}, nil
}

// openable finds out early that a device of the host cannot be used.
func openable(path string) error {
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err == nil {
		return f.Close()
	}
	hint := "load the module vhost_vsock, or leave vhost out"
	if errors.Is(err, fs.ErrPermission) || errors.Is(err, syscall.EACCES) {
		hint = "give yourself the right to it, or leave vhost out"
	}
	return hostErrorf("vsock: %w: %s", err, hint)
}

// accept waits for the agent's call.
func (v *guestVsock) accept(ctx context.Context, stopped <-chan struct{}) (*vsock.Conn, error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	go func() {
		select {
		case <-stopped:
			cancel()
		case <-ctx.Done():
		}
	}()
	c, err := v.calls.AcceptContext(ctx)
	if err != nil {
		return nil, fmt.Errorf("%w while waiting for the agent to start: %w", agent.ErrDisconnected, err)
	}
	return c, nil
}

// Vsock is the machine's socket device, for connections from within this process;
// nil if it has none.
func (m *Machine) Vsock() *vsock.Device { return m.vsock.device }
