package blk

import "sync/atomic"

// Stats are what the device has done so far.
type Stats struct {
	Reads, Writes, Flushes  uint64 // answered without error
	Discards, Zeroes        uint64
	ReadBytes, WrittenBytes uint64
	Errors                  uint64 // requests that the disk failed
	Refused                 uint64 // requests that broke a rule or are not supported
	Throttled               uint64 // requests that the rate limiter held up
}

type stats struct {
	reads, writes, flushes, discards, zeroes atomic.Uint64
	readBytes, writtenBytes                  atomic.Uint64
	errors, refused, throttled               atomic.Uint64
}

func (s *stats) count(r *request) {
	switch r.op {
	case opRead:
		s.reads.Add(1)
		s.readBytes.Add(uint64(r.size))
	case opWrite:
		s.writes.Add(1)
		s.writtenBytes.Add(uint64(r.size))
	case opFlush:
		s.flushes.Add(1)
	case opDiscard:
		s.discards.Add(1)
	case opWriteZeroes:
		s.zeroes.Add(1)
	}
}

// Stats may be called from any goroutine.
func (d *Device) Stats() Stats {
	s := &d.stats
	return Stats{
		Reads: s.reads.Load(), Writes: s.writes.Load(), Flushes: s.flushes.Load(),
		Discards: s.discards.Load(), Zeroes: s.zeroes.Load(),
		ReadBytes: s.readBytes.Load(), WrittenBytes: s.writtenBytes.Load(),
		Errors: s.errors.Load(), Refused: s.refused.Load(), Throttled: s.throttled.Load(),
	}
}
