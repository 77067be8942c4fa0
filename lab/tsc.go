package lab

import "time"

// readTSC reads the CPU's time-stamp counter.
func readTSC() uint64

// tscSample is one reading of the counter and the clock at the same moment.
type tscSample struct {
	ticks uint64
	at    time.Time
}

// sampleTSC takes the reading that was disturbed least of a few.
func sampleTSC() tscSample {
	var best tscSample
	least := time.Hour
	for range 20 {
		before := time.Now()
		ticks := readTSC()
		took := time.Since(before)
		if took < least {
			least, best = took, tscSample{ticks, before.Add(took / 2)}
		}
	}
	return best
}

// tscInterval is how long the counter is watched: at 100 ns of error in each
// reading, long enough for a few parts in a million.
const tscInterval = 50 * time.Millisecond

// Bounds of a counter that can be believed, in kHz.
const (
	minTSC = 100_000
	maxTSC = 20_000_000
)

// tscKHz measures how fast this machine's time-stamp counter runs, which is
// how fast L1's does: QEMU passes it on. L1 cannot measure it by itself when
// the machine is busy, and takes what comes out (its clock was once 40 times
// too fast). 0 is a counter that cannot be believed.
func tscKHz() uint64 {
	a := sampleTSC()
	time.Sleep(tscInterval)
	b := sampleTSC()
	if b.ticks <= a.ticks {
		return 0
	}
	khz := (b.ticks - a.ticks) * uint64(time.Millisecond) / uint64(b.at.Sub(a.at))
	if khz < minTSC || khz > maxTSC {
		return 0
	}
	return khz
}
