package report

import (
	"fmt"
	"math"
	"strings"

	"github.com/gureum/gureum/bench/result"
)

// step of units, each with what it is of the one before.
type step struct {
	name string
	of   float64
}

// scales are the units that have larger ones.
func scale(unit string) []step {
	switch unit {
	case result.Nanoseconds:
		return []step{{"ns", 1}, {"µs", 1e3}, {"ms", 1e3}, {"s", 1e3}}
	case result.Bytes:
		return []step{{"B", 1}, {"KiB", 1024}, {"MiB", 1024}, {"GiB", 1024}}
	case result.BytesPerSec:
		return []step{{"B/s", 1}, {"kB/s", 1e3}, {"MB/s", 1e3}, {"GB/s", 1e3}}
	case result.PerSecond:
		return []step{{"/s", 1}, {"k/s", 1e3}, {"M/s", 1e3}}
	}
	return nil
}

// quantity is a value in its unit, with three digits.
func quantity(v float64, unit string) string {
	steps := scale(unit)
	if steps == nil {
		return fmt.Sprintf("%.4g", v)
	}
	name := steps[0].name
	for _, s := range steps[1:] {
		if math.Abs(v) < s.of {
			break
		}
		v, name = v/s.of, s.name
	}
	return digits(v) + " " + name
}

// digits writes three of them, and no more zeros than there are places; whole numbers below a hundred stay whole.
func digits(v float64) string {
	switch a := math.Abs(v); {
	case a == 0:
		return "0"
	case a >= 99.95:
		return fmt.Sprintf("%.0f", v)
	case a >= 9.995:
		return fmt.Sprintf("%.1f", v)
	case a >= 0.9995:
		return fmt.Sprintf("%.2f", v)
	case a >= 0.09995:
		return fmt.Sprintf("%.3f", v)
	}
	return fmt.Sprintf("%.2g", v)
}

// percent is a share in percent, with a sign if it is a change.
func percent(share float64) string {
	switch p := 100 * math.Abs(share); {
	case p >= 9.95:
		return fmt.Sprintf("%.0f%%", 100*share)
	default:
		return fmt.Sprintf("%.1f%%", 100*share)
	}
}

func signed(share float64) string {
	text := percent(share)
	if share >= 0 {
		text = "+" + text
	}
	return text
}

// plain writes a text with the letters that every terminal has.
var plain = strings.NewReplacer("µ", "u", "×", "x", "±", "+-", "–", "..", "…", "...", "→", "->", "─", "-", "·", "-", "≤", "<=")

// unitWords are a unit as it is read in a heading.
func unitWords(unit, clock string) string {
	switch unit {
	case result.Nanoseconds:
		if clock == result.ClockInstructions {
			return "time in instructions, one a nanosecond"
		}
		return "time"
	case result.PerSecond:
		return "operations a second"
	case result.BytesPerSec:
		return "bytes a second"
	}
	return unit
}

// clockWords say what time is in a report.
func clockWords(clock string) string {
	if clock == result.ClockInstructions {
		return "time is counted in instructions of the emulated host, one a nanosecond: it says nothing of cycles and caches"
	}
	return "time is the host's clock"
}
