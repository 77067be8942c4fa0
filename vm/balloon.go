package vm

import (
	"context"
	"errors"

	"github.com/gureum/gureum/guest/memory"
	"github.com/gureum/gureum/virtio"
	"github.com/gureum/gureum/virtio/balloon"
)

// Balloon is the device that returns the guest's memory to the host: what the
// guest has free by itself, and what Size or SetBalloon take from it. Every machine
// has one unless it is Off or its memory is on huge pages, which the host cannot
// have back.
type Balloon struct {
	// Off leaves the device out.
	Off bool
	// Size is how much to take from the guest once it runs, in bytes, a multiple
	// of 4096 below its memory.
	Size uint64
}

func (b *Balloon) check(c *Config) error {
	switch {
	case b.Size == 0:
		return nil
	case b.Off:
		return inputErrorf("balloon of %s: the device is switched off: leave out one of both", FormatSize(b.Size))
	case c.HugePages != memory.PageDefault:
		return inputErrorf("balloon of %s: huge pages cannot be given back to the host: leave out the balloon or the huge pages", FormatSize(b.Size))
	}
	return c.checkBalloonSize(b.Size)
}

func (c *Config) checkBalloonSize(size uint64) error {
	if size%balloon.PageSize != 0 || size >= c.Memory {
		return inputErrorf("balloon of %s: give a multiple of 4 KiB below the guest's memory, %s", FormatSize(size), FormatSize(c.Memory))
	}
	return nil
}

// newBalloon makes the balloon.
func (m *Machine) newBalloon() ([]virtio.Device, error) {
	c := &m.config
	if c.Balloon.Off || c.HugePages != memory.PageDefault {
		return nil, nil
	}
	d, err := balloon.New(balloon.Config{Target: c.Balloon.Size})
	if err != nil {
		return nil, err
	}
	m.balloon = d
	return []virtio.Device{d}, nil
}

var errNoBalloon = errors.New("the machine has no balloon")

// SetBalloon says how much memory to take from the guest, in bytes, a multiple of
// 4096 below the guest's memory. The guest gives it in its own time, and takes some
// back when it would run out of memory otherwise; BalloonState tells.
func (m *Machine) SetBalloon(size uint64) error {
	if m.balloon == nil {
		return errNoBalloon
	}
	if err := m.config.checkBalloonSize(size); err != nil {
		return err
	}
	return m.balloon.SetTarget(size)
}

// BalloonState is what a balloon is doing, all in bytes.
type BalloonState struct {
	// Target is what SetBalloon asked for, Actual what the guest says it gave.
	Target, Actual uint64
	// Inflated and Reported count what went back to the host so far, through the
	// balloon and as free memory. What was used again in between counts again.
	Inflated, Reported uint64
}

// BalloonState is the zero value for a machine without a balloon.
func (m *Machine) BalloonState() BalloonState {
	if m.balloon == nil {
		return BalloonState{}
	}
	s := BalloonState{Target: m.balloon.Target(), Actual: m.balloon.Actual()}
	s.Inflated, s.Reported = m.balloon.Returned()
	return s
}

// BalloonStats asks the guest for its memory statistics and waits for the answer,
// or for the end of ctx.
func (m *Machine) BalloonStats(ctx context.Context) (balloon.Stats, error) {
	if m.balloon == nil {
		return balloon.Stats{}, errNoBalloon
	}
	return m.balloon.Stats(ctx)
}
