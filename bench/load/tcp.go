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
	kindAsk   = 'a' // one byte back, and the connection ends
)

// Kinds of jobs.
const (
	KindSend    = "send"    // a stream to the server
	KindFetch   = "fetch"   // a stream from it
	KindEcho    = "echo"    // round trips of a byte on one connection
	KindConnect = "connect" // connections, each with a request and its answer
	KindUDPSend = "udp-send"
	KindUDPGet  = "udp-fetch"
)

// kinds are those of TCP jobs.
var kinds = map[string]byte{KindSend: kindSend, KindFetch: kindFetch, KindEcho: kindEcho, KindConnect: kindAsk}

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
	case kindAsk:
		_, _ = c.Write(buf[:1])
	case kindDatagramsIn, kindDatagramsOut:
		_ = serveDatagrams(c.(*net.TCPConn), head[0], binary.BigEndian.Uint64(head[1:])) // the client sees that it ends
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
	// Kind is KindSend, KindFetch, KindEcho or KindConnect.
	Kind string
	// Amount is the number of bytes of a stream, of round trips, or of connections.
	Amount uint64
	// Streams is how many connections share the amount.
	Streams int
}

// TCPResult is what came of a job.
type TCPResult struct {
	Amount  uint64
	Elapsed time.Duration
	// Latencies are those of the round trips, or of the connections from the first packet
	// until the answer is there; streams have none.
	Latencies []time.Duration
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
	kind, ok := kinds[j.Kind]
	if !ok {
		return TCPResult{}, fmt.Errorf("%q: give send, fetch, echo or connect", j.Kind)
	}
	clients := make([]client, j.Streams)
	each := j.Amount / uint64(j.Streams)
	started := time.Now()
	ends := make(chan error, j.Streams)
	for i := range clients {
		clients[i] = client{server: j.Server, kind: kind, amount: each}
		go func() { ends <- clients[i].run() }()
	}
	var errs []error
	for range clients {
		errs = append(errs, <-ends)
	}
	r := TCPResult{Amount: each * uint64(j.Streams), Elapsed: time.Since(started)}
	for _, c := range clients {
		r.Latencies = append(r.Latencies, c.latencies...)
	}
	return r, errors.Join(errs...)
}

// client is one of a job's.
type client struct {
	server    string
	kind      byte
	amount    uint64
	latencies []time.Duration
}

func (c *client) run() error {
	if c.kind == kindAsk {
		return c.connections()
	}
	conn, err := dial(c.server, c.kind, c.amount)
	if err != nil {
		return err
	}
	defer conn.Close()
	buf := make([]byte, tcpBuffer)
	switch c.kind {
	case kindSend:
		for left := c.amount; left > 0; {
			n, err := conn.Write(buf[:min(left, tcpBuffer)])
			if err != nil {
				return err
			}
			left -= uint64(n)
		}
		if err := conn.CloseWrite(); err != nil {
			return err
		}
		_, err = io.ReadFull(conn, buf[:1]) // all has arrived
		return err
	case kindFetch:
		n, err := io.CopyBuffer(struct{ io.Writer }{io.Discard}, struct{ io.Reader }{conn}, buf)
		if err == nil && uint64(n) != c.amount {
			err = fmt.Errorf("%d bytes of %d came", n, c.amount)
		}
		return err
	}
	return c.roundTrips(conn)
}

func (c *client) roundTrips(conn net.Conn) error {
	c.latencies = make([]time.Duration, 0, c.amount)
	var b [1]byte
	for range c.amount {
		began := time.Now()
		if _, err := conn.Write(b[:]); err != nil {
			return err
		}
		if _, err := io.ReadFull(conn, b[:]); err != nil {
			return err
		}
		c.latencies = append(c.latencies, time.Since(began))
	}
	return nil
}

// connections are made one after the other, each for one request and its answer.
func (c *client) connections() error {
	c.latencies = make([]time.Duration, 0, c.amount)
	for range c.amount {
		began := time.Now()
		conn, err := dial(c.server, c.kind, 0)
		if err != nil {
			return err
		}
		var b [1]byte
		_, err = io.ReadFull(conn, b[:])
		c.latencies = append(c.latencies, time.Since(began))
		if err = errors.Join(err, conn.Close()); err != nil {
			return err
		}
	}
	return nil
}

// dial connects and says what is wanted.
func dial(server string, kind byte, amount uint64) (*net.TCPConn, error) {
	conn, err := net.Dial("tcp", server)
	if err != nil {
		return nil, err
	}
	head := binary.BigEndian.AppendUint64([]byte{kind}, amount)
	if _, err := conn.Write(head); err != nil {
		return nil, errors.Join(err, conn.Close())
	}
	return conn.(*net.TCPConn), nil
}
