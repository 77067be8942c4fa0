package vm

import (
	"io"
	"sync/atomic"
)

// serialPort is the host's end of a serial line that a program talks through.
// What the guest writes before anybody has asked for the port is dropped, as on
// a line with nothing plugged in.
//
//	guest -> UART -> guestSide -> toHost pipe -> Read
//	guest <- UART <- pump <- toGuest pipe <- Write
//
// The pipes let Close and the machine's end call back a Read or a Write that
// waits for a guest that does not answer.
type serialPort struct {
	toHostR  *io.PipeReader
	toHostW  *io.PipeWriter
	toGuestR *io.PipeReader
	toGuestW *io.PipeWriter
	plugged  atomic.Bool
	pumped   chan struct{} // closed when pump has ended; nil before it starts
}

func newSerialPort() *serialPort {
	p := &serialPort{}
	p.toHostR, p.toHostW = io.Pipe()
	p.toGuestR, p.toGuestW = io.Pipe()
	return p
}

// connect starts to pass on to the guest what is written to the port. The pump
// ends when the UART is closed.
func (p *serialPort) connect(uart io.Writer) {
	p.pumped = make(chan struct{})
	go func() {
		defer close(p.pumped)
		_, err := io.Copy(uart, p.toGuestR)
		_ = p.toGuestR.CloseWithError(err)
	}()
}

// guestSide receives what the guest writes.
func (p *serialPort) guestSide() io.Writer { return guestSide{p} }

type guestSide struct{ p *serialPort }

// Write implements io.Writer.
func (g guestSide) Write(b []byte) (int, error) {
	if !g.p.plugged.Load() {
		return len(b), nil
	}
	return g.p.toHostW.Write(b)
}

// Read implements io.Reader; io.EOF after the machine's end.
func (p *serialPort) Read(b []byte) (int, error) { return p.toHostR.Read(b) }

// Write implements io.Writer: it waits until the guest's UART has room.
func (p *serialPort) Write(b []byte) (int, error) { return p.toGuestW.Write(b) }

// Close unplugs the program from the line.
func (p *serialPort) Close() error {
	p.plugged.Store(false)
	_ = p.toHostR.Close()
	return p.toGuestW.Close()
}

// hangUp gives readers io.EOF, and writers an error.
func (p *serialPort) hangUp() {
	_ = p.toHostW.Close()
	_ = p.toGuestR.Close()
}

// wait waits for the pump, after the UART has been closed.
func (p *serialPort) wait() {
	if p.pumped != nil {
		<-p.pumped
	}
}

// AgentPort is the host's end of the serial line that the guest's agent talks
// on. Whoever asks for it must read it or close it.
func (m *Machine) AgentPort() io.ReadWriteCloser {
	m.platform.agentPort.plugged.Store(true)
	return m.platform.agentPort
}
