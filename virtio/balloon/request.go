package balloon

import (
	"encoding/binary"

	"github.com/gureum/gureum/virtio/queue"
)

// MaxPages is how many pages of one request are taken; the rest of a longer one is
// as if the balloon held it without the host having it back. Linux sends 256.
const MaxPages = 64 << 10

// chunkPages is how many page numbers are copied out of guest memory at a time.
const chunkPages = 256

// pageRun is a run of pages next to each other.
type pageRun struct{ first, count uint64 }

// pageRuns cuts little-endian page numbers (section 5.5.6) into runs, up or down, and
// calls f for each. Drivers allocate pages one by one, often neighbours.
func pageRuns(numbers []byte, f func(pageRun)) {
	var run pageRun
	for ; len(numbers) >= 4; numbers = numbers[4:] {
		n := uint64(binary.LittleEndian.Uint32(numbers))
		switch {
		case run.count > 0 && n == run.first+run.count:
			run.count++
		case run.count > 0 && n+1 == run.first:
			run.first--
			run.count++
		default:
			if run.count > 0 {
				f(run)
			}
			run = pageRun{n, 1}
		}
	}
	if run.count > 0 {
		f(run)
	}
}

// inflater answers the requests of the inflate queue, on its goroutine.
type inflater struct {
	running *running
	discard func(pageRun)
	chunk   [4 * chunkPages]byte
}

func newInflater(r *running) *inflater {
	i := &inflater{running: r}
	i.discard = i.discardRun
	return i
}

// handle takes the pages of one request away. Pages that do not exist are skipped:
// the guest gave us nothing, and has nothing less.
func (i *inflater) handle(c *queue.Chain) (uint32, error) {
	size := min(c.ReadLen/4, MaxPages) * 4
	for off := uint64(0); off < size; {
		n := c.ReadAt(i.chunk[:min(size-off, uint64(len(i.chunk)))], off)
		pageRuns(i.chunk[:n], i.discard)
		off += uint64(n)
	}
	return 0, nil
}

func (i *inflater) discardRun(run pageRun) {
	d, size := i.running.device, run.count*PageSize
	if i.running.memory.Discard(run.first*PageSize, size) != nil {
		d.failures.Add(1)
		return
	}
	d.inflated.Add(size)
}

// deflate answers a request of the deflate queue: the guest has the pages back
// already, and the host finds memory for them when they are touched.
func deflate(*queue.Chain) (uint32, error) { return 0, nil }

// report answers one request of the reporting queue (section 5.5.6.7): its buffers
// are the free memory itself.
func (r *running) report(c *queue.Chain) (uint32, error) {
	for _, view := range c.Writable {
		if r.memory.DiscardSlice(view) != nil {
			r.device.failures.Add(1)
			continue
		}
		r.device.returned.Add(uint64(len(view)))
	}
	return 0, nil
}
