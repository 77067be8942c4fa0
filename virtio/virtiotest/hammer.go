package virtiotest

import (
	"log/slog"
	"math/bits"
	"math/rand/v2"
	"os"
	"runtime/debug"
	"slices"
	"strconv"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/gureum/gureum/virtio"
	"github.com/gureum/gureum/virtio/queue"
)

// HammerFactor is the environment variable that multiplies the requests of each
// Hammer: 'GUREUM_HAMMER=100 go test -run Ham ./virtio/...' is a run of minutes.
const HammerFactor = "GUREUM_HAMMER"

// Hammer drives a device as a hostile guest would, until it has made n requests
// available. Each is mutated in some way: contents, lengths, how it is cut into
// descriptors, where buffers lie. Most keep the rules of the ring, so that the
// device gets them; one in some hundred breaks one of them (see breakRule). All the
// while the driver changes descriptors, rings and buffers that are in use, writes
// registers and configuration at any time, and resets the device or a ring in the
// midst of its work, while another virtual CPU reads whatever can be read.
//
// seeds are bytes that requests begin with, so that the device's parser gets past
// its first check; they are mutated as well. newDevice is called once.
//
// What must hold, and fails the test or kills it:
//
//   - the device does not panic, and races with nothing (with -race);
//   - it gives back only chains that it has, each once;
//   - it comes to rest within Timeout when reset, and leaves guest memory alone from
//     then on: RAM is without access for a moment after some resets;
//   - it touches nothing outside RAM, which has guard pages on both sides;
//   - it does not hold more memory for a guest than maxHeap, and leaves no goroutine;
//   - it starts again when the driver keeps the rules.
//
// The same seed does the same things, as far as the device's goroutines allow.
func Hammer(t *testing.T, newDevice func() virtio.Device, n int, seed uint64, seeds ...[]byte) {
	t.Helper()
	if f, err := strconv.Atoi(os.Getenv(HammerFactor)); err == nil && f > 0 {
		n *= f
	}
	ignore := goleak.IgnoreCurrent()
	d, err := build(newDevice(), slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	d.t = t
	h := &hammer{d: d, rnd: rand.New(rand.NewPCG(seed, 0x6875_7274)), seeds: seeds, heap: heapBytes(), timer: time.NewTimer(time.Hour)}
	queues := d.Core.NumQueues()
	h.styles, h.errors = make([][numStyles]score, queues), make([]uint64, queues)
	h.patience = slices.Repeat([]time.Duration{maxPatience}, queues)
	start := time.Now()
	h.run(n)
	var c queue.Counters
	for _, q := range d.Core.Counters() {
		c = c.Plus(q)
	}
	if c.Faults > 0 {
		t.Errorf("the device gave back %d chains that it did not have, or with more written than they can take", c.Faults)
	}
	if c.Chains == 0 {
		t.Error("the hammer never hit: no request was taken")
	}
	t.Logf("seed %d: %d requests, %d taken, %d queues broken, %d starts, %s", seed, h.requests, c.Chains, c.Errors, h.starts, time.Since(start).Round(time.Millisecond))
	d.Close()
	if err := goleak.Find(ignore); err != nil {
		t.Error(err)
	}
}

type hammer struct {
	d     *Driver
	rnd   *rand.Rand
	seeds [][]byte
	rings []*ring
	timer *time.Timer
	heap  uint64 // in use at the start

	styles   [][numStyles]score // of each queue
	errors   []uint64           // of each queue, as last seen
	patience []time.Duration    // of each queue

	requests, starts int
	stuck            int          // rounds in which no ring had room
	lost             bool         // a ring holds what the driver cannot make sense of
	parts            []Descriptor // of the request in the making
	bytes            []byte       // its contents
}

// run hammers, and sees that the device starts in the end.
func (h *hammer) run(n int) {
	stop := make(chan struct{})
	var reader sync.WaitGroup
	seed := h.rnd.Uint64()
	reader.Go(func() { h.readAlong(stop, seed) })
	h.restart()
	for h.requests < n {
		h.round()
	}
	h.reset()
	close(stop)
	reader.Wait()
	h.d.Start(AllFeatures)
	h.rest("the last reset", h.d.Reset)
	h.seeAtRest()
}

// readAlong is another virtual CPU, which looks at all registers.
func (h *hammer) readAlong(stop <-chan struct{}, seed uint64) {
	rnd := rand.New(rand.NewPCG(seed, 1))
	c, b := h.d.Core, make([]byte, 8)
	for {
		select {
		case <-stop:
			return
		case <-time.After(100 * time.Microsecond):
		}
		for range 8 {
			c.ReadConfig(uint64(rnd.IntN(128)), b[:1+rnd.IntN(8)])
		}
		c.ReadConfig(rnd.Uint64(), b)
		_, _, _ = c.Status(), c.Generation(), c.DeviceFeatures(uint32(rnd.IntN(3)))
		_, _, _ = c.Queue(rnd.IntN(c.NumQueues()+1)), c.DriverFeatures(0), c.Counters()
	}
}

// round makes some requests on one queue, does mischief while the device works on
// them, and takes back what comes back.
func (h *hammer) round() {
	if h.lost || h.stuck > 16 || h.rnd.IntN(200) == 0 || h.broken() && h.rnd.IntN(8) != 0 {
		h.reset()
		h.restart()
	}
	r := h.rings[h.rnd.IntN(len(h.rings))]
	if room := len(r.free); room > 0 {
		h.stuck = 0
		for n := 1 + h.rnd.IntN(min(32, room)); n > 0 && len(r.free) > 0; n-- {
			h.request(r)
		}
	} else {
		h.stuck++
	}
	kicked := h.rnd.IntN(16) != 0
	if kicked {
		r.q.Kick()
	}
	for range h.rnd.IntN(4) {
		h.mischief(r)
	}
	if kicked && !h.broken() {
		h.settle(r)
	}
}

func (h *hammer) broken() bool { return h.d.Core.Status()&virtio.StatusNeedsReset != 0 }

// reset brings the device to rest, and at times sees that it is.
func (h *hammer) reset() {
	h.rest("a reset", h.d.Reset)
	if h.rnd.IntN(8) == 0 {
		h.seeAtRest()
	}
}

// seeAtRest sees that a device at rest leaves guest memory alone.
func (h *hammer) seeAtRest() {
	h.d.withoutAccess(func() { time.Sleep(20 * time.Microsecond) })
}

// rest does what must bring the device to rest, and ends the process if it does not.
func (h *hammer) rest(when string, do func()) {
	watchdog := time.AfterFunc(Timeout, func() {
		debug.SetTraceback("all")
		panic("virtiotest: the device does not come to rest at " + when)
	})
	do()
	watchdog.Stop()
}

// restart sets the device up, with features of which some may be missing, and rings
// of any size.
func (h *hammer) restart() {
	h.starts++
	h.lost, h.stuck = false, 0
	if now := heapBytes(); now > h.heap+maxHeap {
		h.d.t.Fatalf("%d MiB of heap are in use, %d MiB when the hammer began", now>>20, h.heap>>20)
	}
	features := h.rnd.Uint64() | h.rnd.Uint64()
	if h.rnd.IntN(4) == 0 {
		features = AllFeatures
	}
	h.judge()
	h.d.Negotiate(features)
	h.rings, h.d.queues = h.rings[:0], h.d.queues[:0]
	base := uint64(ringBase)
	for n := range h.d.Core.NumQueues() {
		size := h.d.Core.Queue(n).MaxSize
		if h.rnd.IntN(4) == 0 {
			size >>= h.rnd.IntN(bits.Len16(size))
		}
		q := newQueue(h.d, n, size, base)
		base = q.end
		q.enable()
		h.d.queues = append(h.d.queues, q)
		h.rings = append(h.rings, h.newRing(q, h.choose(n)))
	}
	if h.rnd.IntN(20) == 0 {
		h.register()
	}
	h.d.Core.SetStatus(h.d.Core.Status() | virtio.StatusDriverOK)
}
