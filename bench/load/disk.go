package load

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// DiskJob says what requests to make.
type DiskJob struct {
	// Path is a block device or a file.
	Path string
	// Write makes writes instead of reads, Random a random order of blocks instead
	// of an ascending one.
	Write, Random bool
	// BlockSize of each request in bytes, a multiple of 512.
	BlockSize int
	// Depth is the number of requests under way at a time.
	Depth int
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
	alignment    = 4096
)

func (j *DiskJob) check() error {
	switch {
	case j.BlockSize < 512 || j.BlockSize > maxBlockSize || j.BlockSize%512 != 0:
		return fmt.Errorf("block size %d: give a multiple of 512 up to %d", j.BlockSize, maxBlockSize)
	case j.Depth < 1 || j.Depth > maxDepth:
		return fmt.Errorf("depth %d: give a number from 1 to %d", j.Depth, maxDepth)
	case j.Requests < 0 || j.Requests == 0 && j.Duration <= 0:
		return errors.New("give a number of requests or a duration")
	}
	return nil
}

// RunDisk makes the job's requests by Linux AIO (io_submit(2)), which keeps them
// under way at the same time from one thread.
func RunDisk(j DiskJob) (DiskResult, error) {
	if err := j.check(); err != nil {
		return DiskResult{}, err
	}
	flags := os.O_RDONLY
	if j.Write {
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
	a, err := newAIO(int(f.Fd()), j)
	if err != nil {
		return DiskResult{}, err
	}
	defer a.close()
	return j.run(a, blocks)
}

// run keeps Depth requests under way until there have been enough.
func (j *DiskJob) run(a *aio, blocks int64) (DiskResult, error) {
	rnd := rand.New(rand.NewPCG(1, 2)) // the same blocks each time
	next := func() int64 {
		if j.Random {
			return rnd.Int64N(blocks)
		}
		return 0
	}
	started := time.Now()
	submitted, done := 0, 0
	slot := func(i int) error {
		block := next()
		if !j.Random {
			block = int64(submitted) % blocks
		}
		submitted++
		return a.submit(i, block*int64(j.BlockSize))
	}
	more := func() bool {
		if j.Requests > 0 {
			return submitted < j.Requests
		}
		return time.Since(started) < j.Duration
	}
	for i := 0; i < j.Depth && more(); i++ {
		if err := slot(i); err != nil {
			return DiskResult{}, err
		}
	}
	for done < submitted {
		finished, err := a.wait()
		if err != nil {
			return DiskResult{}, err
		}
		for _, i := range finished {
			done++
			if !more() {
				continue
			}
			if err := slot(i); err != nil {
				return DiskResult{}, err
			}
		}
	}
	return DiskResult{Requests: done, Bytes: int64(done) * int64(j.BlockSize), Elapsed: time.Since(started)}, nil
}
