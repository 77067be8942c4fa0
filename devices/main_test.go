package devices

import (
	"encoding/binary"
	"sync/atomic"
	"testing"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// countIRQ is an Interrupt that counts.
type countIRQ struct{ n atomic.Uint64 }

func (c *countIRQ) Trigger() error { c.n.Add(1); return nil }
func (c *countIRQ) count() uint64  { return c.n.Load() }

// eventLog keeps the events that a device emitted.
type eventLog struct{ got []Event }

func (l *eventLog) add(e Event) { l.got = append(l.got, e) }

func inb(d Device, off uint64) uint8 {
	var b [1]byte
	d.Read(off, b[:])
	return b[0]
}

func outb(d Device, off uint64, v uint8) { d.Write(off, []byte{v}) }

func inl(d Device, off uint64) uint32 {
	var b [4]byte
	d.Read(off, b[:])
	return binary.LittleEndian.Uint32(b[:])
}

func wantByte(t testing.TB, what string, got, want uint8) {
	t.Helper()
	if got != want {
		t.Errorf("%s = %#02x, want %#02x", what, got, want)
	}
}

// wantNoAllocs checks that an access costs no allocation.
func wantNoAllocs(t *testing.T, what string, f func()) {
	t.Helper()
	if n := testing.AllocsPerRun(200, f); n != 0 {
		t.Errorf("%s: %v allocations, want 0", what, n)
	}
}
