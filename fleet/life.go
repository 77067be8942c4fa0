package fleet

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"time"

	"github.com/gureum/gureum/fleet/api"
	"github.com/gureum/gureum/fleet/spec"
	"github.com/gureum/gureum/fleet/state"
	"github.com/gureum/gureum/vm"
)

// Restart stops a machine, if it runs, and starts it. See Stop and Start.
func (f *Fleet) Restart(ctx context.Context, ref string, timeout time.Duration) error {
	record, err := f.Dirs.FindVM(ref)
	if err != nil {
		return err
	}
	if err := f.Stop(ctx, record.ID, timeout); err != nil {
		return err
	}
	return f.Start(ctx, record.ID, StartOptions{})
}

// Pause stops a machine's virtual CPUs. Its memory stays as it is, and its interfaces
// take nothing.
func (f *Fleet) Pause(ctx context.Context, ref string) error {
	return f.ask(ctx, ref, func(ctx context.Context, c *api.Client) error { return c.Pause(ctx) })
}

// Resume lets a paused machine go on.
func (f *Fleet) Resume(ctx context.Context, ref string) error {
	return f.ask(ctx, ref, func(ctx context.Context, c *api.Client) error { return c.Resume(ctx) })
}

// Update changes a machine that runs. The change is not kept for its next start.
func (f *Fleet) Update(ctx context.Context, ref string, u api.Update) error {
	return f.ask(ctx, ref, func(ctx context.Context, c *api.Client) error { return c.Update(ctx, u) })
}

// LimitDevices changes limits of a running machine's disks and interfaces. They are not kept
// for its next start.
func (f *Fleet) LimitDevices(ctx context.Context, ref string, disks, nics []spec.DeviceLimit) error {
	return f.ask(ctx, ref, func(ctx context.Context, c *api.Client) error {
		info, err := c.Info(ctx)
		if err != nil {
			return err
		}
		var u api.Update
		forEach(disks, len(info.Disks), func(n int, l spec.DeviceLimit) {
			u.DiskLimits = append(u.DiskLimits, api.DiskLimit{Disk: n, BPS: l.BPS, IOPS: l.Ops})
		})
		forEach(nics, len(info.NICs), func(n int, l spec.DeviceLimit) {
			u.NICLimits = append(u.NICLimits, api.NICLimit{NIC: n, BPS: l.BPS, PPS: l.Ops})
		})
		return c.Update(ctx, u)
	})
}

// forEach calls do for each of count devices that a limit is for.
func forEach(limits []spec.DeviceLimit, count int, do func(n int, l spec.DeviceLimit)) {
	for _, l := range limits {
		if l.Number >= 0 {
			do(l.Number, l)
			continue
		}
		for n := range count {
			do(n, l)
		}
	}
}

// ResizeConsole tells a machine the size of the terminal at its console.
func (f *Fleet) ResizeConsole(ctx context.Context, ref string, size api.Size) error {
	return f.ask(ctx, ref, func(ctx context.Context, c *api.Client) error { return c.Resize(ctx, size) })
}

// ask makes a call to a machine that must run.
func (f *Fleet) ask(ctx context.Context, ref string, call func(context.Context, *api.Client) error) error {
	m, err := f.Get(ref)
	if err != nil {
		return err
	}
	if !alive(m.Status) {
		return m.notRunning()
	}
	return m.failed(f.request(ctx, m.ID, call))
}

// notRunning refuses what only a machine that runs can do.
func (m *Machine) notRunning() error {
	return fmt.Errorf("%s: %w: gureum start %s", m.Name, ErrNotRunning, m.Name)
}

// failed says in the user's words why a call to the machine's process failed. What the
// process calls wrong input is the user's.
func (m *Machine) failed(err error) error {
	var status *api.StatusError
	switch {
	case err == nil:
		return nil
	case errors.Is(err, context.DeadlineExceeded):
		return fmt.Errorf("%s: its process does not answer: is it stopped (SIGSTOP), or the host very busy? gureum kill %s ends it: %w", m.Name, m.Name, err)
	case errors.Is(err, api.ErrGone):
		return m.notRunning()
	case errors.As(err, &status) && status.Status == http.StatusBadRequest:
		return &vm.InputError{Err: fmt.Errorf("%s: %w", m.Name, err)}
	case errors.As(err, &status) && status.Status == http.StatusNotFound:
		return fmt.Errorf("%s: %w: its process is of another release of gureum: restart it to use this", m.Name, err)
	}
	return fmt.Errorf("%s: %w", m.Name, err)
}

// Details are all that is known of a machine.
type Details struct {
	*Machine
	// Dir is the folder of its durable files, Control the socket of its process.
	Dir     string    `json:"dir"`
	Control string    `json:"control_socket"`
	Live    *api.Info `json:"live,omitempty"`
	// LiveError tells why Live is missing of a machine that runs.
	LiveError string `json:"live_error,omitempty"`
}

// inspectPatience is how long a process may take to tell of itself; its guest's agent
// has two seconds of that.
const inspectPatience = 4 * time.Second

// Inspect tells all that is known of a machine. One whose process does not answer is
// told of nevertheless.
func (f *Fleet) Inspect(ctx context.Context, ref string) (*Details, error) {
	m, err := f.Get(ref)
	if err != nil {
		return nil, err
	}
	d := &Details{Machine: m, Dir: f.Dirs.VMDir(m.ID), Control: f.Dirs.API(m.ID)}
	if !alive(m.Status) {
		return d, nil
	}
	ctx, cancel := context.WithTimeout(ctx, inspectPatience)
	defer cancel()
	info, err := f.Client(m.ID).Info(ctx)
	if err != nil {
		d.LiveError = m.failed(err).Error()
		return d, nil
	}
	d.Live = info
	return d, nil
}

// awaitPoll is how often AwaitStage looks.
const awaitPoll = 50 * time.Millisecond

// AwaitStage waits until a machine's guest has come as far as a stage: its agent
// answers, its ssh server does, or its cloud-init is done. The error says how far it came.
func (f *Fleet) AwaitStage(ctx context.Context, ref string, stage state.Stage, limit time.Duration) error {
	record, err := f.Dirs.FindVM(ref)
	if err != nil {
		return err
	}
	if stage == StageCloudInit {
		return f.awaitCloudInit(ctx, record, limit)
	}
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	for {
		reached, err := f.reached(ctx, record.ID, stage)
		if reached || err != nil {
			return err
		}
		select {
		case <-ctx.Done():
			return f.NotUp(record.ID, fmt.Errorf("%s: the guest is not up after %s", record.Name, limit))
		case <-time.After(awaitPoll):
		}
	}
}

func (f *Fleet) reached(ctx context.Context, id string, stage state.Stage) (bool, error) {
	m, err := f.Get(id)
	if err != nil {
		return false, err
	}
	if !alive(m.Status) && !m.startsAgain() {
		return false, f.NotUp(id, fmt.Errorf("%s: the machine ended before its guest was up: %s", m.Name, m.Reason))
	}
	if stage != StageSSH {
		return m.Stage == stage || stage == state.StageKernel && m.Stage != "", nil
	}
	conn, err := f.Connect(ctx, id, sshPort)
	if err != nil {
		return false, nil
	}
	defer conn.Close()
	return greets(ctx, conn), nil
}
