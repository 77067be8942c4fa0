// Package cpu is a set of small loads on one CPU and its memory. The same program makes
// them on a host and in a guest, so that the two can be compared.
package cpu

import (
	"context"
	"fmt"
	"slices"
	"time"

	"golang.org/x/sys/unix"
)

// Load is one of them.
type Load struct {
	Name string
	// What an operation is.
	Operation string
	// prepare makes what the load works on, of which cleanup disposes.
	prepare func() (work func(n int) error, cleanup func(), err error)
	// each is how many operations one sample has at scale 1.
	each int
	// Bandwidth has its samples in bytes a second, an operation being a byte.
	Bandwidth bool
	// memory is what it needs in bytes, where that is much.
	memory uint64
}

// Sample is the time of one operation in nanoseconds, or the bandwidth, one a sample.
type Sample struct {
	Name    string    `json:"name"`
	Samples []float64 `json:"samples"`
	// Skipped says why there are no samples where that is no fault.
	Skipped string `json:"skipped,omitempty"`
	Error   string `json:"error,omitempty"`
}

// Loads are all loads, in the order in which they are made.
func Loads() []Load {
	loads := []Load{
		{Name: "integer", Operation: "a step of xorshift64*", prepare: prepareInteger, each: 20_000_000},
		{Name: "floating point", Operation: "a multiplication and an addition", prepare: prepareFloat, each: 20_000_000},
		{Name: "memory bandwidth, read", Operation: "a byte read", prepare: prepareRead, each: 128 << 20, Bandwidth: true},
		{Name: "memory bandwidth, write", Operation: "a byte written", prepare: prepareWrite, each: 256 << 20, Bandwidth: true},
		{Name: "memory bandwidth, copy", Operation: "a byte read and written", prepare: prepareCopy, each: 256 << 20, Bandwidth: true},
	}
	for _, size := range chaseSizes {
		loads = append(loads, Load{
			Name: "memory latency, " + sizeText(size), Operation: "a dependent read", each: 2_000_000, memory: uint64(size),
			prepare: func() (func(int) error, func(), error) { return prepareChase(size) },
		})
	}
	return append(loads,
		Load{Name: "system call", Operation: "getppid(2)", prepare: prepareSyscall, each: 1_000_000},
		Load{Name: "context switch", Operation: "a byte there and back between two processes", prepare: prepareSwitch, each: 20_000},
		Load{Name: "fork and exec", Operation: "a process, from its fork to its end", prepare: prepareExec, each: 40},
		Load{Name: "page fault", Operation: "the first touch of a page of 4 KiB", prepare: preparePageFault, each: 50_000},
		Load{Name: "mmap", Operation: "mmap(2) and munmap(2) of 64 KiB", prepare: prepareMap, each: 100_000},
	)
}

// chaseSizes are what the pointers of the latency loads are spread over, in bytes: in the
// caches of a common CPU, and beyond.
var chaseSizes = []int{4 << 10, 32 << 10, 256 << 10, 2 << 20, 16 << 20, 64 << 20, 1 << 30}

func sizeText(n int) string {
	switch {
	case n < 1<<20:
		return fmt.Sprintf("%d KiB", n>>10)
	case n < 1<<30:
		return fmt.Sprintf("%d MiB", n>>20)
	}
	return fmt.Sprintf("%d GiB", n>>30)
}

// Names of the loads.
func Names() []string {
	var names []string
	for _, l := range Loads() {
		names = append(names, l.Name)
	}
	return names
}

// SmallNames are those of all loads but the one with the largest ring.
func SmallNames() []string {
	largest := uint64(slices.Max(chaseSizes))
	var names []string
	for _, l := range Loads() {
		if l.memory < largest {
			names = append(names, l.Name)
		}
	}
	return names
}

// Run makes some loads, runs times each, with scale percent of the operations. A load that
// fails tells so in its sample; the others go on.
func Run(ctx context.Context, names []string, runs, scale int, each func(Sample)) error {
	for _, l := range Loads() {
		if !slices.Contains(names, l.Name) {
			continue
		}
		s := Sample{Name: l.Name, Skipped: l.tooLarge()}
		if s.Skipped != "" {
			each(s)
			continue
		}
		if err := l.run(ctx, runs, max(l.each*scale/100, 1), &s); err != nil {
			s.Error = err.Error()
		}
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		each(s)
	}
	return nil
}

// spareMemory is what a load leaves to others, in bytes.
const spareMemory = 64 << 20

// tooLarge says that there is not the memory for a load, "" if there is.
func (l *Load) tooLarge() string {
	var i unix.Sysinfo_t
	if err := unix.Sysinfo(&i); err != nil {
		return ""
	}
	// Without what caches would give back: a guest of measurements has little of that.
	if free := i.Freeram * uint64(i.Unit); free < l.memory+spareMemory {
		return fmt.Sprintf("there are %d MiB of free memory for %d MiB", free>>20, l.memory>>20)
	}
	return ""
}

func (l *Load) run(ctx context.Context, runs, n int, s *Sample) error {
	work, cleanup, err := l.prepare()
	if err != nil {
		return err
	}
	defer cleanup()
	if err := work(max(n/10, 1)); err != nil { // caches, branch prediction, pages
		return err
	}
	for range runs {
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		start := time.Now()
		if err := work(n); err != nil {
			return err
		}
		took := time.Since(start)
		if l.Bandwidth {
			s.Samples = append(s.Samples, float64(n)/took.Seconds())
			continue
		}
		s.Samples = append(s.Samples, float64(took.Nanoseconds())/float64(n))
	}
	return nil
}
