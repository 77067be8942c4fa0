package blk

import (
	"errors"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"

	"github.com/gureum/gureum/virtio/queue"
)

// maxBatch is the number of requests that a lane takes before it looks at what is
// done and tells the driver.
const maxBatch = 64

var errNoStatus = errors.New("a request without room for its status")

// lane is one queue and the goroutine that owns it. All but the fields at the end
// belong to that goroutine.
type lane struct {
	d      *Device
	run    *running
	queue  *queue.Queue
	ring   *ring      // nil without io_uring
	slots  []*request // made when they are needed, at most the queue's size
	free   *request
	held   *request // taken, but throttled
	flight int      // taken and not given back
	broken bool
	exec   executor
	reads  governor
	writes governor
	timer  *time.Timer // ends the wait of held

	gone     chan struct{} // closed when the owner has ended
	stopping atomic.Bool   // the device is being reset
	asleep   atomic.Bool   // the owner waits, or is about to

	mu      sync.Mutex
	arrived sync.Cond // something was added to finished; only for drain
	first   *request  // finished by the pool, in order
	last    *request
	ended   bool // nobody may kick the queue any more
}

func newLane(run *running, q *queue.Queue) (*lane, error) {
	l := &lane{d: run.d, run: run, queue: q, gone: make(chan struct{})}
	l.arrived.L = &l.mu
	if !l.d.useRing {
		return l, nil
	}
	var err error
	if l.ring, err = newRing(l); err != nil && l.d.engine == EngineIOURing {
		return nil, err
	} else if err != nil {
		l.d.log.Warn("no io_uring for this queue: its requests go through worker threads", "disk", l.d.name, "queue", q.Index(), "err", err)
	}
	return l, nil
}

// stop tells the owner to end.
func (l *lane) stop() {
	l.stopping.Store(true)
	l.queue.Stop()
}

// serve is the owner's loop.
func (l *lane) serve() {
	defer l.end()
	for {
		l.wake()
		l.take()
		l.submit()
		l.reap()
		l.submit() // what reap went on with
		if !l.broken {
			l.queue.Flush()
		}
		if l.busy() {
			continue
		}
		if l.queue.Wait() != nil {
			return
		}
	}
}

// wake stops completions from kicking: the owner looks.
func (l *lane) wake() {
	l.asleep.Store(false)
	if l.ring != nil {
		l.ring.ring.Quiet(true)
	}
}

// busy prepares for a wait and tells whether there is something to do instead.
// Whoever adds something afterwards kicks.
func (l *lane) busy() bool {
	if l.stopping.Load() {
		return false // Wait says so
	}
	l.asleep.Store(true)
	if l.ring != nil {
		l.ring.ring.Quiet(false)
		if l.ring.ring.Ready() {
			return true
		}
	}
	// Without a slot, or throttled, requests stay where they are until a
	// completion or the timer kicks.
	if l.takes() && l.queue.EnableKicks() {
		return true
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.first != nil
}

// takes tells whether another request could be taken.
func (l *lane) takes() bool {
	return !l.broken && l.held == nil && (l.free != nil || len(l.slots) < int(l.queue.Size()))
}

// take takes requests and starts them.
func (l *lane) take() {
	if l.held != nil && !l.release() {
		return
	}
	if !l.takes() {
		return
	}
	l.queue.DisableKicks()
	for n := 0; n < maxBatch && l.takes(); n++ {
		r := l.slot()
		ok, err := l.queue.Next(&r.chain)
		if ok && r.chain.WriteLen == 0 {
			err = l.queue.Fail(errNoStatus)
		}
		if err != nil {
			l.broken = true
		}
		if !ok || err != nil {
			l.recycle(r)
			return
		}
		l.flight++
		// The limits as they are behind Next: the disk may have grown, and the driver
		// know it, since the last request.
		r.parse(&r.chain, l.run.limits())
		l.admit(r)
	}
}

// slot finds a free slot or makes one. takes was true.
func (l *lane) slot() *request {
	r := l.free
	if r == nil {
		r = &request{lane: l, index: len(l.slots)}
		l.slots = append(l.slots, r)
		return r
	}
	l.free, r.next = r.next, nil
	r.done, r.err, r.unsynced = 0, nil, false
	return r
}

func (l *lane) recycle(r *request) { r.next, l.free = l.free, r }

// begin carries out a request that was admitted: at once, or it is started.
func (l *lane) begin(r *request) {
	switch r.op {
	case opRefused:
		l.finish(r)
		return
	case opID:
		r.done = int64(r.chain.WriteAt(l.d.id[:min(r.size, MaxID)], 0))
		l.finish(r)
		return
	case opRead, opWrite:
		if r.op == opWrite {
			r.err = l.d.grow(r.offset + r.size)
		}
		if r.err != nil || r.size == 0 || l.inline(r) {
			l.finish(r)
			return
		}
	}
	l.start(r)
}

// start hands a request to the ring or the pool.
func (l *lane) start(r *request) {
	if l.ring == nil || !l.ring.start(r) {
		l.run.pool.start(r)
	}
}

func (l *lane) submit() {
	if l.ring != nil {
		l.ring.submit()
	}
}

// reap takes back what ring and pool have done.
func (l *lane) reap() {
	l.mu.Lock()
	r := l.first
	l.first, l.last = nil, nil
	l.mu.Unlock()
	for r != nil {
		next := r.next
		r.next = nil
		l.finish(r)
		r = next
	}
	if l.ring != nil {
		l.ring.reap()
	}
}

// done is how the pool gives a request back.
func (l *lane) done(r *request) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.last == nil {
		l.first = r
	} else {
		l.last.next = r
	}
	l.last = r
	l.arrived.Signal()
	if l.asleep.CompareAndSwap(true, false) {
		l.queue.Kick()
	}
}

// finish answers a request and gives it back to the driver.
func (l *lane) finish(r *request) {
	l.flight--
	if !l.stopping.Load() && !l.broken {
		l.answer(r)
	}
	l.recycle(r)
}

func (l *lane) answer(r *request) {
	status := byte(statusOK)
	switch {
	case r.op == opRefused:
		status = r.status
		l.d.stats.refused.Add(1)
	case r.err != nil:
		status = statusIOErr
		l.d.report(r.op, r.offset, r.err)
	default:
		l.d.stats.count(r)
	}
	last := r.chain.Writable[len(r.chain.Writable)-1]
	last[len(last)-1] = status
	// The driver may rely on as many bytes from the first as are told. A failed read
	// has written the last byte for sure, but maybe not those before it.
	written := uint32(r.chain.WriteLen)
	if status != statusOK && written > 1 || r.op == opID && r.done < r.size {
		written = uint32(r.done)
	}
	l.queue.Put(r.chain.Head, written)
}

// end waits for what is in flight. Then nothing touches guest memory or the queue.
func (l *lane) end() {
	l.stopping.Store(true) // also when the queue's kick failed
	if l.held != nil {
		l.finish(l.held)
		l.held = nil
	}
	if l.ring != nil {
		l.ring.drain()
	}
	for l.flight > 0 {
		l.mu.Lock()
		for l.first == nil {
			l.arrived.Wait()
		}
		l.mu.Unlock()
		l.reap()
	}
	l.mu.Lock()
	l.ended = true
	l.mu.Unlock()
	if l.timer != nil {
		l.timer.Stop()
	}
	if l.ring != nil {
		_ = l.ring.ring.Close()
	}
	close(l.gone)
}

// kick wakes the owner, unless it has ended.
func (l *lane) kick() {
	l.mu.Lock()
	defer l.mu.Unlock()
	if !l.ended {
		l.queue.Kick()
	}
}

// through tells that the guest sees no write cache: a write is stable when it is
// answered (section 5.2.6.2).
func (l *lane) through() bool { return l.run.through() }

// writeFlags are those of pwritev2.
func (l *lane) writeFlags() int {
	if l.through() {
		return unix.RWF_DSYNC
	}
	return 0
}
