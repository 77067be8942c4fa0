package vsock

import (
	"errors"
	"io"
	"sync"
	"time"

	"github.com/gureum/gureum/virtio/queue"
)

// Errors of connections.
var (
	// ErrRefused: nobody listens on that port in the guest.
	ErrRefused = errors.New("vsock: connection refused by the guest")
	// ErrReset: the guest ended the connection, or itself.
	ErrReset = errors.New("vsock: connection reset by the guest")
	// ErrClosed: this side has closed the connection.
	ErrClosed = errors.New("vsock: connection is closed")
)

// closeTimeout is how long a guest may take to agree to the end of a connection
// before it is told that there is none any more.
const closeTimeout = 2 * time.Second

// stage of a connection's life.
type stage int

const (
	dialling    stage = iota // the guest has been asked, or is about to be
	asked                    // the guest has asked, the host has not answered
	established              // data can flow
	closing                  // this side is done; the guest has yet to agree
	dead
)

// What a connection has for the guest, beside data.
const (
	wantRequest = 1 << iota
	wantResponse
	wantShutdown
	wantReset
	wantCredit        // tell the guest how much room there is
	wantCreditRequest // ask the guest how much room there is
)

// Conn is one stream. Read, Write, CloseWrite and Close may be called from
// different goroutines; Close ends the others.
type Conn struct {
	d      *Device
	key    key
	queued bool // in Device.ready; guarded by Device.mu

	writing sync.Mutex // one Write at a time

	mu       sync.Mutex // guards what follows
	changed  sync.Cond  // of mu: anything below
	stage    stage
	err      error // why it is dead
	want     int
	in       buffer // from the guest, not yet read
	lent     bool   // WriteTo works with a part of in
	out      []byte // rest of what Write was given
	peerShut uint32 // flags of the guest's shutdown
	hostShut uint32 // flags of ours
	timer    *time.Timer
	ended    func() // called once when the connection is dead

	// Flow control (section 5.10.6.3). All counters are modulo 2^32.
	forwarded  uint32 // bytes that Read has taken
	advertised uint32 // forwarded as the guest was last told
	sent       uint32 // bytes sent to the guest
	peerAlloc  uint32 // the guest's buffer
	peerTaken  uint32 // bytes that left it
}

func newConn(d *Device, k key, s stage) *Conn {
	c := &Conn{d: d, key: k, stage: s}
	c.changed.L = &c.mu
	return c
}

// LocalPort is the host's port.
func (c *Conn) LocalPort() uint32 { return c.key.host }

// RemotePort is the guest's port.
func (c *Conn) RemotePort() uint32 { return c.key.guest }

// Read reads what the guest has sent. It waits for the first byte; io.EOF comes when
// the guest has shut its side down or closed, and an error when the connection broke.
func (c *Conn) Read(p []byte) (int, error) {
	c.mu.Lock()
	for {
		switch {
		case c.stage == closing || errors.Is(c.err, ErrClosed):
			c.mu.Unlock()
			return 0, ErrClosed
		case c.in.used > 0:
			n := 0
			for n < len(p) && c.in.used > 0 {
				m := copy(p[n:], c.in.data())
				c.in.drop(m)
				n += m
			}
			c.taken(n)
			return n, nil
		case c.err != nil:
			err := c.err
			c.mu.Unlock()
			return 0, err
		case c.peerShut&shutSend != 0:
			c.mu.Unlock()
			return 0, io.EOF
		case len(p) == 0:
			c.mu.Unlock()
			return 0, nil
		}
		c.changed.Wait()
	}
}

// WriteTo writes all that the guest sends to w, without a buffer in between, until
// the guest ends its side. It implements io.WriterTo.
func (c *Conn) WriteTo(w io.Writer) (total int64, err error) {
	for {
		data, err := c.borrow()
		if errors.Is(err, io.EOF) {
			return total, nil
		}
		if err != nil {
			return total, err
		}
		n, err := w.Write(data)
		total += int64(n)
		if e := c.giveBack(n); err == nil {
			err = e
		}
		if err != nil {
			return total, err
		}
	}
}

// borrow waits for data and lends a part of the buffer. The guest's next bytes go
// behind it, and nobody else takes it away before giveBack.
func (c *Conn) borrow() ([]byte, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for c.in.used == 0 && c.err == nil && c.peerShut&shutSend == 0 && c.stage < closing {
		c.changed.Wait()
	}
	switch {
	case c.stage == closing:
		return nil, ErrClosed
	case c.in.used > 0:
		c.lent = true
		return c.in.data(), nil
	case c.err != nil:
		return nil, c.err
	}
	return nil, io.EOF
}

// giveBack ends a loan of which n bytes have been used.
func (c *Conn) giveBack(n int) error {
	c.mu.Lock()
	c.lent = false
	if c.stage == closing || errors.Is(c.err, ErrClosed) {
		c.in.release()
		c.mu.Unlock()
		return ErrClosed
	}
	c.in.drop(n)
	c.taken(n)
	return nil
}

// taken counts n bytes that have left the buffer and tells the guest when that has
// made enough room to be worth a packet. It unlocks c.mu.
func (c *Conn) taken(n int) {
	c.forwarded += uint32(n)
	tell := c.forwarded-c.advertised >= bufferSize/2 && c.stage == established
	if tell {
		c.want |= wantCredit
	}
	c.mu.Unlock()
	if tell {
		c.d.notify(c)
	}
}

// Write sends p to the guest. It returns when the guest's buffers hold all of it.
func (c *Conn) Write(p []byte) (int, error) {
	c.writing.Lock()
	defer c.writing.Unlock()
	c.mu.Lock()
	if err := c.writeError(); err != nil || len(p) == 0 {
		c.mu.Unlock()
		return 0, err
	}
	c.out = p
	c.mu.Unlock()
	c.d.notify(c)
	c.mu.Lock()
	defer c.mu.Unlock()
	for len(c.out) > 0 && c.writeError() == nil {
		c.changed.Wait()
	}
	n := len(p) - len(c.out)
	c.out = nil
	if n < len(p) {
		return n, c.writeError()
	}
	return n, nil
}

// writeError says why nothing can be sent.
func (c *Conn) writeError() error {
	switch {
	case errors.Is(c.err, io.EOF):
		return ErrReset
	case c.err != nil:
		return c.err
	case c.hostShut&shutSend != 0:
		return ErrClosed
	case c.peerShut&shutReceive != 0:
		return ErrReset
	}
	return nil
}

// CloseWrite tells the guest that nothing more will come. What was written before is
// with the guest already.
func (c *Conn) CloseWrite() error {
	c.mu.Lock()
	if c.err != nil || c.stage != established {
		err := c.err
		c.mu.Unlock()
		return err
	}
	c.hostShut |= shutSend
	c.want |= wantShutdown
	c.changed.Broadcast()
	c.mu.Unlock()
	c.d.notify(c)
	return nil
}

// Close ends the connection. It does not wait for the guest to agree.
func (c *Conn) Close() error {
	c.mu.Lock()
	if c.stage >= closing {
		c.mu.Unlock()
		return nil
	}
	if !c.lent {
		c.in.release()
	}
	c.hostShut = shutBoth
	c.want |= wantShutdown
	if c.stage != established {
		c.want = wantReset
	}
	c.stage = closing
	c.timer = time.AfterFunc(closeTimeout, c.expire)
	c.changed.Broadcast()
	c.mu.Unlock()
	c.d.notify(c)
	return nil
}

// expire ends a connection whose end the guest has not agreed to.
func (c *Conn) expire() {
	c.d.forget(c)
	c.die(ErrClosed)
	c.d.reset(c.key, typeStream)
}

// onEnd has f called when the connection is dead, at once if it is. There is one
// such function.
func (c *Conn) onEnd(f func()) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.stage == dead {
		f()
		return
	}
	c.ended = f
}

// die ends the connection for the host's side. Data that has come can still be read.
func (c *Conn) die(err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.stage == dead {
		return
	}
	if c.stage == closing {
		err = ErrClosed
	}
	if c.stage == dialling && errors.Is(err, ErrReset) {
		err = ErrRefused
	}
	if errors.Is(err, ErrReset) && c.peerShut&shutSend != 0 {
		err = io.EOF // it had said so before
	}
	c.stage, c.err = dead, err
	if c.timer != nil {
		c.timer.Stop()
	}
	if c.ended != nil {
		c.ended()
	}
	c.changed.Broadcast()
}

// header is a packet of this connection. The caller holds c.mu.
func (c *Conn) header(op operation, n uint32) header {
	c.advertised = c.forwarded
	return header{
		srcCID: HostCID, dstCID: c.d.cid, srcPort: c.key.host, dstPort: c.key.guest,
		len: n, typ: typeStream, op: op, alloc: bufferSize, forwarded: c.forwarded,
	}
}

// credit is how many bytes the guest has room for.
func (c *Conn) credit() uint32 {
	if underWay := c.sent - c.peerTaken; underWay < c.peerAlloc {
		return c.peerAlloc - underWay
	}
	return 0
}

// fill puts the connection's next packet into a chain of the guest's, which has
// space for a header. It returns the packet's size, 0 if there is nothing to send
// after all; more tells that there is another packet; gone that this was the last.
func (c *Conn) fill(chain *queue.Chain) (n uint32, more, gone bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	h, data := c.packet(chain.WriteLen - headerSize)
	if h.op == 0 {
		return 0, false, false
	}
	var b [headerSize]byte
	h.put(b[:])
	chain.WriteAt(b[:], 0)
	chain.WriteAt(data, headerSize)
	if h.op == opData {
		c.sent += h.len
		c.out = c.out[len(data):]
		switch {
		case len(c.out) == 0:
			c.changed.Broadcast()
		case c.credit() == 0:
			c.want |= wantCreditRequest
		}
	}
	more = c.want != 0 || len(c.out) > 0 && c.credit() > 0
	return headerSize + h.len, more, h.op == opReset
}

// packet decides what to send next, with at most room bytes of data.
func (c *Conn) packet(room uint64) (header, []byte) {
	take := func(bit int) bool {
		had := c.want&bit != 0
		c.want &^= bit
		return had
	}
	switch {
	case take(wantReset):
		return c.header(opReset, 0), nil
	case take(wantRequest):
		return c.header(opRequest, 0), nil
	case take(wantResponse):
		return c.header(opResponse, 0), nil
	}
	if c.stage == established && len(c.out) > 0 {
		if n := min(uint64(len(c.out)), uint64(c.credit()), room); n > 0 {
			c.want &^= wantCredit // every packet tells the room
			return c.header(opData, uint32(n)), c.out[:n]
		}
	}
	switch {
	case take(wantShutdown):
		h := c.header(opShutdown, 0)
		h.flags = c.hostShut
		return h, nil
	case take(wantCredit):
		return c.header(opCreditUpdate, 0), nil
	case take(wantCreditRequest):
		return c.header(opCreditRequest, 0), nil
	}
	return header{}, nil
}
