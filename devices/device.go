package devices

import "sync/atomic"

// Device answers accesses to a range of ports or of memory. The offset counts from
// the base at which the device was registered, and offset+len(data) never passes
// the end of that range. Values are little-endian, as on the wire of a PC.
//
// Both methods run on vCPU threads, perhaps on several at once. They must not
// block, must not allocate, and must not keep data.
type Device interface {
	// Read fills all of data.
	Read(offset uint64, data []byte)
	// Write takes data.
	Write(offset uint64, data []byte)
}

// Interrupt is one edge-triggered interrupt line (a GSI). Each Trigger is one
// rising edge. It must not block and must be safe for use by several goroutines.
type Interrupt interface {
	Trigger() error
}

// InterruptFunc makes an Interrupt of a function, such as the Signal method of an
// event file descriptor that is bound to a GSI.
type InterruptFunc func() error

// Trigger calls f.
func (f InterruptFunc) Trigger() error { return f() }

// allOnes is what a PC reads where nothing answers: the bus is pulled up.
const allOnes = 0xFF

// fill sets every byte of data to b.
func fill(data []byte, b byte) {
	for i := range data {
		data[i] = b
	}
}

// edgeLine turns the level of a device's interrupt output into edges: a PC's ISA
// interrupts are edge-triggered, so only a rise is worth an interrupt.
//
// set belongs under the device's lock; fire comes after it is released, so that
// the system call behind an Interrupt does not lengthen the critical section.
type edgeLine struct {
	irq    Interrupt
	high   bool
	failed atomic.Uint64
}

// set notes the new level and reports whether it is a rising edge.
func (l *edgeLine) set(high bool) bool {
	rise := high && !l.high
	l.high = high
	return rise
}

// fire raises one edge. A device has no way to answer a failing interrupt, so a
// failure is counted and left to whoever reads the count.
func (l *edgeLine) fire() {
	if l.irq == nil {
		return
	}
	if err := l.irq.Trigger(); err != nil {
		l.failed.Add(1)
	}
}
