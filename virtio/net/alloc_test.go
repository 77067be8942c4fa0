package net

import (
	"runtime"
	"testing"

	"github.com/gureum/gureum/virtio/virtiotest"
)

// TestNoAllocation holds that frames cost no memory on the steady path, in either
// direction. Everything counts: queue owners, kicks, interrupts.
func TestNoAllocation(t *testing.T) {
	const flagNext, flagWrite = virtiotest.FlagNext, virtiotest.FlagWrite
	f := newFake(1)
	f.discard = true
	f.repeat = frame(4000, 1)
	_, d := mustNew(t, f, nil)
	d.Start(virtiotest.AllFeatures)
	rx, tx := d.Queue(0), d.Queue(1)
	gpa, view := d.Alloc(1 << 16)
	copy(view, frame(3000, 1))
	at := func(off uint64) uint64 { return gpa + off }
	tx.WriteDesc(0, virtiotest.Descriptor{Addr: at(0), Len: HeaderSize, Flags: flagNext, Next: 1})
	tx.WriteDesc(1, virtiotest.Descriptor{Addr: at(HeaderSize), Len: 3000})
	for i := range uint16(2) { // two chains of two parts, both needed for a frame
		rx.WriteDesc(2*i, virtiotest.Descriptor{Addr: at(8192 + uint64(i)*4096), Len: 500, Flags: flagNext | flagWrite, Next: 2*i + 1})
		rx.WriteDesc(2*i+1, virtiotest.Descriptor{Addr: at(32768 + uint64(i)*4096), Len: 2000, Flags: flagWrite})
	}
	wait := func(q *virtiotest.Queue, n uint16) {
		for q.UsedIndex() != n {
			runtime.Gosched()
		}
	}
	var sent, got uint16
	step := func() {
		tx.Publish(0)
		tx.Kick()
		sent++
		wait(tx, sent)
		rx.Publish(0)
		rx.Publish(2)
		rx.Kick()
		f.mu.Lock()
		f.repeated++
		f.cond.Broadcast()
		f.mu.Unlock()
		got += 2
		wait(rx, got)
	}
	for range 300 { // once round the ring
		step()
	}
	if n := testing.AllocsPerRun(500, step); n != 0 {
		t.Errorf("%v allocations for a frame each way", n)
	}
}
