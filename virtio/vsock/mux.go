package vsock

import (
	"errors"

	"github.com/gureum/gureum/virtio/queue"
)

// errShortBuffer breaks the receive queue.
var errShortBuffer = errors.New("vsock: a receive buffer has no space for a packet's header")

// receive owns the queue to the guest: it sends what connections have.
func (d *Device) receive(r *running) {
	var c queue.Chain
	for {
		if err := d.send(r, &c); err != nil {
			// Broken, until the driver resets the device.
			for r.rx.Wait() == nil {
				continue
			}
			return
		}
		r.rx.Flush()
		r.sleeping.Store(true)
		if !d.idle() && !r.starved() {
			r.sleeping.Store(false)
			continue
		}
		if r.rx.Wait() != nil {
			return
		}
		r.sleeping.Store(false)
	}
}

// starved tells that the guest has no buffers, and asks for a kick when it has.
func (r *running) starved() bool { return !r.rx.EnableKicks() }

// send sends packets for as long as there are both packets and buffers.
func (d *Device) send(r *running, chain *queue.Chain) error {
	r.rx.DisableKicks()
	for {
		reply, c := d.next()
		if c == nil && reply.op == 0 {
			return nil
		}
		ok, err := r.rx.Next(chain)
		if err == nil && ok && chain.WriteLen < headerSize {
			err = r.rx.Fail(errShortBuffer)
		}
		if err != nil || !ok {
			d.putBack(reply, c)
			return err
		}
		if c == nil {
			var b [headerSize]byte
			reply.put(b[:])
			chain.WriteAt(b[:], 0)
			r.rx.Put(chain.Head, headerSize)
			continue
		}
		d.sendFor(r, c, chain)
	}
}

// sendFor sends one packet of c.
func (d *Device) sendFor(r *running, c *Conn, chain *queue.Chain) {
	n, more, gone := c.fill(chain)
	if n == 0 {
		r.rx.Unget()
		return
	}
	r.rx.Put(chain.Head, n)
	if gone {
		d.forget(c)
		c.die(ErrClosed)
	}
	if more {
		d.notify(c)
	}
}

// putBack undoes next, for want of a buffer.
func (d *Device) putBack(reply header, c *Conn) {
	if c != nil {
		d.notify(c)
		return
	}
	if reply.op != 0 {
		d.reset(key{reply.srcPort, reply.dstPort}, reply.typ)
	}
}

// transmit handles one packet of the guest's.
func (d *Device) transmit(chain *queue.Chain) (uint32, error) {
	h, ok := parse(chain)
	switch {
	case !ok:
		// Too short: there is nobody to be told (section 5.10.6.4 wants no answer).
		return 0, nil
	case h.srcCID != d.cid || h.dstCID != HostCID:
		// Not its own address, or not ours.
		return 0, nil
	case h.typ != typeStream:
		d.refuse(&h)
		return 0, nil
	}
	c := d.lookup(key{h.dstPort, h.srcPort})
	if c == nil {
		if h.op == opRequest {
			d.accept(&h)
			return 0, nil
		}
		d.refuse(&h)
		return 0, nil
	}
	if end := c.handle(&h, chain); end != nil {
		d.forget(c)
		c.die(end)
	}
	return 0, nil
}

// errProtocol ends a connection whose guest does not keep to the protocol.
var errProtocol = errors.New("vsock: the guest broke the protocol")

// handle acts on one packet. An error ends the connection; what is to be said to the
// guest about that has been said.
func (c *Conn) handle(h *header, chain *queue.Chain) error {
	c.mu.Lock()
	c.peerAlloc, c.peerTaken = h.alloc, h.forwarded
	var end error
	switch h.op {
	case opResponse:
		end = c.answered()
	case opData:
		end = c.accept(h, chain)
	case opShutdown:
		end = c.shut(h.flags)
	case opReset:
		end = ErrReset
	case opCreditRequest:
		c.want |= wantCredit
	case opCreditUpdate:
	default: // opRequest, of a connection that exists, and what is not defined
		end = errProtocol
	}
	wake := c.want != 0 || len(c.out) > 0 && c.credit() > 0
	c.mu.Unlock()
	switch {
	case end != nil && h.op != opReset:
		c.d.refuse(h)
	case end == nil && wake:
		c.d.notify(c)
	}
	return end
}

// answered is the guest's consent to a connection.
func (c *Conn) answered() error {
	switch c.stage {
	case dialling:
		c.stage = established
		c.changed.Broadcast()
		return nil
	case closing:
		return nil // its reset is on the way
	}
	return errProtocol
}

// accept takes data into the buffer. A guest that sends more than it was allowed
// breaks the protocol.
func (c *Conn) accept(h *header, chain *queue.Chain) error {
	switch {
	case c.stage == closing:
		c.forwarded += h.len // nobody wants it any more
		return nil
	case c.stage != established || c.peerShut&shutSend != 0:
		return errProtocol
	case int64(h.len) > int64(bufferSize-c.in.used):
		return errProtocol
	}
	for off := uint64(0); off < uint64(h.len); {
		space := c.in.space(int(uint64(h.len) - off))
		n := chain.ReadAt(space, headerSize+off)
		c.in.grow(n)
		off += uint64(n)
	}
	if h.len > 0 {
		c.changed.Broadcast()
	}
	return nil
}

// shut notes that the guest will receive or send no more. When it does neither, the
// connection is over, and the guest waits for a reset that says so.
func (c *Conn) shut(flags uint32) error {
	if c.stage == dialling || c.stage == asked {
		return errProtocol
	}
	c.peerShut |= flags & shutBoth
	c.changed.Broadcast()
	if c.peerShut == shutBoth {
		return ErrReset
	}
	return nil
}
