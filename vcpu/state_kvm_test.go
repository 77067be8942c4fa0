package vcpu

import (
	"encoding/binary"
	"reflect"
	"slices"
	"sync"
	"testing"

	"github.com/gureum/gureum/kvm"
)

// sumBus feeds codeSum and checks its sums: nothing may be lost or doubled.
type sumBus struct {
	t  *testing.T
	mu sync.Mutex

	fed, sum uint32 // what the guest was given last, and all of it
	rounds   uint32 // that the guest has reported
	half     bool   // it has reported the round, not yet the sum
}

func (b *sumBus) Read(_ uint64, data []byte) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.fed++
	b.sum += b.fed
	binary.LittleEndian.PutUint32(data, b.fed)
}

func (b *sumBus) Write(_ uint64, data []byte) {
	b.mu.Lock()
	defer b.mu.Unlock()
	n := binary.LittleEndian.Uint32(data)
	if !b.half {
		if n != b.rounds+1 {
			b.t.Errorf("round %d after %d", n, b.rounds)
		}
		b.rounds = n
	} else if n != b.sum {
		b.t.Errorf("round %d: sum %d, want %d", b.rounds, n, b.sum)
	}
	b.half = !b.half
}

func (b *sumBus) reached() uint32 {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.rounds
}

// TestKVMMoveGuest carries a guest that is always in the midst of some access from one machine to the next.
func TestKVMMoveGuest(t *testing.T) {
	bus := &sumBus{t: t, sum: 0x6000} // ebx begins as the boot protocol's argument
	g := newTestGuest(t, Config{PIO: bus}, codeSum)
	g.startPVH()
	for range 8 {
		at := bus.reached()
		waitFor(t, func() bool { return bus.reached() > at })
		mustDo(t, g.Pause())
		states, err := g.Save()
		mustDo(t, err)
		mustDo(t, g.Stop())
		next := newTestGuest(t, Config{PIO: bus}, nil)
		copy(next.ram, g.ram)
		mustDo(t, next.Restore(states))
		again, err := next.Save()
		mustDo(t, err)
		compareStates(t, states, again)
		mustDo(t, next.Start())
		g = next
		if t.Failed() {
			break
		}
	}
	mustDo(t, g.Stop())
}

// TestKVMRestoreInPlace sets a guest back while it is paused.
func TestKVMRestoreInPlace(t *testing.T) {
	g := newTestGuest(t, Config{CPUs: 2}, codeBusy)
	g.startPVH()
	waitFor(t, func() bool { return g.counter() > 0 })
	mustDo(t, g.Pause())
	states, err := g.Save()
	mustDo(t, err)
	mustDo(t, g.Resume())
	at := g.counter()
	waitFor(t, func() bool { return g.counter() != at })
	mustDo(t, g.Pause(), g.Restore(states))
	again, err := g.Save()
	mustDo(t, err)
	compareStates(t, states, again)
	mustDo(t, g.Resume())
	at = g.counter()
	waitFor(t, func() bool { return g.counter() != at })
	mustDo(t, g.Stop())
}

func compareStates(t *testing.T, want, got []CPUState) {
	t.Helper()
	for i := range want {
		a, b := reflect.ValueOf(want[i]), reflect.ValueOf(got[i])
		for f := range a.NumField() {
			name := a.Type().Field(f).Name
			x, y := a.Field(f).Interface(), b.Field(f).Interface()
			switch name {
			case "MSRs":
				compareMSRs(t, i, want, got)
			default:
				if !reflect.DeepEqual(x, y) {
					t.Errorf("vcpu %d: %s is\n%+v, was\n%+v", i, name, y, x)
				}
			}
		}
	}
}

func compareMSRs(t *testing.T, cpu int, want, got []CPUState) {
	t.Helper()
	was, is := want[cpu].MSRs, got[cpu].MSRs
	if len(was) != len(is) {
		t.Errorf("vcpu %d: %d MSRs, was %d", cpu, len(is), len(was))
		return
	}
	for j, w := range was {
		switch w.Index {
		case 0x40000020, 0x40000010: // the machine's time, which is not ours
			continue
		case msrTSC:
			compareTSC(t, cpu, want[0], is[j].Data)
			continue
		}
		if is[j] != w {
			t.Errorf("vcpu %d: MSR %#x is %#x, was %#x", cpu, w.Index, is[j].Data, w.Data)
		}
	}
}

// compareTSC wants a TSC that went on from what the first vCPU's was, and by no more than this
// test can have taken. KVM keeps the vCPUs' TSCs equal and lets them run during a pause, so that
// what was read of a later vCPU is ahead of the first by the time between the two reads. No
// guest code has seen that.
func compareTSC(t *testing.T, cpu int, first CPUState, got uint64) {
	t.Helper()
	i := slices.IndexFunc(first.MSRs, func(m kvm.MSREntry) bool { return m.Index == msrTSC })
	if i < 0 {
		t.Errorf("vcpu 0: no TSC among its MSRs")
		return
	}
	if d := got - first.MSRs[i].Data; d > 60*uint64(first.TSCKHz)*1000 {
		t.Errorf("vcpu %d: TSC went from %#x to %#x", cpu, first.MSRs[i].Data, got)
	}
}

func TestKVMRestoreRefuses(t *testing.T) {
	g := newTestGuest(t, Config{CPUs: 2}, codeBusy)
	states, err := g.Save()
	mustDo(t, err)
	if err := g.Restore(states[:1]); err == nil {
		t.Error("state of one CPU for two")
	}
	states[0], states[1] = states[1], states[0]
	if err := g.Restore(states); err == nil {
		t.Error("states in the wrong order")
	}
	mustDo(t, g.SetEntry(Entry{IP: guestCode}), g.Start())
	if _, err := g.Save(); err == nil {
		t.Error("saved while running")
	}
	if err := g.Restore(states); err == nil {
		t.Error("restored while running")
	}
	mustDo(t, g.Stop())
}
