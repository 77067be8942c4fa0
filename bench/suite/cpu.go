package suite

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/gureum/gureum/bench/cpu"
	"github.com/gureum/gureum/bench/result"
)

// measureCPU makes the loads of package cpu on the host and in each guest.
func (r *run) measureCPU(ctx context.Context, subjects []subject) error {
	got := &cpuSamples{samples: map[[2]string][]float64{}}
	for n := range r.rounds() {
		for _, s := range r.alive(subjects) {
			r.step(fmt.Sprintf("cpu: %s, round %d of %d", s.name, n+1, r.rounds()))
			args := append([]string{"cpu", "-runs", strconv.Itoa(r.samplesOf(n))}, r.cpuWork()...)
			text, err := r.runLoad(ctx, s, guestAddr, args, nil)
			if err == nil {
				err = got.add(s.name, text)
			}
			if err != nil && r.failed(ctx, groupCPU, s, err) {
				break
			}
		}
	}
	for _, l := range cpu.Loads() {
		for _, s := range subjects {
			key := result.Key{Group: groupCPU, Figure: l.Name, Subject: s.name}
			unit, better := result.Nanoseconds, result.Lower
			if l.Bandwidth {
				unit, better = result.BytesPerSec, result.Higher
			}
			r.addSamples(result.Series{Key: key, Unit: unit, Better: better}, got.samples[[2]string{l.Name, s.name}])
		}
	}
	for _, text := range got.skipped {
		r.note(groupCPU, result.KindMissing, "%s", text)
	}
	return context.Cause(ctx)
}

// maxRounds is how often a guest is started at most to make the loads of a group. It makes
// them several times itself: starting it takes longer than most of them.
const maxRounds = 2

// rounds is once only where instructions are counted, whose count no other time of day changes.
func (r *run) rounds() int {
	if r.counted() {
		return 1
	}
	return min(r.Runs, maxRounds)
}

// counted tells that instructions are counted for time. Runs spread little then, and each
// takes the emulated host long.
func (r *run) counted() bool { return r.Clock == result.ClockInstructions }

// samplesOf is how many samples of all a round has.
func (r *run) samplesOf(round int) int {
	return r.Runs*(round+1)/r.rounds() - r.Runs*round/r.rounds()
}

// countedCPU is how many times less work of the cpu group is enough where instructions are counted.
const countedCPU = 10

// cpuWork says how much work the loads are. A dependent read is as many instructions in the
// largest ring as in others, and making it takes more of them than all else.
func (r *run) cpuWork() []string {
	if r.counted() {
		for _, name := range cpu.Names() {
			if !slices.Contains(cpu.SmallNames(), name) {
				r.noteOnce(groupCPU, result.KindMissing, name+": not where instructions are counted, which are the same for all sizes")
			}
		}
		return []string{"-scale", strconv.Itoa(max(r.Scale/countedCPU, 1)), "-small"}
	}
	return []string{"-scale", strconv.Itoa(r.Scale)}
}

type cpuSamples struct {
	samples map[[2]string][]float64 // of a load, of a subject
	skipped []string
}

// add takes in what a subject told of its loads.
func (c *cpuSamples) add(subject, text string) error {
	for line := range strings.Lines(text) {
		_, told, marked := strings.Cut(line, cpuMark)
		if !marked {
			continue
		}
		var s cpu.Sample
		if err := json.Unmarshal([]byte(told), &s); err != nil {
			return fmt.Errorf("%q: %w", told, err)
		}
		if s.Error != "" {
			return fmt.Errorf("%s: %s", s.Name, s.Error)
		}
		if s.Skipped != "" {
			c.skip(fmt.Sprintf("%s, %s: %s", s.Name, subject, s.Skipped))
			continue
		}
		key := [2]string{s.Name, subject}
		c.samples[key] = append(c.samples[key], s.Samples...)
	}
	return nil
}

// skip tells once what is left out.
func (c *cpuSamples) skip(text string) {
	for _, told := range c.skipped {
		if told == text {
			return
		}
	}
	c.skipped = append(c.skipped, text)
}
