package vm

import (
	"io"
	"sync/atomic"

	"github.com/gureum/gureum/devices"
)

// serialPort is the host's end of a serial line that a program talks through.
// What the guest writes before anybody has asked for the port is dropped, as on
// a line with nothing plugged in.
type serialPort struct {
	read    *io.PipeReader
	write   *io.PipeWriter
	serial  *devices.Serial
	plugged atomic.Bool
}

func newSerialPort() *serialPort {
	r, w := io.Pipe()
	return &serialPort{read: r, write: w}
}

// connect says which device the port belongs to.
func (p *serialPort) connect(s *devices.Serial) { p.serial = s }

// guestSide receives what the guest writes.
func (p *serialPort) guestSide() io.Writer { return guestSide{p} }

type guestSide struct{ p *serialPort }

// Write implements io.Writer.
func (g guestSide) Write(b []byte) (int, error) {
	if !g.p.plugged.Load() {
		return len(b), nil
	}
	return g.p.write.Write(b)
}

// Read implements io.Reader; io.EOF after the machine's end.
func (p *serialPort) Read(b []byte) (int, error) { return p.read.Read(b) }

// Write implements io.Writer: it waits until the guest's UART has room.
func (p *serialPort) Write(b []byte) (int, error) { return p.serial.Input().Write(b) }

// Close unplugs the program from the line.
func (p *serialPort) Close() error {
	p.plugged.Store(false)
	return p.read.Close()
}

// hangUp gives readers io.EOF.
func (p *serialPort) hangUp() { _ = p.write.Close() }

// AgentPort is the host's end of the serial line that the guest's agent talks
// on. Whoever asks for it must read it or close it.
func (m *Machine) AgentPort() io.ReadWriteCloser {
	m.platform.agentPort.plugged.Store(true)
	return m.platform.agentPort
}

// ConsoleInput writes to the guest's first serial port. A write waits until the
// guest has taken the bytes; after the machine's end it fails.
func (m *Machine) ConsoleInput() io.Writer { return m.platform.console.Input() }

// ConsoleTail is the end of what the guest wrote to its first serial port.
func (m *Machine) ConsoleTail() []byte { return m.platform.tail.bytes() }
