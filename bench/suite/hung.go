package suite

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

// hungError tells of a load that had not ended when its time was up. A guest that waits for what
// does not come takes no CPU time, one that spins takes all.
type hungError struct {
	limit  time.Duration
	thread string        // the busiest one; "" if none could be read
	used   time.Duration // its CPU time
}

func newHungError(pid int, limit time.Duration) *hungError {
	e := &hungError{limit: limit}
	files, _ := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/stat", pid))
	for _, f := range files {
		text, err := os.ReadFile(f)
		if err != nil {
			continue // it has ended
		}
		if name, used, ok := parseThread(string(text)); ok && (e.thread == "" || used > e.used) {
			e.thread, e.used = name, used
		}
	}
	return e
}

// tick is the unit of times in /proc (USER_HZ), the same on every Linux for x86.
const tick = time.Second / 100

// parseThread reads name and CPU time in a stat file (proc(5)).
func parseThread(stat string) (name string, used time.Duration, ok bool) {
	first, last := strings.IndexByte(stat, '('), strings.LastIndexByte(stat, ')')
	if first < 0 || last < first {
		return "", 0, false
	}
	const utime, stime = 11, 12 // fields 14 and 15, the third of which is the first here
	fields := strings.Fields(stat[last+1:])
	if len(fields) <= stime {
		return "", 0, false
	}
	for _, f := range fields[utime : stime+1] {
		n, err := strconv.ParseInt(f, 10, 64)
		if err != nil {
			return "", 0, false
		}
		used += time.Duration(n) * tick
	}
	return stat[first+1 : last], used, true
}

// spins tells whether a thread was busy for most of the time.
func (e *hungError) spins() bool { return e.used > e.limit/2 }

func (e *hungError) Error() string {
	what := "it waits"
	if e.spins() {
		what = "it spins"
	}
	return fmt.Sprintf("%s: it had not ended after %v, and %v of CPU time are the most of a thread (%s)", what, e.limit, e.used, e.thread)
}
