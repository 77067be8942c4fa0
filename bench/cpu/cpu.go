// Package cpu is a set of small loads on one CPU and its memory. The same program makes
// them on a host and in a guest, so that the two can be compared.
package cpu

import (
	"context"
	"fmt"
	"slices"
	"time"
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
}

// Sample is the time of one operation in nanoseconds, one a sample.
type Sample struct {
	Name    string    `json:"name"`
	Samples []float64 `json:"samples"`
	Error   string    `json:"error,omitempty"`
}

// Loads are all loads, in the order in which they are made.
func Loads() []Load {
	loads := []Load{
		{"integer", "a step of xorshift64*", prepareInteger, 20_000_000},
		{"floating point", "a multiplication and an addition", prepareFloat, 20_000_000},
		{"memory copy", "a byte", prepareCopy, 256 << 20},
	}
	for _, size := range chaseSizes {
		loads = append(loads, Load{"memory latency, " + sizeText(size), "a dependent read", func() (func(int) error, func(), error) {
			return prepareChase(size)
		}, 2_000_000})
	}
	return append(loads,
		Load{"system call", "getppid(2)", prepareSyscall, 1_000_000},
		Load{"context switch", "a byte there and back between two processes", prepareSwitch, 20_000},
		Load{"fork and exec", "a process, from its fork to its end", prepareExec, 40},
		Load{"page fault", "the first touch of a page of 4 KiB", preparePageFault, 50_000},
		Load{"mmap", "mmap(2) and munmap(2) of 64 KiB", prepareMap, 100_000},
	)
}

// chaseSizes are what the pointers of the latency loads are spread over, in bytes: in the
// caches of a common CPU, and beyond.
var chaseSizes = []int{4 << 10, 32 << 10, 256 << 10, 2 << 20, 16 << 20, 64 << 20}

func sizeText(n int) string {
	if n < 1<<20 {
		return fmt.Sprintf("%d KiB", n>>10)
	}
	return fmt.Sprintf("%d MiB", n>>20)
}

// Names of the loads.
func Names() []string {
	var names []string
	for _, l := range Loads() {
		names = append(names, l.Name)
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
		s := Sample{Name: l.Name}
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
		s.Samples = append(s.Samples, float64(time.Since(start).Nanoseconds())/float64(n))
	}
	return nil
}
