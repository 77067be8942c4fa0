// Package ratelimit bounds how much a device does in a time, by token buckets:
// one for bytes, one for operations.
//
// A bucket holds up to Size tokens and fills up evenly, an empty one in the time
// Refill. It starts full, with Burst tokens on top that are spent first and never
// come back. A request takes its tokens from both buckets or from none.
//
// Devices of package virtio ask it before each request. It knows no clock but the
// one it is given, starts no goroutine and never waits itself.
package ratelimit

import (
	"fmt"
	"math"
	"math/bits"
	"time"
)

// Bucket says how many tokens there are. The zero value does not limit.
type Bucket struct {
	// Size is the number of tokens of a full bucket; 0 is no limit.
	Size uint64
	// Burst is how many more there are at the start, once.
	Burst uint64
	// Refill is how long an empty bucket takes to fill.
	Refill time.Duration
}

// Config is a limit for a device or one of its directions.
type Config struct {
	Bytes, Ops Bucket
}

// maxRefill keeps products of times and sizes within what can be computed.
const maxRefill = 24 * time.Hour

// Validate checks what the user gave.
func (c Config) Validate() error {
	for name, b := range map[string]Bucket{"bytes": c.Bytes, "operations": c.Ops} {
		if b.Size == 0 {
			if b.Burst != 0 {
				return fmt.Errorf("rate limit: %s: a burst without a size: give both", name)
			}
			continue
		}
		if b.Refill <= 0 || b.Refill > maxRefill {
			return fmt.Errorf("rate limit: %s: refill time %s: give one up to %s", name, b.Refill, maxRefill)
		}
		if b.Size > math.MaxUint64-b.Burst {
			return fmt.Errorf("rate limit: %s: size and burst together are too large", name)
		}
	}
	return nil
}

// PerSecond is a bucket of n tokens a second, 0 for no limit.
func PerSecond(n uint64) Bucket {
	if n == 0 {
		return Bucket{}
	}
	return Bucket{Size: n, Refill: time.Second}
}

// Limiter keeps one device to its limit. It belongs to one goroutine. A nil
// Limiter lets everything pass.
type Limiter struct {
	bytes, ops bucket
	now        func() time.Time
}

// New makes a limiter with full buckets, or nil if c limits nothing.
func New(c Config) *Limiter { return newAt(c, time.Now) }

func newAt(c Config, now func() time.Time) *Limiter {
	if c.Bytes.Size == 0 && c.Ops.Size == 0 {
		return nil
	}
	start := now()
	return &Limiter{bytes: newBucket(c.Bytes, start), ops: newBucket(c.Ops, start), now: now}
}

// Take asks for a request of so many operations and bytes. If ok, it may go on and
// the tokens are spent; else it is worth asking again after wait, which is never 0.
//
// A request that is larger than a full bucket passes when the bucket is full, and
// leaves a debt that is paid before the next one passes: it could never pass
// otherwise, and the rate holds over time.
func (l *Limiter) Take(ops, bytes uint64) (ok bool, wait time.Duration) {
	if l == nil {
		return true, 0
	}
	now := l.now()
	l.ops.fill(now)
	l.bytes.fill(now)
	if wait = max(l.ops.wait(ops), l.bytes.wait(bytes)); wait > 0 {
		return false, wait
	}
	l.ops.spend(ops)
	l.bytes.spend(bytes)
	return true, 0
}

// bucket is a Bucket with its contents.
type bucket struct {
	Bucket
	tokens uint64
	burst  uint64
	debt   uint64 // owed for a request larger than the bucket; tokens is 0 then
	last   time.Time
}

func newBucket(b Bucket, now time.Time) bucket {
	return bucket{Bucket: b, tokens: b.Size, burst: b.Burst, last: now}
}

// fill adds what has come since the last time. The time that does not make up a
// whole token is kept for the next.
func (b *bucket) fill(now time.Time) {
	passed := now.Sub(b.last)
	if b.Size == 0 || passed <= 0 {
		return
	}
	came := mulDiv(b.Size, uint64(passed), uint64(b.Refill))
	if came == 0 {
		return
	}
	if missing := b.Size - b.tokens; came >= b.debt && came-b.debt >= missing {
		b.tokens, b.debt, b.last = b.Size, 0, now
		return
	}
	paid := min(came, b.debt)
	b.debt -= paid
	b.tokens += came - paid
	// The time that these tokens took, rounded up, or a nanosecond could be had twice.
	// It is at most what has passed, as that is a whole number.
	took := time.Duration(mulDiv(came, uint64(b.Refill), b.Size)) + 1
	b.last = b.last.Add(min(took, passed))
}

// wait is how long until n tokens are there, 0 if they are.
func (b *bucket) wait(n uint64) time.Duration {
	if b.Size == 0 {
		return 0
	}
	need := min(n-min(n, b.burst), b.Size)
	if b.debt == 0 && need <= b.tokens {
		return 0
	}
	missing := need - min(need, b.tokens)
	// At least a nanosecond, and rounded up, so that it is not asked for in vain.
	return time.Duration(mulDiv(missing+b.debt, uint64(b.Refill), b.Size)) + 1
}

// spend takes n tokens, of which wait has said that they are there.
func (b *bucket) spend(n uint64) {
	if b.Size == 0 {
		return
	}
	first := min(n, b.burst)
	b.burst -= first
	n -= first
	have := min(n, b.tokens)
	b.tokens -= have
	b.debt += n - have
}

// mulDiv is x*y/z rounded down, with the product in 128 bits; the largest int64 if
// that is too large for one.
func mulDiv(x, y, z uint64) uint64 {
	hi, lo := bits.Mul64(x, y)
	if hi >= z {
		return math.MaxInt64
	}
	q, _ := bits.Div64(hi, lo, z)
	return min(q, math.MaxInt64)
}
