package agent

import (
	"encoding/binary"
	"fmt"
	"io"
	"slices"
)

// output passes one stream on, and returns credit as it is consumed.
func (s *Session) output(stream uint8, w io.Writer) {
	defer s.pumps.Done()
	q := s.out[stream-streamStdout]
	for {
		p := q.take()
		if p == nil {
			return
		}
		if w != nil {
			if _, err := w.Write(p); err != nil {
				s.outputFailed(stream, err)
				q.close()
				return
			}
		}
		if n := q.done(len(p)); n > 0 {
			s.c.out.post(window{stream, uint32(n)}.frame(s.channel), s.ended)
		}
	}
}

// outputFailed tells the guest that nobody reads the stream any more, so that
// the command gets the broken pipe that it would have had here.
func (s *Session) outputFailed(stream uint8, err error) {
	s.mu.Lock()
	if s.writeErr == nil {
		s.writeErr = err
	}
	s.mu.Unlock()
	s.c.out.post(closedFrame(s.channel, stream), s.ended)
}

// input sends standard input as far as the guest gives credit.
func (s *Session) input() {
	<-s.started
	buf := make([]byte, headerSize+chunk)
	for {
		n, err := s.cmd.Stdin.Read(buf[headerSize:])
		if n > 0 && !s.sendInput(buf[:headerSize+n]) {
			return
		}
		if err != nil {
			s.c.out.post(newFrame(typeStdinEOF, s.channel, nil), s.ended)
			return
		}
	}
}

// sendInput sends b's payload, in as many frames as credit asks for. The room
// for a header is in front of it.
func (s *Session) sendInput(b []byte) bool {
	for len(b) > headerSize {
		n := s.stdin.take(len(b) - headerSize)
		if n == 0 {
			return false
		}
		header{typ: typeStdin, channel: s.channel, length: uint32(n)}.put(b)
		if s.c.out.bulk(b[:headerSize+n]) != nil {
			return false
		}
		b = b[n:]
	}
	return true
}

// Resize tells the command's terminal its new size.
func (s *Session) Resize(rows, cols uint16) error {
	b := binary.LittleEndian.AppendUint16(nil, rows)
	b = binary.LittleEndian.AppendUint16(b, cols)
	return s.control("resizing its terminal", newFrame(typeResize, s.channel, b))
}

// Signal sends a signal, by its Linux number, to the command and what it
// started.
func (s *Session) Signal(n int) error {
	if n < 1 || n > 64 {
		return fmt.Errorf("signal %d: signals are 1 to 64", n)
	}
	return s.control("sending it a signal", newFrame(typeSignal, s.channel, []byte{byte(n)}))
}

func (s *Session) control(what string, frame []byte) error {
	select {
	case <-s.ended:
		return ErrNoCommand
	default:
	}
	if err := s.c.out.control(frame, s.ended); err != nil {
		select {
		case <-s.ended:
			return ErrNoCommand
		default:
			return s.c.disconnected(what, err)
		}
	}
	return nil
}

// Resize tells all commands on a terminal its new size: the host has one.
func (c *Client) Resize(rows, cols uint16) error {
	err := ErrNoCommand
	for _, s := range c.running() {
		if s.cmd.TTY {
			err = s.Resize(rows, cols)
		}
	}
	return err
}

// Signal sends a signal to the command that was started last.
func (c *Client) Signal(n int) error {
	list := c.running()
	if len(list) == 0 {
		return ErrNoCommand
	}
	return list[len(list)-1].Signal(n)
}

func (c *Client) running() []*Session {
	c.mu.Lock()
	defer c.mu.Unlock()
	return slices.Clone(c.newest)
}
