package load

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"time"
)

// Jobs of datagrams begin on a TCP connection, with a byte for the direction and the number
// of datagrams in eight more, as the streams do. The server answers with the number of its
// UDP port in two bytes, both big endian. While they go on, the connection has credits from
// the receiver, and a byte from the sender when it has sent all.
const (
	kindDatagramsIn  = 'u' // client to server
	kindDatagramsOut = 'd' // server to client, after one from the client that tells its address
)

const (
	// datagramSize makes the smallest Ethernet frame, of 64 bytes with its checksum:
	// 14 + 20 (IPv4) + 8 (UDP) + 18 + 4.
	datagramSize = 18
	// datagramWindow is how many may be under way; they fit in the smallest queue on the
	// way, a socket's receive buffer of 208 KiB. So one that is lost was not lost for lack of
	// room there. The receiver gives a credit for each creditEvery.
	datagramWindow = 128
	creditEvery    = 32
	// creditPatience is how long a sender waits for a credit until it takes what is under
	// way for lost, and goodbyePatience how long a receiver waits for the last ones.
	creditPatience  = 250 * time.Millisecond
	goodbyePatience = 250 * time.Millisecond
)

// UDPJob is one measurement of a client.
type UDPJob struct {
	// Server is HOST:PORT of a Serve.
	Server string
	// Receive is for datagrams from the server; else they go to it.
	Receive bool
	// Amount is the number of datagrams.
	Amount uint64
}

// UDPResult is what came of a job.
type UDPResult struct {
	// Sent and Received are numbers of datagrams.
	Sent, Received uint64
	// Elapsed is from the first that was received to the last.
	Elapsed time.Duration
}

// String is one line for programs and people to read.
func (r UDPResult) String() string {
	s := r.Elapsed.Seconds()
	return fmt.Sprintf("sent=%d lost=%d seconds=%.3f pps=%.0f", r.Sent, r.Sent-r.Received, s, r.PerSecond())
}

// PerSecond is the rate at which datagrams came.
func (r UDPResult) PerSecond() float64 { return float64(r.Received-1) / r.Elapsed.Seconds() }

// RunUDP does a job. It is an error if fewer than two datagrams arrive.
func RunUDP(j UDPJob) (UDPResult, error) {
	if j.Amount < 2 {
		return UDPResult{}, fmt.Errorf("%d datagrams: give at least 2", j.Amount)
	}
	kind := byte(kindDatagramsIn)
	if j.Receive {
		kind = kindDatagramsOut
	}
	control, err := dial(j.Server, kind, j.Amount)
	if err != nil {
		return UDPResult{}, err
	}
	defer control.Close()
	var port [2]byte
	if _, err := io.ReadFull(control, port[:]); err != nil {
		return UDPResult{}, fmt.Errorf("the server's UDP port: %w", err)
	}
	host, _, err := net.SplitHostPort(j.Server)
	if err != nil {
		return UDPResult{}, err
	}
	datagrams, err := net.Dial("udp", net.JoinHostPort(host, fmt.Sprint(binary.BigEndian.Uint16(port[:]))))
	if err != nil {
		return UDPResult{}, err
	}
	defer datagrams.Close()
	var got credit
	if j.Receive {
		if _, err := datagrams.Write([]byte{0}); err != nil {
			return UDPResult{}, err
		}
		got, err = receiveDatagrams(control, datagrams, j.Amount)
	} else {
		got, err = sendDatagrams(control, datagrams, j.Amount)
	}
	if err == nil && got.received < 2 {
		err = errors.New("no datagrams arrived")
	}
	return UDPResult{Sent: j.Amount, Received: got.received, Elapsed: got.elapsed}, err
}

// serveDatagrams is the server's end.
func serveDatagrams(control *net.TCPConn, kind byte, amount uint64) error {
	local, err := net.ListenUDP("udp", &net.UDPAddr{IP: control.LocalAddr().(*net.TCPAddr).IP})
	if err != nil {
		return err
	}
	defer local.Close()
	port := local.LocalAddr().(*net.UDPAddr).Port
	if _, err := control.Write(binary.BigEndian.AppendUint16(nil, uint16(port))); err != nil {
		return err
	}
	if kind == kindDatagramsIn {
		_, err := receiveDatagrams(control, local, amount)
		return err
	}
	if err := local.SetReadDeadline(time.Now().Add(talkPatience)); err != nil {
		return err
	}
	_, client, err := local.ReadFromUDP(make([]byte, 1))
	if err != nil {
		return err
	}
	// It stays unconnected: a second socket on the same port would have to be told apart.
	_, err = sendDatagrams(control, writeTo{local, client}, amount)
	return err
}

// writeTo writes to one address by a socket for all.
type writeTo struct {
	*net.UDPConn
	to *net.UDPAddr
}

func (w writeTo) Write(b []byte) (int, error) { return w.WriteToUDPAddrPort(b, w.to.AddrPort()) }

// credit tells a sender what has arrived.
type credit struct {
	received uint64
	elapsed  time.Duration // since the first
	last     bool          // no more are awaited
}

const (
	creditSize = 16
	creditLast = 1 << 63
)

func (c credit) append(b []byte) []byte {
	n := c.received
	if c.last {
		n |= creditLast
	}
	return binary.BigEndian.AppendUint64(binary.BigEndian.AppendUint64(b, n), uint64(c.elapsed))
}

func readCredit(r io.Reader) (credit, error) {
	var b [creditSize]byte
	if _, err := io.ReadFull(r, b[:]); err != nil {
		return credit{}, err
	}
	n := binary.BigEndian.Uint64(b[:])
	return credit{received: n &^ creditLast, last: n&creditLast != 0, elapsed: time.Duration(binary.BigEndian.Uint64(b[8:]))}, nil
}

// sendDatagrams sends as fast as credits come, and gives the last of them.
func sendDatagrams(control *net.TCPConn, to io.Writer, amount uint64) (credit, error) {
	payload := make([]byte, datagramSize)
	var c credit
	granted := uint64(datagramWindow)
	for sent := uint64(0); sent < amount; sent++ {
		for sent >= granted {
			if err := control.SetReadDeadline(time.Now().Add(creditPatience)); err != nil {
				return c, err
			}
			var err error
			switch c, err = readCredit(control); {
			case errors.Is(err, os.ErrDeadlineExceeded):
				granted = sent + datagramWindow
			case err != nil:
				return c, fmt.Errorf("credit after %d datagrams: %w", sent, err)
			default:
				granted = max(granted, c.received+datagramWindow)
			}
		}
		if _, err := to.Write(payload); err != nil {
			return c, fmt.Errorf("datagram %d: %w", sent, err)
		}
	}
	if _, err := control.Write([]byte{0}); err != nil {
		return c, err
	}
	if err := control.SetReadDeadline(time.Now().Add(talkPatience)); err != nil {
		return c, err
	}
	for !c.last {
		var err error
		if c, err = readCredit(control); err != nil {
			return c, fmt.Errorf("the last credit: %w", err)
		}
	}
	return c, nil
}

// receiver is what a socket for datagrams has to read.
type receiver interface {
	Read([]byte) (int, error)
	SetReadDeadline(time.Time) error
}

// receiveDatagrams counts datagrams and gives credits, until all are there or, after the
// sender has said that it has sent all, no more come.
func receiveDatagrams(control *net.TCPConn, from receiver, amount uint64) (credit, error) {
	go func() {
		var b [1]byte
		_, _ = io.ReadFull(control, b[:]) // or the connection is closed
		_ = from.SetReadDeadline(time.Now().Add(goodbyePatience))
	}()
	var c credit
	var first, last time.Time
	b := make([]byte, datagramSize)
	for c.received < amount {
		_, err := from.Read(b)
		if errors.Is(err, os.ErrDeadlineExceeded) {
			break
		}
		if err != nil {
			return c, fmt.Errorf("after %d datagrams: %w", c.received, err)
		}
		last = time.Now()
		if c.received++; c.received == 1 {
			first = last
		}
		c.elapsed = last.Sub(first)
		if c.received%creditEvery == 0 && c.received < amount {
			if _, err := control.Write(c.append(nil)); err != nil {
				return c, err
			}
		}
	}
	c.last = true
	_, err := control.Write(c.append(nil))
	return c, err
}
