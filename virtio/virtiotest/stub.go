package virtiotest

import (
	"sync/atomic"

	"github.com/gureum/gureum/virtio"
)

// Stub is a device that does nothing and counts what is asked of it, for tests of
// transports. It has queues of 64 and 16 entries.
type Stub struct {
	Config                      [16]byte // what the driver may read and write
	Activations, Resets, Closes atomic.Int32
	Active                      virtio.Activation // the last one
}

// StubFeatures are the features that a Stub offers.
const StubFeatures = 1<<3 | 1<<37

// Type implements virtio.Device.
func (s *Stub) Type() uint32 { return virtio.TypeBlock }

// Features implements virtio.Device.
func (s *Stub) Features() uint64 { return StubFeatures }

// QueueSizes implements virtio.Device.
func (s *Stub) QueueSizes() []uint16 { return []uint16{64, 16} }

// Activate implements virtio.Device.
func (s *Stub) Activate(a virtio.Activation) error {
	s.Activations.Add(1)
	s.Active = a
	return nil
}

// Reset implements virtio.Device.
func (s *Stub) Reset() { s.Resets.Add(1) }

// Close implements virtio.Device.
func (s *Stub) Close() error {
	s.Closes.Add(1)
	return nil
}

// ReadConfig implements virtio.Device.
func (s *Stub) ReadConfig(offset uint64, data []byte) {
	clear(data)
	if offset < uint64(len(s.Config)) {
		copy(data, s.Config[offset:])
	}
}

// WriteConfig implements virtio.Device.
func (s *Stub) WriteConfig(offset uint64, data []byte) {
	if offset < uint64(len(s.Config)) {
		copy(s.Config[offset:], data)
	}
}
