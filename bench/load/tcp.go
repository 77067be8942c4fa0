package load

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"time"
)

// The TCP protocol: a client says in one byte what it wants and, for a stream to
// it, for how many bytes in eight more (big endian).
const (
	kindSend  = 's' // client to server, until the client closes; the server answers with one byte
	kindFetch = 'f' // server to client
	kindEcho  = 'e' // one byte back for each byte
)

// tcpBuffer is the size of a read or write of a stream, in bytes.
const tcpBuffer = 128 << 10

// Serve answers clients until the listener is closed.
func Serve(l net.Listener) error {
	for {
		c, err := l.Accept()
		if errors.Is(err, net.ErrClosed) {
			return nil
		}
		if err != nil {
			return err
		}
		go serveOne(c)
	}
}

func serveOne(c net.Conn) {
	defer c.Close()
	var head [9]byte
	if _, err := io.ReadFull(c, head[:]); err != nil {
		return
	}
	buf := make([]byte, tcpBuffer)
	switch head[0] {
	case kindSend:
		_, _ = io.CopyBuffer(struct{ io.Writer }{io.Discard}, struct{ io.Reader }{c}, buf)
		_, _ = c.Write(buf[:1])
	case kindFetch:
		for left := binary.BigEndian.Uint64(head[1:]); left > 0; {
			n, err := c.Write(buf[:min(left, tcpBuffer)])
			if err != nil {
				return
			}
			left -= uint64(n)
		}
	case kindEcho:
		for {
			if _, err := io.ReadFull(c, buf[:1]); err != nil {
				return
			}
			if _, err := c.Write(buf[:1]); err != nil {
				return
			}
		}
	}
}

// TCPJob is one measurement of a client.
type TCPJob struct {
	// Server is HOST:PORT.
	Server string
	// Kind is "send", "fetch" or "echo".
	Kind string
	// Amount is the number of bytes of a stream, or of round trips.
	Amount uint64
	// Streams is how many connections share the amount.
	Streams int
}

// TCPResult is what came of a job.
type TCPResult struct {
	Amount  uint64
	Elapsed time.Duration
}

// String is one line for programs and people to read.
func (r TCPResult) String() string {
	s := r.Elapsed.Seconds()
	return fmt.Sprintf("amount=%d seconds=%.3f gbps=%.3f microseconds=%.1f", r.Amount, s, float64(r.Amount)*8/1e9/s, s*1e6/float64(r.Amount))
}

// RunTCP does a job.
func RunTCP(j TCPJob) (TCPResult, error) {
	if j.Streams < 1 || j.Amount < uint64(j.Streams) {
		return TCPResult{}, fmt.Errorf("%d bytes in %d streams: give at least one of each", j.Amount, j.Streams)
	}
	kinds := map[string]byte{"send": kindSend, "fetch": kindFetch, "echo": kindEcho}
	kind, ok := kinds[j.Kind]
	if !ok {
		return TCPResult{}, fmt.Errorf("%q: give send, fetch or echo", j.Kind)
	}
	share := j.Amount / uint64(j.Streams)
	started := time.Now()
	ends := make(chan error, j.Streams)
	for range j.Streams {
		go func() { ends <- client(j.Server, kind, share) }()
	}
	var errs []error
	for range j.Streams {
		errs = append(errs, <-ends)
	}
	return TCPResult{Amount: share * uint64(j.Streams), Elapsed: time.Since(started)}, errors.Join(errs...)
}

func client(server string, kind byte, amount uint64) error {
	conn, err := net.Dial("tcp", server)
	if err != nil {
		return err
	}
	defer conn.Close()
	c := conn.(*net.TCPConn)
	head := binary.BigEndian.AppendUint64([]byte{kind}, amount)
	if _, err := c.Write(head); err != nil {
		return err
	}
	buf := make([]byte, tcpBuffer)
	switch kind {
	case kindSend:
		for left := amount; left > 0; {
			n, err := c.Write(buf[:min(left, tcpBuffer)])
			if err != nil {
				return err
			}
			left -= uint64(n)
		}
		if err := c.CloseWrite(); err != nil {
			return err
		}
		_, err = io.ReadFull(c, buf[:1]) // all has arrived
		return err
	case kindFetch:
		n, err := io.CopyBuffer(struct{ io.Writer }{io.Discard}, struct{ io.Reader }{c}, buf)
		if err == nil && uint64(n) != amount {
			err = fmt.Errorf("%d bytes of %d came", n, amount)
		}
		return err
	}
	for range amount {
		if _, err := c.Write(buf[:1]); err != nil {
			return err
		}
		if _, err := io.ReadFull(c, buf[:1]); err != nil {
			return err
		}
	}
	return nil
}
