package vm

import (
	"github.com/gureum/gureum/virtio"
	"github.com/gureum/gureum/virtio/ratelimit"
	"github.com/gureum/gureum/virtio/rng"
)

// RNG is the entropy device. Every machine has one unless it is Off.
type RNG struct {
	// Off leaves the device out.
	Off bool
	// Limit bounds what the guest may take; the zero value is 1 MiB a second, which
	// no guest needs and which keeps a greedy one from a host CPU.
	Limit ratelimit.Config
}

const defaultRNGRate = 1 << 20 // bytes a second

// check fills in the default.
func (r *RNG) check() error {
	if r.Limit == (ratelimit.Config{}) {
		r.Limit.Bytes = ratelimit.PerSecond(defaultRNGRate)
	}
	if err := r.Limit.Validate(); err != nil {
		return inputErrorf("rng: %w", err)
	}
	return nil
}

// newRNG makes the entropy device.
func (m *Machine) newRNG() ([]virtio.Device, error) {
	c := m.config.RNG
	if c.Off {
		return nil, nil
	}
	return []virtio.Device{rng.New(rng.Config{Limit: c.Limit})}, nil
}
