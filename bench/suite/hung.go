package suite

import (
	"fmt"
	"time"

	"github.com/gureum/gureum/bench/meter"
)

// hungError tells of a load that had not ended when its time was up. A guest that waits for what
// does not come takes next to no CPU time, one that spins takes all.
type hungError struct {
	limit time.Duration
	used  time.Duration // CPU time of the process; 0 if it could not be read
}

func newHungError(pid int, limit time.Duration) *hungError {
	e := &hungError{limit: limit}
	m, err := meter.CPU(pid)
	if err != nil {
		return e
	}
	defer func() { _ = m.Close() }()
	if r, err := m.Read(); err == nil {
		e.used = r.CPU
	}
	return e
}

// spins tells whether it was busy for most of the time.
func (e *hungError) spins() bool { return e.used > e.limit/2 }

func (e *hungError) Error() string {
	what := "it waits"
	if e.spins() {
		what = "it spins"
	}
	return fmt.Sprintf("%s: it had not ended after %v, and took %v of CPU time", what, e.limit, e.used.Round(time.Millisecond))
}
