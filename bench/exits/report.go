package exits

import (
	"errors"
	"fmt"
	"math"
	"strconv"
	"strings"
)

// Report is what a run of the guest told.
type Report struct {
	// Events are the times of single events in nanoseconds, in ascending order, by the
	// guest's word.
	Events map[string][]float64
	// Missing says why there are none.
	Missing map[string]string
	// Tick is the nanoseconds of a tick of the guest's time-stamp counter, which is the host's
	// where KVM does not scale it, as it does not for a guest that never moved.
	Tick float64
}

const (
	// mark begins the guest's lines: firmware and VMMs may write between them.
	mark = "gureum-exits "
	// maxEvents is how many events of a kind the guest holds (guest.h).
	maxEvents = 8192
	// maxShift bounds the power of two in the clock's rate, as a counter runs at
	// megahertz or gigahertz.
	maxShift = 31
)

// ParseReport reads the guest's output, which ends with a line that says so. Times are in
// ticks of the guest's time-stamp counter until the clock's rate, which comes first, makes
// nanoseconds of the host of them.
func ParseReport(console string) (*Report, error) {
	p := parser{report: Report{Events: map[string][]float64{}, Missing: map[string]string{}}}
	for line := range strings.Lines(console) {
		_, told, marked := strings.Cut(strings.TrimRight(line, "\r\n"), mark)
		if !marked {
			continue
		}
		if told == "end" {
			return &p.report, nil
		}
		if err := p.line(told); err != nil {
			return nil, err
		}
	}
	return nil, errors.New("the guest did not come to its end")
}

type parser struct {
	report Report // Tick is 0 before it is known
}

func (p *parser) line(told string) error {
	kind, rest, _ := strings.Cut(told, " ")
	var err error
	switch kind {
	case "clock":
		p.report.Tick, err = parseClock(rest)
	case "events":
		err = p.events(rest)
	case "missing":
		name, why, _ := strings.Cut(rest, " ")
		p.report.Missing[name] = why
	case "failed":
		return fmt.Errorf("the guest failed: %s", rest)
	default:
		err = errors.New("unknown")
	}
	if err != nil {
		return fmt.Errorf("the guest's line %.60q: %w", told, err)
	}
	return nil
}

// parseClock reads the rate in KVM's form, a fraction of 32 bits times a power of two, and
// gives the nanoseconds of a tick (Linux's Documentation/virt/kvm/x86/msr.rst, "tsc_to_system_mul").
func parseClock(text string) (float64, error) {
	first, second, _ := strings.Cut(text, " ")
	mul, err := strconv.ParseUint(first, 16, 32)
	if err != nil {
		return 0, err
	}
	shift, err := strconv.ParseInt(second, 10, 8)
	if err != nil {
		return 0, err
	}
	if mul == 0 || shift < -maxShift || shift > maxShift {
		return 0, errors.New("no rate of a clock")
	}
	return math.Ldexp(float64(mul), int(shift)-32), nil
}

// events reads a name, the number of events, and their ticks in ascending order: each the
// difference to the one before, with *N behind it for N events.
func (p *parser) events(text string) error {
	words := strings.Split(text, " ")
	if len(words) != 3 || p.report.Tick == 0 {
		return errors.New("want a name, a number and values, behind the clock")
	}
	if _, twice := p.report.Events[words[0]]; twice {
		return errors.New("told twice")
	}
	count, err := strconv.ParseUint(words[1], 10, 32)
	if err != nil || count == 0 || count > maxEvents {
		return fmt.Errorf("%s events, where there are 1 to %d", words[1], maxEvents)
	}
	values := make([]float64, 0, count)
	var ticks uint64
	for text := range strings.SplitSeq(words[2], ",") {
		more, times, err := parseValue(text)
		if err != nil {
			return err
		}
		if ticks+more < ticks || times > count-uint64(len(values)) {
			return errors.New("more than was said")
		}
		ticks += more
		for range times {
			values = append(values, float64(ticks)*p.report.Tick)
		}
	}
	if uint64(len(values)) != count {
		return fmt.Errorf("%d values", len(values))
	}
	p.report.Events[words[0]] = values
	return nil
}

func parseValue(text string) (more, times uint64, err error) {
	first, second, repeated := strings.Cut(text, "*")
	if more, err = strconv.ParseUint(first, 16, 64); err != nil || !repeated {
		return more, 1, err
	}
	times, err = strconv.ParseUint(second, 16, 32)
	return more, times, err
}
