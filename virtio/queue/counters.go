package queue

// Counters are what has happened to a queue so far.
type Counters struct {
	Kicks      uint64 // notifications by the driver that woke the owner
	Interrupts uint64 // raised
	Suppressed uint64 // not raised, because the driver did not want them
	Chains     uint64 // requests taken
	BytesOut   uint64 // readable bytes of the requests taken: guest to device
	BytesIn    uint64 // bytes that the device wrote: device to guest
	Errors     uint64 // broken rules, by the driver or the device
	Faults     uint64 // those of them that the device broke: always 0, or it has a defect
}

// counters are added to by the queue's owner alone, see counter.
type counters struct {
	kicks, interrupts, suppressed, chains, bytesOut, bytesIn, errors, faults counter
}

// Counters may be called from any goroutine.
func (q *Queue) Counters() Counters {
	c := &q.counters
	return Counters{
		Kicks: c.kicks.load(), Interrupts: c.interrupts.load(), Suppressed: c.suppressed.load(),
		Chains: c.chains.load(), BytesOut: c.bytesOut.load(), BytesIn: c.bytesIn.load(), Errors: c.errors.load(), Faults: c.faults.load(),
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
	c.Faults += d.Faults
	return c
}
