package balloon

import (
	"encoding/binary"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"

	"github.com/gureum/gureum/guest/memory"
	"github.com/gureum/gureum/virtio"
	"github.com/gureum/gureum/virtio/queue"
)

// PageSize is the balloon's unit in bytes, whatever the guest's pages are
// (section 5.5.6).
const PageSize = 4096

// Bit numbers of the device's features (section 5.5.3). VIRTIO_BALLOON_F_PAGE_POISON
// is not offered: a guest that relies on its free pages being zero then reports
// none. VIRTIO_BALLOON_F_MUST_TELL_HOST would gain nothing, as a page comes back by
// being touched.
const (
	FeatureStats        = 1 // VIRTIO_BALLOON_F_STATS_VQ
	FeatureDeflateOnOOM = 2 // VIRTIO_BALLOON_F_DEFLATE_ON_OOM

	FeatureReporting = 5 // VIRTIO_BALLOON_F_PAGE_REPORTING
)

// Queues (section 5.5.2).
const (
	queueInflate = iota
	queueDeflate
	queueStats
	queueHint
	queueReporting
	numQueues
)

// queueSize must be 32 at least: Linux reports that many ranges at a time
// (PAGE_REPORTING_CAPACITY) and gives up the whole device otherwise.
const queueSize = 128

// Offsets in the configuration space (section 5.5.4).
const (
	configNumPages = 0
	configActual   = 4
	configSize     = 16
)

// Config says how a device behaves.
type Config struct {
	// Target is how much the balloon shall take from the guest at first, in bytes,
	// a multiple of PageSize.
	Target uint64
	// NoReporting leaves free page reporting out.
	NoReporting bool
	// KeepOnOOM leaves out VIRTIO_BALLOON_F_DEFLATE_ON_OOM: a guest that runs out
	// of memory then kills processes before it takes memory from the balloon.
	KeepOnOOM bool
}

// Device is a balloon. It implements virtio.Device.
type Device struct {
	features uint64
	target   atomic.Uint32 // in pages
	actual   atomic.Uint32 // in pages, as the driver says
	returned atomic.Uint64 // bytes that free page reporting gave back
	inflated atomic.Uint64 // bytes that the balloon gave back
	failures atomic.Uint64 // discards that the host refused

	mu   sync.Mutex // guards what follows
	irq  virtio.Interrupt
	run  *running
	last Stats // the newest statistics
}

// running is what exists while the device is active.
type running struct {
	device *Device
	memory *memory.Memory
	queues []*queue.Queue
	stats  *queue.Queue // one of queues, or nil
	work   sync.WaitGroup
	asked  atomic.Bool   // somebody waits for statistics
	fresh  chan struct{} // closed and renewed when there are new ones, under Device.mu
}

// New makes a device.
func New(c Config) (*Device, error) {
	d := &Device{features: 1 << FeatureStats}
	if !c.NoReporting {
		d.features |= 1 << FeatureReporting
	}
	if !c.KeepOnOOM {
		d.features |= 1 << FeatureDeflateOnOOM
	}
	return d, d.SetTarget(c.Target)
}

// Type implements virtio.Device.
func (d *Device) Type() uint32 { return virtio.TypeBalloon }

// Features implements virtio.Device.
func (d *Device) Features() uint64 { return d.features }

// QueueSizes implements virtio.Device.
func (d *Device) QueueSizes() []uint16 {
	return []uint16{queueSize, queueSize, queueSize, queueSize, queueSize}
}

// ReadConfig implements virtio.Device.
func (d *Device) ReadConfig(offset uint64, data []byte) {
	var c [configSize]byte
	binary.LittleEndian.PutUint32(c[configNumPages:], d.target.Load())
	binary.LittleEndian.PutUint32(c[configActual:], d.actual.Load())
	clear(data)
	if offset < configSize {
		copy(data, c[offset:])
	}
}

// WriteConfig implements virtio.Device: the driver says how many pages are in the
// balloon.
func (d *Device) WriteConfig(offset uint64, data []byte) {
	if offset == configActual && len(data) == 4 {
		d.actual.Store(binary.LittleEndian.Uint32(data))
	}
}

// SetTarget says how much the balloon shall take from the guest, in bytes, a
// multiple of PageSize. The guest gets there in its own time, or never; see Actual.
func (d *Device) SetTarget(bytes uint64) error {
	pages := bytes / PageSize
	if bytes%PageSize != 0 || pages > 1<<32-1 {
		return fmt.Errorf("balloon of %d bytes: give a multiple of %d below 16 TiB", bytes, PageSize)
	}
	d.target.Store(uint32(pages))
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.irq != nil {
		d.irq.Config()
	}
	return nil
}

// Target is what SetTarget said, in bytes.
func (d *Device) Target() uint64 { return PageSize * uint64(d.target.Load()) }

// Actual is how much the balloon holds by what the guest says, in bytes.
func (d *Device) Actual() uint64 { return PageSize * uint64(d.actual.Load()) }

// Returned is how much memory has been given back to the host since the device was
// made, in bytes: by the balloon, and by free page reporting. Memory that was
// used again in between counts again.
func (d *Device) Returned() (balloon, reporting uint64) {
	return d.inflated.Load(), d.returned.Load()
}

// Failures counts ranges that the host refused to take back.
func (d *Device) Failures() uint64 { return d.failures.Load() }

var errNotActive = errors.New("the guest has no driver for its balloon")

// Activate implements virtio.Device.
func (d *Device) Activate(a virtio.Activation) error {
	r := &running{device: d, memory: a.Memory, queues: a.Queues, fresh: make(chan struct{})}
	stats, reporting := roles(&a)
	r.stats = stats
	d.mu.Lock()
	d.run, d.irq = r, a.Interrupt
	d.mu.Unlock()
	r.serve(a.Queues[queueInflate], newInflater(r).handle)
	r.serve(a.Queues[queueDeflate], deflate)
	r.serve(reporting, r.report)
	if stats != nil {
		r.work.Go((&statsWorker{running: r}).serve)
	}
	return nil
}

// roles finds the queues for statistics and for reporting. Linux before 6.11, and
// others with it, number only the queues of features that were negotiated; by the
// specification the numbers are fixed. A queue in between that is not used is not
// enabled, so the two can be told apart.
func roles(a *virtio.Activation) (stats, reporting *queue.Queue) {
	rest := a.Queues[queueStats:]
	if a.Has(FeatureStats) {
		stats, rest = rest[0], rest[1:]
	}
	if !a.Has(FeatureReporting) {
		return stats, nil
	}
	for _, q := range rest {
		if q != nil {
			reporting = q
		}
	}
	return stats, reporting
}

func (r *running) serve(q *queue.Queue, handle func(*queue.Chain) (uint32, error)) {
	if q != nil {
		r.work.Go(func() { q.Serve(handle) })
	}
}

// Reset implements virtio.Device.
func (d *Device) Reset() {
	d.mu.Lock()
	r := d.run
	d.run, d.irq = nil, nil
	d.mu.Unlock()
	for _, q := range r.queues {
		if q != nil {
			q.Stop()
		}
	}
	r.work.Wait()
	d.actual.Store(0)
	d.mu.Lock()
	close(r.fresh)
	d.mu.Unlock()
}

// Close implements virtio.Device.
func (d *Device) Close() error { return nil }
