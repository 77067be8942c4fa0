package queue

import (
	"errors"
	"strings"
	"testing"

	"github.com/gureum/gureum/guest/memory"
)

// take is Next for tests in which it must give a chain.
func take(t *testing.T, q *Queue) Chain {
	t.Helper()
	var c Chain
	if ok, err := q.Next(&c); !ok || err != nil {
		t.Fatalf("Next: %v, %v", ok, err)
	}
	return c
}

// TestBrokenQueueIsQuiet: what was given back before the break is told to the
// driver, and after it the rings are left alone.
func TestBrokenQueueIsQuiet(t *testing.T) {
	d, q := newDriver(t, Config{Size: 8})
	for h := range uint16(3) {
		d.chain(h, descriptor{addr: testBuffers, size: 1})
		d.publish(h)
	}
	first, second := take(t, q), take(t, q)
	q.Put(first.Head, 0)
	d.publish(500)
	take(t, q)
	if _, err := q.Next(new(Chain)); err == nil {
		t.Fatal("head 500 of 8 was taken")
	}
	if len(d.interrupts) != 1 {
		t.Error("no interrupt for what came back before the break")
	}
	<-d.interrupts
	q.Put(second.Head, 0)
	q.PutAll([]Used{{Head: second.Head}})
	q.Flush()
	if n := load16(d.use[2:]); n != 1 || len(d.interrupts) != 0 {
		t.Errorf("the broken queue has used index %d and %d interrupts, want 1 and 0", n, len(d.interrupts))
	}
}

func TestStoppedQueueIsQuiet(t *testing.T) {
	d, q := newDriver(t, Config{Size: 8})
	d.chain(0, descriptor{addr: testBuffers, size: 1})
	d.publish(0)
	c := take(t, q)
	q.Stop()
	q.Put(c.Head, 0)
	q.PutAll([]Used{{Head: c.Head}})
	q.Flush()
	if n := load16(d.use[2:]); n != 0 || len(d.interrupts) != 0 {
		t.Errorf("the stopped queue has used index %d and %d interrupts", n, len(d.interrupts))
	}
}

// TestDeviceGivesBackWhatItHas: a device that gives a chain back twice, or one that
// it never had, breaks its queue and not the driver.
func TestDeviceGivesBackWhatItHas(t *testing.T) {
	give := map[string]func(q *Queue, head uint16){
		"twice":           func(q *Queue, head uint16) { q.Put(head, 0); q.Put(head, 0) },
		"never had":       func(q *Queue, head uint16) { q.Put(head, 0); q.Put(head+1, 0) },
		"no descriptor":   func(q *Queue, head uint16) { q.Put(head, 0); q.Put(9999, 0) },
		"twice in one":    func(q *Queue, head uint16) { q.Put(head, 0); q.PutAll([]Used{{Head: 1}, {Head: 1}}) },
		"after Unget":     func(q *Queue, head uint16) { q.Put(head, 0); _, _ = q.Next(new(Chain)); q.Unget(); q.Put(1, 0) },
		"twice, in a row": func(q *Queue, head uint16) { q.PutAll([]Used{{Head: head}}); q.PutAll([]Used{{Head: head}}) },
	}
	for name, f := range give {
		d, q := newDriver(t, Config{Size: 8})
		for h := range uint16(2) {
			d.chain(h, descriptor{addr: testBuffers, size: 1})
			d.publish(h)
		}
		f(q, take(t, q).Head)
		if _, err := q.Next(new(Chain)); err == nil || !strings.Contains(err.Error(), "not under way") {
			t.Errorf("%s: %v, want a broken queue", name, err)
		}
		if n := load16(d.use[2:]); n != 1 {
			t.Errorf("%s: used index %d, want 1", name, n)
		}
		if q.Counters().Faults != 1 {
			t.Errorf("%s: the device's fault was not counted", name)
		}
	}
}

// TestMoreThanAChainTakes: a driver trusts the length in the used ring.
func TestMoreThanAChainTakes(t *testing.T) {
	for written, ok := range map[uint32]bool{0: true, 8: true, 9: false} {
		d, q := newDriver(t, Config{Size: 8})
		d.chain(0, descriptor{addr: testBuffers, size: 16}, descriptor{addr: testBuffers + 16, size: 8, flags: flagWrite})
		d.publish(0)
		q.Put(take(t, q).Head, written)
		if _, err := q.Next(new(Chain)); (err == nil) != ok || (q.Counters().Faults == 0) != ok {
			t.Errorf("%d bytes written: %v, %d faults", written, err, q.Counters().Faults)
		}
	}
}

// TestChainsOfASmallerQueue: a driver that chose a smaller ring may still make
// indirect tables as long as the device's largest ring.
func TestChainsOfASmallerQueue(t *testing.T) {
	const table = testBuffers + 0x1000
	for parts, ok := range map[int]bool{8: true, 16: true, 17: false} {
		d, q := newDriver(t, Config{Size: 8, MaxChain: 16, Indirect: true})
		for i := range parts {
			p := descriptor{addr: testBuffers, size: 1, flags: flagNext, next: uint16(i + 1)}
			if i == parts-1 {
				p.flags = 0
			}
			putDesc(d.mem[table:], uint16(i), p)
		}
		d.chain(3, descriptor{addr: table, size: uint32(parts * descSize), flags: flagIndirect})
		d.publish(3)
		var c Chain
		if got, err := q.Next(&c); got != ok || ok && len(c.Readable) != parts {
			t.Errorf("%d parts: %v with %d, %v", parts, got, len(c.Readable), err)
		}
	}
}

// TestDrainLooksForInterruptsOnTheWay: a driver that always has another chain still
// hears of those that are done.
func TestDrainLooksForInterruptsOnTheWay(t *testing.T) {
	d, q := newDriver(t, Config{Size: 4})
	d.chain(0, descriptor{addr: testBuffers, size: 1})
	d.chain(1, descriptor{addr: testBuffers, size: 1})
	d.publish(0)
	n, stop := 0, errors.New("enough")
	var c Chain
	err := q.Drain(&c, func(*Chain) (uint32, error) {
		if n++; n > 2*flushEvery {
			return 0, stop
		}
		d.publish(uint16(n & 1))
		return 0, nil
	})
	if err == nil || q.Counters().Interrupts < 2 {
		t.Errorf("%v after %d chains and %d interrupts", err, n, q.Counters().Interrupts)
	}
}

// TestRestoredQueueGoesOn takes a queue down and makes another of its State.
func TestRestoredQueueGoesOn(t *testing.T) {
	for _, eventIdx := range []bool{false, true} {
		d, q := newDriver(t, Config{Size: 4, EventIdx: eventIdx})
		d.chain(2, descriptor{addr: testBuffers, size: 255, flags: flagWrite})
		for i := range 1<<16 + 1000 {
			if i%1777 == 0 {
				cfg := q.Config()
				cfg.Start = q.State()
				q.Stop()
				var err error
				if q, err = New(d.mem, cfg); err != nil {
					t.Fatal(err)
				}
			}
			d.arm()
			d.publish(2)
			c := take(t, q)
			if q.UnderWay() != 1 {
				t.Fatalf("%d chains under way, want 1", q.UnderWay())
			}
			q.Put(c.Head, uint32(i%256))
			q.Flush()
			if u, ok := d.used(); !ok || u != (Used{2, uint32(i % 256)}) {
				t.Fatalf("chain %d came back as %+v, %v", i, u, ok)
			}
			if len(d.interrupts) != 1 {
				t.Fatalf("no interrupt for chain %d", i)
			}
			<-d.interrupts
		}
	}
}

func TestOverlaps(t *testing.T) {
	make1 := func(desc, driver, device uint64) *Queue {
		q, err := New(make(heap, testMemory), Config{Size: 16, Desc: desc, Driver: driver, Device: device})
		if err != nil {
			t.Fatal(err)
		}
		return q
	}
	a := make1(0x1000, 0x2000, 0x3000)
	tests := []struct {
		name string
		q    *Queue
		want bool
	}{
		{"itself", a, true},
		{"apart", make1(0x1100, 0x2100, 0x3100), false},
		{"between", make1(0x2100, 0x3100, 0x1100), false},
		{"table in used ring", make1(0x3080, 0x4000, 0x5000), true},
		{"last byte of the event", make1(0x4000, 0x5000, 0x2024), true},
		{"just behind the event", make1(0x4000, 0x5000, 0x2028), false},
	}
	for _, test := range tests {
		if got := a.Overlaps(test.q); got != test.want || test.q.Overlaps(a) != test.want {
			t.Errorf("%s: %v, want %v", test.name, got, test.want)
		}
	}
}

// TestTheHole: neither rings nor buffers reach into the MMIO hole, or over it.
func TestTheHole(t *testing.T) {
	m, err := memory.New(memory.Config{Size: 4 << 30})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = m.Close() })
	const edge = memory.HoleStart
	good := Config{Size: 16, Desc: edge - 0x1000, Driver: edge - 0x800, Device: memory.HoleEnd}
	q, err := New(m, good)
	if err != nil {
		t.Fatalf("rings up to the hole's edges: %v", err)
	}
	for name, spoil := range map[string]func(*Config){
		"table over its start":    func(c *Config) { c.Desc = edge - 16 },
		"avail over its start":    func(c *Config) { c.Driver = edge - 2 },
		"used over its start":     func(c *Config) { c.Device = edge - 4 },
		"used inside":             func(c *Config) { c.Device = edge + 0x1000 },
		"avail up to its end":     func(c *Config) { c.Driver = memory.HoleEnd - 36 },
		"table over its end":      func(c *Config) { c.Desc = memory.HoleEnd - 16 },
		"table behind all RAM":    func(c *Config) { c.Desc = 5 << 30 },
		"used over the RAM's end": func(c *Config) { c.Device = 5<<30 - 8 },
	} {
		cfg := good
		spoil(&cfg)
		if _, err := New(m, cfg); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
	for gpa, ok := range map[uint64]bool{edge - 8: true, edge - 7: false, edge: false, memory.HoleEnd - 1: false, memory.HoleEnd: true} {
		c := Chain{}
		if err := q.add(&c, descriptor{addr: gpa, size: 8}, false); (err == nil) != ok {
			t.Errorf("buffer at %#x: %v", gpa, err)
		}
	}
}

// TestEachStepDoesNotAllocate is for devices with a loop of their own.
func TestEachStepDoesNotAllocate(t *testing.T) {
	for _, eventIdx := range []bool{false, true} {
		d, q := newDriver(t, Config{Size: 8, EventIdx: eventIdx})
		for h := range uint16(3) {
			d.chain(h, descriptor{addr: testBuffers, size: 64, flags: flagWrite})
		}
		chains, used := make([]Chain, 3), make([]Used, 0, 3)
		steps := func() {
			for h := range uint16(3) {
				d.publish(h)
			}
			used = used[:0]
			for i := range chains {
				if ok, err := q.Next(&chains[i]); !ok {
					t.Fatal(err)
				}
				used = append(used, Used{chains[i].Head, 1})
			}
			q.Unget()
			if ok, err := q.Next(&chains[2]); !ok {
				t.Fatal(err)
			}
			q.Put(used[2].Head, 1)
			q.PutAll(used[:2])
			q.Flush()
			q.EnableKicks()
			q.DisableKicks()
			q.Counters()
		}
		steps()
		if n := testing.AllocsPerRun(100, steps); n != 0 {
			t.Errorf("event index %v: %v allocations", eventIdx, n)
		}
	}
}
