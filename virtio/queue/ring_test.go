package queue

import (
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"testing"
	"time"
)

// TestRingsAtRandom has both sides at work at once, in the ways in which the tests of
// other rings found faults: batches and ring sizes of any length, chains given back
// out of order, interrupts that the driver wants late (only when most of what is
// under way has come back) or not at all for a while, and an owner that is replaced
// by another one with the same state in the midst of it.
func TestRingsAtRandom(t *testing.T) {
	for seed := range uint64(16) {
		size := uint16(2) << (seed % 8)
		cfg := Config{Size: size, EventIdx: seed&1 == 0}
		t.Run(fmt.Sprintf("seed=%d,size=%d,eventIdx=%v", seed, size, cfg.EventIdx), func(t *testing.T) {
			randomRing(t, cfg, rand.New(rand.NewPCG(seed, 2)), seed)
		})
	}
}

// randomRing is the driver: chain h is descriptor h, eight bytes that the device
// counts up.
func randomRing(t *testing.T, cfg Config, rnd *rand.Rand, seed uint64) {
	const total = 2000
	d, q := newDriver(t, cfg)
	stop, ended := make(chan struct{}), make(chan struct{})
	go relay(t, d, q, seed, stop, ended)
	defer func() {
		close(stop)
		_ = d.kick.Signal()
		<-ended
	}()
	var free []uint16
	for h := range cfg.Size {
		putDesc(d.desc, h, descriptor{addr: testBuffers + 8*uint64(h), size: 8, flags: flagWrite})
		free = append(free, h)
	}
	value := make([]uint64, cfg.Size)
	for sent, back := 0, 0; back < total; {
		for n := rnd.IntN(int(cfg.Size) + 1); n > 0 && len(free) > 0 && sent < total; n-- {
			i := rnd.IntN(len(free))
			h := free[i]
			free[i] = free[len(free)-1]
			free = free[:len(free)-1]
			value[h] = rnd.Uint64()
			binary.LittleEndian.PutUint64(d.mem[testBuffers+8*int(h):], value[h])
			d.publish(h)
			sent++
		}
		for {
			if u, ok := d.used(); ok {
				if got := binary.LittleEndian.Uint64(d.mem[testBuffers+8*int(u.Head):]); got != value[u.Head]+1 || u.Written != 8 {
					t.Fatalf("chain %d: %#x and %d bytes, want %#x", u.Head, got, u.Written, value[u.Head]+1)
				}
				free = append(free, u.Head)
				back++
				continue
			}
			if sent == back || sent < total && len(free) > 0 && rnd.IntN(4) != 0 {
				break
			}
			if d.armLate(sent-back, rnd) {
				continue
			}
			select {
			case <-d.interrupts:
			case <-time.After(30 * time.Second):
				t.Fatalf("no interrupt; %d of %d chains came back", back, sent)
			}
		}
	}
}

// armLate asks for an interrupt once a part of what is under way has come back, and
// tells whether it has already.
func (d *driver) armLate(underWay int, rnd *rand.Rand) bool {
	if !d.eventIdx {
		store16(d.avail, noInterrupt)
		store16(d.avail, 0)
		return d.arm()
	}
	late := uint16(rnd.IntN(underWay))
	store16(d.avail[availHead+2*int(d.size):], d.usedSeen+late)
	fence()
	return load16(d.use[2:])-d.usedSeen > late
}

// relay is a device whose owner is replaced now and then.
func relay(t *testing.T, d *driver, q *Queue, seed uint64, stop, ended chan struct{}) {
	defer close(ended)
	rnd := rand.New(rand.NewPCG(seed, 3))
	for {
		leg := rnd.IntN(500)
		done := make(chan bool)
		go func() { done <- own(t, q, rnd, leg, stop) }()
		if <-done {
			return
		}
		cfg := q.Config()
		cfg.Start = q.State()
		var err error
		if q, err = New(d.mem, cfg); err != nil {
			t.Error(err)
			return
		}
	}
}

// own works on q until it has handled leg chains, and gives true at the end of the
// test.
func own(t *testing.T, q *Queue, rnd *rand.Rand, leg int, stop chan struct{}) bool {
	var c Chain
	var held []Used
	giveBack := func() {
		rnd.Shuffle(len(held), func(i, j int) { held[i], held[j] = held[j], held[i] })
		n := len(held) / 2
		for _, u := range held[:n] {
			q.Put(u.Head, u.Written)
		}
		q.PutAll(held[n:])
		held = held[:0]
		q.Flush()
	}
	for handled := 0; ; {
		ok, err := q.Next(&c)
		if err != nil {
			t.Error(err)
			return true
		}
		if ok && rnd.IntN(8) == 0 {
			q.Unget()
			continue
		}
		if ok {
			b := c.Writable[0]
			binary.LittleEndian.PutUint64(b, binary.LittleEndian.Uint64(b)+1)
			held = append(held, Used{c.Head, 8})
			if handled++; rnd.IntN(4) != 0 {
				continue
			}
		}
		giveBack()
		if handled >= leg && leg > 0 {
			return false
		}
		if ok || q.EnableKicks() {
			continue
		}
		select {
		case <-stop:
			return true
		default:
		}
		if q.Wait() != nil {
			return true
		}
		q.DisableKicks()
	}
}
