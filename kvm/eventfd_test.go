package kvm

import (
	"errors"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

func newEventFD(t *testing.T) *EventFD {
	t.Helper()
	e, err := NewEventFD()
	check(t, err)
	t.Cleanup(func() { check(t, e.Close()) })
	return e
}

func TestEventFDCounts(t *testing.T) {
	e := newEventFD(t)
	if n, err := e.TryRead(); n != 0 || err != nil {
		t.Fatalf("read of nothing: %d, %v", n, err)
	}
	for range 3 {
		check(t, e.Signal())
	}
	if n, err := e.Read(); n != 3 || err != nil {
		t.Fatalf("read: %d, %v", n, err)
	}
	check(t, e.Signal())
	if n, err := e.TryRead(); n != 1 || err != nil {
		t.Fatalf("read: %d, %v", n, err)
	}
}

func TestEventFDFullCounterIsASignal(t *testing.T) {
	e := newEventFD(t)
	_, err := unix.Write(e.FD(), []byte{0xfe, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff})
	check(t, err)
	check(t, e.Signal())
	if n, err := e.TryRead(); n != 1<<64-2 || err != nil {
		t.Fatalf("read: %#x, %v", n, err)
	}
}

func TestEventFDReadWaits(t *testing.T) {
	e := newEventFD(t)
	got := make(chan uint64)
	go func() {
		for {
			n, err := e.Read()
			if err != nil {
				if !errors.Is(err, ErrClosed) {
					t.Error(err)
				}
				close(got)
				return
			}
			got <- n
		}
	}()
	for range 100 {
		check(t, e.Signal())
		if n := <-got; n != 1 {
			t.Fatalf("read %d", n)
		}
	}
	time.Sleep(time.Millisecond) // let it wait
	if n, err := e.TryRead(); n != 0 || err != nil {
		t.Errorf("read beside a waiting reader: %d, %v", n, err)
	}
	check(t, e.Close())
	if _, ok := <-got; ok {
		t.Error("a signal after Close")
	}
}

func TestEventFDAfterClose(t *testing.T) {
	e := newEventFD(t)
	check(t, e.Close())
	check(t, e.Close())
	if err := e.Signal(); !errors.Is(err, ErrClosed) {
		t.Errorf("signal: %v", err)
	}
	if _, err := e.TryRead(); !errors.Is(err, ErrClosed) {
		t.Errorf("try to read: %v", err)
	}
	if _, err := e.Read(); !errors.Is(err, ErrClosed) {
		t.Errorf("read: %v", err)
	}
}

func TestEventFDConcurrent(t *testing.T) {
	const signallers, each = 4, 500
	e := newEventFD(t)
	var wg sync.WaitGroup
	for range signallers {
		wg.Go(func() {
			for range each {
				check(t, e.Signal())
			}
		})
	}
	for sum := uint64(0); sum < signallers*each; {
		n, err := e.Read()
		check(t, err)
		sum += n
	}
	wg.Wait()
}

func TestEventFDDoesNotAllocate(t *testing.T) {
	e := newEventFD(t)
	allocs := testing.AllocsPerRun(100, func() {
		_ = e.Signal()
		_, _ = e.Read()
		_ = e.Signal()
		_, _ = e.TryRead()
	})
	if allocs != 0 {
		t.Errorf("%v allocations", allocs)
	}
}

func BenchmarkEventFDSignal(b *testing.B) {
	e, err := NewEventFD()
	if err != nil {
		b.Fatal(err)
	}
	defer e.Close()
	b.ReportAllocs()
	for b.Loop() {
		_ = e.Signal()
	}
}

func TestEventFDPending(t *testing.T) {
	e := newEventFD(t)
	for _, want := range []bool{false, true, true} {
		if got, err := e.Pending(); got != want || err != nil {
			t.Errorf("pending: %v, %v, want %v", got, err, want)
		}
		check(t, e.Signal())
	}
	if n, err := e.TryRead(); n != 3 || err != nil {
		t.Errorf("looking took something away: %d left of 3, %v", n, err)
	}
	if n := testing.AllocsPerRun(100, func() { _, _ = e.Pending() }); n != 0 {
		t.Errorf("%v allocations", n)
	}
	check(t, e.Close())
	if _, err := e.Pending(); !errors.Is(err, ErrClosed) {
		t.Errorf("a closed one: %v", err)
	}
}
