package host

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/gureum/gureum/bench/result"
)

// Noise is what makes figures doubtful, counted from when the host started.
type Noise struct {
	At time.Time
	// Steal is time of the CPUs that the host's own hypervisor gave to others (proc(5)).
	Steal time.Duration
	// Throttled counts how often CPUs were slowed down for their heat or power.
	Throttled uint64
	CPUs      int
	// Load is the load average of the minute before.
	Load float64
}

// ticks is the unit of /proc/stat: USER_HZ is 100 on x86-64.
const ticks = 10 * time.Millisecond

// Noise reads the counters.
func (r Root) Noise() Noise {
	n := Noise{At: time.Now()}
	text, _ := os.ReadFile(r.path("proc/stat"))
	for line := range strings.Lines(string(text)) {
		f := strings.Fields(line)
		if len(f) == 0 || !strings.HasPrefix(f[0], "cpu") {
			continue
		}
		if f[0] != "cpu" {
			n.CPUs++
		} else if len(f) > 8 {
			steal, _ := strconv.ParseInt(f[8], 10, 64)
			n.Steal = time.Duration(steal) * ticks
		}
	}
	n.Load, _ = strconv.ParseFloat(strings.SplitN(r.word("proc/loadavg")+" ", " ", 2)[0], 64)
	counts, _ := filepath.Glob(r.path("sys/devices/system/cpu/cpu*/thermal_throttle/*_throttle_count"))
	for _, path := range counts {
		if text, err := os.ReadFile(path); err == nil {
			count, _ := strconv.ParseUint(strings.TrimSpace(string(text)), 10, 64)
			n.Throttled += count
		}
	}
	return n
}

// muchSteal is the share of the CPUs' time from which on a measurement is doubtful.
const muchSteal = 0.02

// share is that of steal in the CPUs' time since an earlier reading.
func (n Noise) share(before Noise) float64 {
	passed := n.At.Sub(before.At)
	if passed <= 0 || n.CPUs == 0 {
		return 0
	}
	return float64(n.Steal-before.Steal) / (float64(passed) * float64(n.CPUs))
}

// Report is what happened since an earlier reading, for the record.
func (n Noise) Report(before Noise) *result.Noise {
	return &result.Noise{Steal: max(0, n.share(before)), Throttled: max(n.Throttled, before.Throttled) - before.Throttled, Load: before.Load}
}

// Since says in words what happened since an earlier reading; nothing when that was little.
func (n Noise) Since(before Noise) []string {
	var out []string
	if share := n.share(before); share > muchSteal {
		out = append(out, fmt.Sprintf("this host's own hypervisor took %.1f%% of its CPUs' time for others (steal): the figures are no better than that", 100*share))
	}
	if count := n.Throttled - before.Throttled; n.Throttled > before.Throttled {
		out = append(out, fmt.Sprintf("CPUs were throttled %d times: let them cool, or lower their clock, and measure again", count))
	}
	return out
}
