package fleet

import (
	"context"
	"errors"
	"fmt"
	"time"

	"golang.org/x/sys/unix"

	"github.com/gureum/gureum/fleet/api"
	"github.com/gureum/gureum/fleet/state"
)

// DefaultStop is how long a guest may take to switch itself off when nobody says.
const DefaultStop = 90 * time.Second

// patience is how long a machine's process may take to answer or to end beyond what it
// was given. A healthy one needs milliseconds; a host may be very busy.
const patience = 10 * time.Second

// Stop asks a machine's guest to switch itself off and waits for its end. A guest that
// takes longer than timeout is killed. One that does not run is left alone.
func (f *Fleet) Stop(ctx context.Context, ref string, timeout time.Duration) error {
	return f.finish(ctx, ref, func(id string) error {
		err := f.request(ctx, id, func(ctx context.Context, c *api.Client) error { return c.Stop(ctx, timeout) })
		if err != nil {
			return f.end(ctx, id)
		}
		if err := f.awaitEnd(ctx, id, timeout+patience); err != nil {
			return f.end(ctx, id)
		}
		return nil
	})
}

// Kill ends a machine as if its power were cut.
func (f *Fleet) Kill(ctx context.Context, ref string) error {
	return f.finish(ctx, ref, func(id string) error { return f.end(ctx, id) })
}

// finish ends a machine that the user no longer wants to run. A full disk does not keep it
// running.
func (f *Fleet) finish(ctx context.Context, ref string, end func(id string) error) error {
	return f.withMachine(ctx, ref, func(m *Machine) error {
		// First, so that nobody starts it again meanwhile.
		unsaved := f.wantStopped(m)
		if unsaved != nil && !errors.Is(unsaved, unix.ENOSPC) && !errors.Is(unsaved, unix.EDQUOT) {
			return unsaved
		}
		if alive(m.Status) {
			if err := end(m.ID); err != nil {
				return fmt.Errorf("%s: %w", m.Name, err)
			}
		}
		if unsaved != nil {
			if err := f.Dirs.PutVM(m.VM); err != nil {
				return errors.Join(fmt.Errorf("%s: it has ended, but may be started again, as this cannot be written down: %w", m.Name, err),
					f.release(ctx, m.VM))
			}
		}
		return f.release(ctx, m.VM)
	})
}

func (f *Fleet) wantStopped(m *Machine) error {
	if m.Want == state.WantStopped {
		return nil
	}
	m.Want = state.WantStopped
	return f.Dirs.PutVM(m.VM)
}

// request makes a call that a healthy process answers at once.
func (f *Fleet) request(ctx context.Context, id string, call func(context.Context, *api.Client) error) error {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	return call(ctx, f.Client(id))
}

// errNoSocket is for a process that lives and has no socket.
var errNoSocket = errors.New("its process does not answer, and cannot be found")

// end ends a machine's process. One that has no socket is about to have one, or about to
// end, so it is given a moment.
func (f *Fleet) end(ctx context.Context, id string) error {
	limit := time.Now().Add(patience)
	for {
		err := f.endOnce(ctx, id)
		if !errors.Is(err, errNoSocket) || time.Now().After(limit) {
			return err
		}
		select {
		case <-ctx.Done():
			return errors.Join(context.Cause(ctx), err)
		case <-time.After(pollEnd):
		}
	}
}

// endOnce ends a process by its own doing, so that its disks are closed, else by SIGKILL.
func (f *Fleet) endOnce(ctx context.Context, id string) error {
	pid, pidErr := f.PID(id)
	err := f.request(ctx, id, func(ctx context.Context, c *api.Client) error { return c.Kill(ctx) })
	if err == nil {
		err = f.awaitEnd(ctx, id, patience)
	}
	if err == nil {
		return nil
	}
	if held, heldErr := state.Held(f.Dirs.Alive(id)); heldErr == nil && !held {
		return nil
	}
	if pidErr != nil {
		return fmt.Errorf("%w: %w", errNoSocket, errors.Join(err, pidErr))
	}
	if err := killHolder(f.Dirs.Alive(id), pid); err != nil {
		return err
	}
	return f.awaitEnd(ctx, id, patience)
}

// pollEnd is how often the end of a process is looked for.
const pollEnd = 10 * time.Millisecond

// awaitEnd waits for the end of a machine's process.
func (f *Fleet) awaitEnd(ctx context.Context, id string, limit time.Duration) error {
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	for {
		held, err := state.Held(f.Dirs.Alive(id))
		if err != nil || !held {
			return err
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("its process has not ended: %w", context.Cause(ctx))
		case <-time.After(pollEnd):
		}
	}
}

// pollWait is how often Wait looks, which may be for days.
const pollWait = 50 * time.Millisecond

// Wait waits for a machine's end and tells how it came. One that does not run is told
// of at once.
func (f *Fleet) Wait(ctx context.Context, ref string) (state.Status, error) {
	record, err := f.Dirs.FindVM(ref)
	if err != nil {
		return state.Status{}, err
	}
	for {
		held, err := state.Held(f.Dirs.Alive(record.ID))
		if err != nil {
			return state.Status{}, err
		}
		if !held {
			return f.Dirs.Status(record.ID)
		}
		select {
		case <-ctx.Done():
			return state.Status{}, context.Cause(ctx)
		case <-time.After(pollWait):
		}
	}
}
