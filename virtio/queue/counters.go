package queue

import "sync/atomic"

// Counters are what has happened to a queue so far.
type Counters struct {
	Kicks      uint64 // notifications by the driver that woke the owner
	Interrupts uint64 // raised
	Suppressed uint64 // not raised, because the driver did not want them
	Chains     uint64 // requests taken
	BytesOut   uint64 // readable bytes of the requests taken: guest to device
	BytesIn    uint64 // bytes that the device wrote: device to guest
	Errors     uint64 // broken rules
}

type counters struct {
	kicks, interrupts, suppressed, chains, bytesOut, bytesIn, errors atomic.Uint64
}

// Counters may be called from any goroutine.
func (q *Queue) Counters() Counters {
	c := &q.counters
	return Counters{
		Kicks: c.kicks.Load(), Interrupts: c.interrupts.Load(), Suppressed: c.suppressed.Load(),
		Chains: c.chains.Load(), BytesOut: c.bytesOut.Load(), BytesIn: c.bytesIn.Load(), Errors: c.errors.Load(),
	}
}

// Plus is the sum of both.
func (c Counters) Plus(d Counters) Counters {
	c.Kicks += d.Kicks
	c.Interrupts += d.Interrupts
	c.Suppressed += d.Suppressed
	c.Chains += d.Chains
	c.BytesOut += d.BytesOut
	c.BytesIn += d.BytesIn
	c.Errors += d.Errors
	return c
}
