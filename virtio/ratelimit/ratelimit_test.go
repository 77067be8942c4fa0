package ratelimit

import (
	"math"
	"math/rand/v2"
	"testing"
	"time"
)

// clock is a time that the test moves.
type clock struct{ t time.Time }

func (c *clock) now() time.Time { return c.t }

func (c *clock) pass(d time.Duration) { c.t = c.t.Add(d) }

func newClock() *clock { return &clock{time.Unix(1_000_000, 0)} }

func TestZeroConfigDoesNotLimit(t *testing.T) {
	l := New(Config{})
	if ok, _ := l.Take(math.MaxUint64, math.MaxUint64); !ok {
		t.Error("a limiter without limits refused")
	}
}

func TestRateHolds(t *testing.T) {
	c := newClock()
	l := newAt(Config{Bytes: Bucket{Size: 1000, Refill: time.Second}}, c.now)
	passed := uint64(0)
	for range 10_000 {
		if ok, _ := l.Take(1, 7); ok {
			passed += 7
		}
		c.pass(time.Millisecond)
	}
	// 10 s of 1000 a second, and the full bucket at the start.
	if passed < 10_900 || passed > 11_000 {
		t.Errorf("%d bytes passed in 10 s, want 11000", passed)
	}
}

func TestWaitIsEnoughAndNotTooLong(t *testing.T) {
	for _, b := range []Bucket{
		{Size: 1000, Refill: time.Second},
		{Size: 3, Refill: time.Second},
		{Size: 1 << 50, Refill: time.Hour},
		{Size: 7, Refill: 13 * time.Nanosecond},
	} {
		c := newClock()
		l := newAt(Config{Ops: b}, c.now)
		l.Take(b.Size, 0)
		ok, wait := l.Take(1, 0)
		if ok {
			t.Fatalf("%+v: an empty bucket gave a token", b)
		}
		if want := b.Refill/time.Duration(b.Size) + 2; wait > want {
			t.Errorf("%+v: wait %s for one token, want at most %s", b, wait, want)
		}
		c.pass(wait)
		if ok, again := l.Take(1, 0); !ok {
			t.Errorf("%+v: refused after the wait of %s, another %s", b, wait, again)
		}
	}
}

func TestBurstIsSpentOnce(t *testing.T) {
	c := newClock()
	l := newAt(Config{Ops: Bucket{Size: 10, Burst: 5, Refill: time.Second}}, c.now)
	take := func() (n int) {
		for {
			if ok, _ := l.Take(1, 0); !ok {
				return n
			}
			n++
		}
	}
	if n := take(); n != 15 {
		t.Errorf("%d operations at the start, want 15", n)
	}
	c.pass(time.Minute)
	if n := take(); n != 10 {
		t.Errorf("%d operations later, want 10", n)
	}
}

func TestRequestLargerThanTheBucketPassesAndIsPaidFor(t *testing.T) {
	c := newClock()
	l := newAt(Config{Bytes: Bucket{Size: 100, Refill: time.Second}}, c.now)
	if ok, _ := l.Take(1, 350); !ok {
		t.Fatal("a request larger than the bucket never passes")
	}
	ok, wait := l.Take(1, 1)
	if ok || wait < 2500*time.Millisecond || wait > 2600*time.Millisecond {
		t.Errorf("after 250 bytes of debt: %v, wait %s, want 2.51 s", ok, wait)
	}
	c.pass(wait)
	if ok, _ := l.Take(1, 1); !ok {
		t.Error("refused after the debt was paid")
	}
}

func TestNothingIsTakenFromOneBucketWhenTheOtherRefuses(t *testing.T) {
	c := newClock()
	l := newAt(Config{Bytes: Bucket{Size: 100, Refill: time.Second}, Ops: Bucket{Size: 1, Refill: time.Second}}, c.now)
	l.Take(1, 10)
	for range 50 {
		if ok, _ := l.Take(1, 10); ok {
			t.Fatal("a second operation passed")
		}
	}
	c.pass(time.Second)
	if ok, _ := l.Take(1, 100); !ok {
		t.Error("refused operations have taken bytes")
	}
}

func TestExtremes(t *testing.T) {
	c := newClock()
	l := newAt(Config{Bytes: Bucket{Size: math.MaxUint64, Refill: maxRefill}, Ops: Bucket{Size: 1, Refill: maxRefill}}, c.now)
	for range 100 {
		_, wait := l.Take(math.MaxUint64, math.MaxUint64)
		if wait < 0 {
			t.Fatalf("negative wait %s", wait)
		}
		c.pass(1 << 61)
	}
	c.pass(-1 << 61)
	l.Take(1, 1) // a clock that goes back does no harm
}

func TestValidate(t *testing.T) {
	good := []Config{{}, {Bytes: PerSecond(1)}, {Ops: Bucket{Size: 5, Burst: 1, Refill: time.Minute}}}
	for _, c := range good {
		if err := c.Validate(); err != nil {
			t.Errorf("%+v: %v", c, err)
		}
	}
	bad := []Config{
		{Bytes: Bucket{Size: 1}},
		{Ops: Bucket{Size: 1, Refill: -1}},
		{Bytes: Bucket{Burst: 1}},
		{Bytes: Bucket{Size: math.MaxUint64, Burst: 1, Refill: 1}},
		{Ops: Bucket{Size: 1, Refill: maxRefill + 1}},
	}
	for _, c := range bad {
		if c.Validate() == nil {
			t.Errorf("%+v: accepted", c)
		}
	}
}

func TestTakeDoesNotAllocate(t *testing.T) {
	l := New(Config{Bytes: PerSecond(1 << 30), Ops: PerSecond(1000)})
	if n := testing.AllocsPerRun(100, func() { l.Take(1, 4096) }); n != 0 {
		t.Errorf("%v allocations a request", n)
	}
}

// TestNeverMoreThanTheRate takes at random, and counts what passes against what the
// bucket can have given in that time.
func TestNeverMoreThanTheRate(t *testing.T) {
	for seed := range uint64(200) {
		rnd := rand.New(rand.NewPCG(seed, 4))
		b := Bucket{
			Size: 1 + rnd.Uint64N(1<<rnd.IntN(40)), Burst: rnd.Uint64N(1 << rnd.IntN(30)),
			Refill: time.Duration(1 + rnd.Int64N(1<<rnd.IntN(40))),
		}
		c := newClock()
		l := newAt(Config{Bytes: b}, c.now)
		start, passed, largest := c.t, 0.0, uint64(0)
		for range 2000 {
			n := rnd.Uint64N(2 * b.Size)
			ok, wait := l.Take(1, n)
			if ok {
				passed += float64(n)
				largest = max(largest, n)
			}
			if ok == (wait > 0) {
				t.Fatalf("%+v: %v and a wait of %s", b, ok, wait)
			}
			switch rnd.IntN(3) {
			case 0:
				c.pass(wait)
				if again, more := l.Take(1, n); !ok && !again {
					t.Fatalf("%+v: %d bytes refused after the wait of %s, another %s", b, n, wait, more)
				} else if !ok {
					passed += float64(n)
					largest = max(largest, n)
				} else if again {
					passed += float64(n)
				}
			case 1:
				c.pass(time.Duration(rnd.Int64N(int64(b.Refill))))
			}
		}
		// What is larger than the bucket passes on credit, once.
		given := float64(b.Size) + float64(b.Burst) + float64(largest) + float64(b.Size)*float64(c.t.Sub(start))/float64(b.Refill)
		if passed > given*1.0001 {
			t.Errorf("%+v: %.0f bytes passed, the bucket had %.0f", b, passed, given)
		}
	}
}
