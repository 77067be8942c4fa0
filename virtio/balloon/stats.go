package balloon

import (
	"context"
	"encoding/binary"
	"time"

	"github.com/gureum/gureum/virtio/queue"
)

// Stat names a statistic of the guest (section 5.5.6.3; from HugePageAllocations
// on, include/uapi/linux/virtio_balloon.h).
type Stat uint16

// The statistics. Amounts of memory are in bytes, all else counts events since the
// guest's start.
const (
	SwapIn              Stat = iota // memory read from swap
	SwapOut                         // memory written to swap
	MajorFaults                     // page faults that needed I/O
	MinorFaults                     // page faults that did not
	FreeMemory                      // memory that nothing uses
	TotalMemory                     // memory that the guest's kernel has
	AvailableMemory                 // memory that new programs could get without swap
	DiskCaches                      // memory that could be had by dropping caches
	HugePageAllocations             // successful ones
	HugePageFailures                // failed ones
	OOMKills
	AllocationStalls
	AsyncScanned    // memory looked at by background reclaim
	DirectScanned   // memory looked at by allocations
	AsyncReclaimed  // memory found by background reclaim
	DirectReclaimed // memory found by allocations
	numStats
)

var statNames = [numStats]string{
	"swap-in", "swap-out", "major-faults", "minor-faults", "free", "total", "available", "caches",
	"hugepage-allocations", "hugepage-failures", "oom-kills", "allocation-stalls",
	"async-scanned", "direct-scanned", "async-reclaimed", "direct-reclaimed",
}

// String is a word for people and programs.
func (s Stat) String() string {
	if s >= numStats {
		return "unknown"
	}
	return statNames[s]
}

// Stats is what the guest said of its memory at one moment.
type Stats struct {
	// Time is when it said so; the zero time if it never did.
	Time   time.Time
	known  uint32
	values [numStats]uint64
}

// Get is one statistic, and whether the guest tells it.
func (s *Stats) Get(which Stat) (uint64, bool) {
	if which >= numStats {
		return 0, false
	}
	return s.values[which], s.known>>which&1 != 0
}

// All calls yield for each statistic that the guest tells, in ascending order.
func (s *Stats) All(yield func(Stat, uint64) bool) {
	for i := range numStats {
		if v, ok := s.Get(i); ok && !yield(i, v) {
			return
		}
	}
}

const (
	statSize   = 10 // tag and value of a struct virtio_balloon_stat
	maxEntries = 64 // of one buffer that are looked at
)

// parseStats reads an array of struct virtio_balloon_stat (section 5.5.6.3).
// Unknown tags are skipped, as is a value of all ones: so Linux says "not known".
func parseStats(c *queue.Chain, buf []byte) Stats {
	s := Stats{Time: time.Now()}
	b := buf[:c.Read(buf)]
	for ; len(b) >= statSize; b = b[statSize:] {
		tag, v := binary.LittleEndian.Uint16(b), binary.LittleEndian.Uint64(b[2:])
		if Stat(tag) < numStats && v != ^uint64(0) {
			s.values[tag] = v
			s.known |= 1 << tag
		}
	}
	return s
}

// statsWorker owns the statistics queue. The driver's buffer stays with the device;
// giving it back asks the driver to fill it anew (section 5.5.6.3).
type statsWorker struct {
	running *running
	chain   queue.Chain
	buf     [statSize * maxEntries]byte
	held    bool // chain.Head is ours
}

func (w *statsWorker) serve() {
	for {
		w.running.stats.DisableKicks()
		for w.take() {
		}
		if w.held && w.running.asked.Swap(false) {
			w.giveBack()
		}
		if w.running.stats.EnableKicks() && w.take() {
			continue
		}
		if w.running.stats.Wait() != nil {
			return
		}
	}
}

// take takes one buffer of statistics.
func (w *statsWorker) take() bool {
	head, held := w.chain.Head, w.held
	ok, err := w.running.stats.Next(&w.chain)
	if err != nil || !ok {
		w.chain.Head = head
		return false
	}
	if held { // one is enough
		w.running.stats.Put(head, 0)
		w.running.stats.Flush()
	}
	w.held = true
	w.running.publish(parseStats(&w.chain, w.buf[:]))
	return true
}

func (w *statsWorker) giveBack() {
	w.held = false
	w.running.stats.Put(w.chain.Head, 0)
	w.running.stats.Flush()
}

func (r *running) publish(s Stats) {
	d := r.device
	d.mu.Lock()
	defer d.mu.Unlock()
	d.last = s
	close(r.fresh)
	r.fresh = make(chan struct{})
}

// Latest is what the guest said last, without asking it.
func (d *Device) Latest() Stats {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.last
}

// Stats asks the guest for its statistics and waits for the answer. Without a
// driver that tells them it fails, and after ctx has ended; Latest may still have
// older ones.
func (d *Device) Stats(ctx context.Context) (Stats, error) {
	d.mu.Lock()
	r := d.run
	if r == nil || r.stats == nil {
		d.mu.Unlock()
		return Stats{}, errNotActive
	}
	fresh := r.fresh
	r.asked.Store(true)
	r.stats.Kick() // under the lock, since Reset takes the queue away
	d.mu.Unlock()
	select {
	case <-fresh:
	case <-ctx.Done():
		return Stats{}, ctx.Err()
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.run != r {
		return Stats{}, errNotActive
	}
	return d.last, nil
}
