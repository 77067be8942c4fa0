package vm

import (
	"context"
	"io"
	"sync"
	"sync/atomic"

	"github.com/gureum/gureum/virtio"
	"github.com/gureum/gureum/virtio/console"
)

// Terminal is which device is the guest's console.
type Terminal string

// The kinds of Terminal.
const (
	// TerminalSerial is the first serial port alone; "" means the same.
	TerminalSerial Terminal = "serial"
	// TerminalVirtio is a virtio console (hvc0), which takes far fewer exits. The
	// kernel prints on the serial port until it has the driver.
	TerminalVirtio Terminal = "virtio"
	// TerminalAuto has both. With the embedded kernel it is TerminalVirtio. Other
	// kernels print on the serial port, and input goes there until the guest writes
	// something to the virtio console: a login program has started there.
	TerminalAuto Terminal = "auto"
)

func (t Terminal) check() error {
	switch t {
	case "", TerminalSerial, TerminalVirtio, TerminalAuto:
		return nil
	}
	return inputErrorf("terminal %q: give serial, virtio or auto", string(t))
}

// virtioConsole is what a machine has of its virtio console.
type virtioConsole struct {
	device *console.Device // nil for none
	sink   *consoleSink
	serial *serialPort // set once the platform exists
	// chosen tells that input goes to the virtio console.
	chosen atomic.Bool
}

// consoleSink is where the output of all consoles goes: to the end that the machine
// keeps, and to Config.Console.
type consoleSink struct {
	mu  sync.Mutex
	tee tee
}

func newConsoleSink(out io.Writer) *consoleSink {
	return &consoleSink{tee: tee{ring: newRing(consoleTail), out: out}}
}

// Write implements io.Writer. It never fails.
func (s *consoleSink) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.tee.Write(p)
}

// newConsole makes the virtio console.
func (m *Machine) newConsole() ([]virtio.Device, error) {
	c := &m.config
	if c.Terminal == "" || c.Terminal == TerminalSerial {
		return nil, nil
	}
	m.console.chosen.Store(c.virtioFirst())
	d, err := console.New(console.Config{Ports: []console.PortConfig{{Console: true, Output: (*virtioOutput)(&m.console)}}})
	if err != nil {
		return nil, err
	}
	m.console.device = d
	return []virtio.Device{d}, nil
}

// virtioFirst tells whether the virtio console is the one to use from the start.
func (c *Config) virtioFirst() bool {
	switch c.Terminal {
	case TerminalVirtio:
		return true
	case TerminalAuto:
		return c.Kernel == "" && !namesConsole(c.Append)
	}
	return false
}

// virtioOutput receives what the guest writes to its virtio console.
type virtioOutput virtioConsole

// Write implements io.Writer.
func (o *virtioOutput) Write(p []byte) (int, error) {
	if o.chosen.CompareAndSwap(false, true) {
		// A writer that waits for the serial port shall wait no longer.
		o.serial.hangUp()
	}
	return o.sink.Write(p)
}

// consoleInput sends to the console that is in use.
type consoleInput virtioConsole

// Write implements io.Writer.
func (i *consoleInput) Write(p []byte) (int, error) {
	n := 0
	if !i.chosen.Load() {
		var err error
		if n, err = i.serial.Write(p); err == nil || !i.chosen.Load() {
			return n, err
		}
	}
	k, err := i.device.Port(0).Write(p[n:])
	return n + k, err
}

// drain lets what the guest wrote come out, and ends input.
func (v *virtioConsole) drain(ctx context.Context) {
	if v.device == nil {
		return
	}
	_ = v.device.Port(0).Flush(ctx)
	v.device.Port(0).HangUp()
}

// ConsoleInput writes to the guest's console. A write waits until the guest has
// room for the bytes; after the machine's end it fails.
func (m *Machine) ConsoleInput() io.Writer {
	if m.console.device == nil {
		return m.platform.consolePort
	}
	return (*consoleInput)(&m.console)
}

// ResizeConsole tells the guest the size of its terminal in characters. Only a
// virtio console can pass it on.
func (m *Machine) ResizeConsole(rows, cols uint16) {
	if m.console.device != nil {
		m.console.device.Resize(rows, cols)
	}
}

// ConsoleTail is the end of what the guest wrote to its consoles.
func (m *Machine) ConsoleTail() []byte { return m.console.sink.tee.ring.bytes() }
