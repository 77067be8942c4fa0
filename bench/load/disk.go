package load

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"slices"
	"time"

	"golang.org/x/sys/unix"
)

// DiskJob says what requests to make.
type DiskJob struct {
	// Path is a block device or a file.
	Path string
	// Write makes writes instead of reads, Mixed seven reads to three writes, and Random
	// a random order of blocks instead of an ascending one.
	Write, Mixed, Random bool
	// BlockSize of each request in bytes, a multiple of 512.
	BlockSize int
	// Depth is the number of requests under way at a time, for each job.
	Depth int
	// Jobs is how many threads make requests, 0 for one. They share Requests; each goes
	// through the blocks from a place of its own on.
	Jobs int
	// Duration is how long to go on, if Requests is 0.
	Duration time.Duration
	// Requests is how many to make; 0 is as many as there is time for.
	Requests int
	// Buffered goes through the page cache; otherwise O_DIRECT is used.
	Buffered bool
}

// DiskResult is what came of a job.
type DiskResult struct {
	Requests int
	Bytes    int64
	Elapsed  time.Duration
	// Latencies of the requests, from before it is submitted until it is seen to be done,
	// in no order.
	Latencies []time.Duration
}

// String is one line for programs and people to read.
func (r DiskResult) String() string {
	s := r.Elapsed.Seconds()
	return fmt.Sprintf("requests=%d seconds=%.3f iops=%.0f mbps=%.1f", r.Requests, s, float64(r.Requests)/s, float64(r.Bytes)/1e6/s)
}

// Limits of a job.
const (
	maxBlockSize = 64 << 20
	maxDepth     = 1024
	maxJobs      = 64
	alignment    = 4096
)

func (j *DiskJob) check() error {
	switch {
	case j.BlockSize < 512 || j.BlockSize > maxBlockSize || j.BlockSize%512 != 0:
		return fmt.Errorf("block size %d: give a multiple of 512 up to %d", j.BlockSize, maxBlockSize)
	case j.Depth < 1 || j.Depth > maxDepth:
		return fmt.Errorf("depth %d: give a number from 1 to %d", j.Depth, maxDepth)
	case j.Jobs < 0 || j.Jobs > maxJobs:
		return fmt.Errorf("jobs %d: give a number from 1 to %d", j.Jobs, maxJobs)
	case j.Write && j.Mixed:
		return errors.New("give writes or mixed, not both")
	case j.Requests < 0 || j.Requests == 0 && j.Duration <= 0:
		return errors.New("give a number of requests or a duration")
	}
	return nil
}

// RunDisk makes the job's requests by Linux AIO (io_submit(2)), which keeps them
// under way at the same time from one thread a job.
func RunDisk(j DiskJob) (DiskResult, error) {
	if err := j.check(); err != nil {
		return DiskResult{}, err
	}
	flags := os.O_RDONLY
	if j.Write || j.Mixed {
		flags = os.O_RDWR
	}
	if !j.Buffered {
		flags |= unix.O_DIRECT
	}
	f, err := os.OpenFile(j.Path, flags, 0)
	if err != nil {
		return DiskResult{}, err
	}
	defer f.Close()
	size, err := f.Seek(0, 2)
	if err != nil {
		return DiskResult{}, err
	}
	blocks := size / int64(j.BlockSize)
	if blocks < 1 {
		return DiskResult{}, fmt.Errorf("%s: %d bytes are less than one block", j.Path, size)
	}
	return j.run(int(f.Fd()), blocks)
}

// run makes all jobs at the same time.
func (j *DiskJob) run(fd int, blocks int64) (DiskResult, error) {
	jobs := max(j.Jobs, 1)
	workers := make([]*diskWorker, jobs)
	for i := range workers {
		a, err := newAIO(fd, j.BlockSize, j.Depth)
		if err != nil {
			return DiskResult{}, err
		}
		defer a.close()
		workers[i] = &diskWorker{
			DiskJob: j, aio: a, blocks: blocks, at: blocks * int64(i) / int64(jobs), requests: share(j.Requests, jobs, i),
			random: rand.New(rand.NewPCG(1, uint64(i))), // the same blocks each time
			begun:  make([]time.Time, j.Depth),
		}
	}
	started := time.Now()
	ends := make(chan error, jobs)
	for _, w := range workers {
		go func() { ends <- w.run(started) }()
	}
	var errs []error
	for range workers {
		errs = append(errs, <-ends)
	}
	r := DiskResult{Elapsed: time.Since(started)}
	for _, w := range workers {
		r.Latencies = append(r.Latencies, w.latencies...)
	}
	r.Requests = len(r.Latencies)
	r.Bytes = int64(r.Requests) * int64(j.BlockSize)
	return r, errors.Join(errs...)
}

// share is part i of a whole that is divided into some parts.
func share(whole, parts, i int) int { return whole*(i+1)/parts - whole*i/parts }

// diskWorker is one job of a DiskJob.
type diskWorker struct {
	*DiskJob
	aio       *aio
	blocks    int64
	at        int64 // next block, if in order
	requests  int   // of this one
	submitted int
	random    *rand.Rand
	begun     []time.Time // by slot
	latencies []time.Duration
}

// run keeps Depth requests under way until there have been enough.
func (w *diskWorker) run(started time.Time) error {
	w.latencies = slices.Grow(w.latencies, w.requests)
	more := func() bool {
		if w.Requests > 0 {
			return w.submitted < w.requests
		}
		return time.Since(started) < w.Duration
	}
	for i := 0; i < w.Depth && more(); i++ {
		if err := w.submit(i); err != nil {
			return err
		}
	}
	for len(w.latencies) < w.submitted {
		finished, err := w.aio.wait()
		if err != nil {
			return err
		}
		now := time.Now()
		for _, i := range finished {
			w.latencies = append(w.latencies, now.Sub(w.begun[i]))
			if !more() {
				continue
			}
			if err := w.submit(i); err != nil {
				return err
			}
		}
	}
	return nil
}

// readsOfTen is the share of reads in a mix, which is that of most others' benchmarks.
const readsOfTen = 7

// submit starts the next request in a slot.
func (w *diskWorker) submit(slot int) error {
	block := w.at
	if w.Random {
		block = w.random.Int64N(w.blocks)
	}
	w.at = (w.at + 1) % w.blocks
	w.submitted++
	w.begun[slot] = time.Now()
	write := w.Write || w.Mixed && w.random.IntN(10) >= readsOfTen
	return w.aio.submit(slot, write, block*int64(w.BlockSize))
}
