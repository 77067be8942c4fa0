package blk

import (
	"runtime"
	"sync"
	"sync/atomic"
)

// maxWorkers is the largest number of requests of one device that wait in threads.
const maxWorkers = 16

// pool carries requests out on goroutines that wait for the disk. They are made
// when they are needed.
type pool struct {
	b    *backend
	jobs chan *request // has room for all requests of all lanes: sending never waits
	idle atomic.Int32  // workers that wait for a job
	made atomic.Int32
	wg   sync.WaitGroup
}

func newPool(b *backend, room int) *pool {
	return &pool{b: b, jobs: make(chan *request, room)}
}

// start takes a request; its lane gets it back by done. It may be called from all
// lanes.
func (p *pool) start(r *request) {
	p.jobs <- r
	if int(p.idle.Load()) >= len(p.jobs) {
		return
	}
	if p.made.Add(1) > maxWorkers {
		p.made.Add(-1)
		return
	}
	p.wg.Add(1)
	go p.work()
}

func (p *pool) work() {
	defer p.wg.Done()
	// The thread is this worker's own. The kernel ends a request of a ring on the
	// thread that submitted it, so a lane's thread must not be lent to a call that
	// waits long, such as a discard. It goes away with the worker.
	runtime.LockOSThread()
	var x executor
	for {
		p.idle.Add(1)
		r, ok := <-p.jobs
		p.idle.Add(-1)
		if !ok {
			return
		}
		if r.lane.stopping.Load() {
			r.err = errStopped
		} else {
			r.err = x.run(p.b, r)
		}
		r.lane.done(r)
	}
}

// stop ends the workers. All lanes have ended, so there are no jobs.
func (p *pool) stop() {
	close(p.jobs)
	p.wg.Wait()
}
