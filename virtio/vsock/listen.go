package vsock

import (
	"context"
	"errors"
	"fmt"
	"sync"
)

// firstHostPort is where the ports of connections begin that the host makes.
const firstHostPort = 1 << 30

// backlog is how many connections may wait for Accept; more are refused.
const backlog = 128

var (
	errNoDevice = errors.New("vsock: the guest's driver is not ready")
	errTooMany  = fmt.Errorf("vsock: there are %d connections already", MaxConns)
)

// Dial connects to a port of the guest. It waits until the guest has answered or ctx
// ends. Errors wrap ErrRefused if nobody listens there.
func (d *Device) Dial(ctx context.Context, port uint32) (*Conn, error) {
	d.mu.Lock()
	switch {
	case d.run == nil:
		d.mu.Unlock()
		return nil, errNoDevice
	case len(d.conns) >= MaxConns:
		d.mu.Unlock()
		return nil, errTooMany
	}
	k := key{d.freePort(port), port}
	c := newConn(d, k, dialling)
	c.want = wantRequest
	d.conns[k] = c
	d.mu.Unlock()
	d.notify(c)
	return c, c.await(ctx)
}

// freePort gives a port of the host's that no connection to the guest's port uses.
// There are more ports than connections.
func (d *Device) freePort(guest uint32) uint32 {
	for {
		port := d.nextPort
		if d.nextPort++; d.nextPort == 1<<32-1 {
			d.nextPort = firstHostPort
		}
		if d.conns[key{port, guest}] == nil {
			return port
		}
	}
}

// await waits for the guest's answer.
func (c *Conn) await(ctx context.Context) error {
	stop := context.AfterFunc(ctx, func() {
		c.mu.Lock()
		defer c.mu.Unlock()
		c.changed.Broadcast()
	})
	defer stop()
	c.mu.Lock()
	for c.stage == dialling && ctx.Err() == nil {
		c.changed.Wait()
	}
	s, err := c.stage, c.err
	c.mu.Unlock()
	switch {
	case err != nil:
		return err
	case s == dialling:
		_ = c.Close()
		return fmt.Errorf("vsock: connect to port %d of the guest: %w", c.key.guest, context.Cause(ctx))
	}
	return nil
}

// Listener takes the guest's connections to one port.
type Listener struct {
	d       *Device
	port    uint32
	waiting chan *Conn
	once    sync.Once
	done    chan struct{}
}

// Listen takes the guest's connections to a port of the host. There can be one
// Listener for each port; it goes before a Unix socket of that port.
func (d *Device) Listen(port uint32) (*Listener, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.closed {
		return nil, ErrClosed
	}
	if d.listeners[port] != nil {
		return nil, fmt.Errorf("vsock: port %d is listened on already", port)
	}
	l := &Listener{d: d, port: port, waiting: make(chan *Conn, backlog), done: make(chan struct{})}
	d.listeners[port] = l
	return l, nil
}

// Accept waits for the next connection. ErrClosed comes after Close, or when the
// device is gone.
func (l *Listener) Accept() (*Conn, error) { return l.AcceptContext(context.Background()) }

// AcceptContext is Accept with a limit.
func (l *Listener) AcceptContext(ctx context.Context) (*Conn, error) {
	select {
	case c := <-l.waiting:
		return c, nil
	case <-l.done:
		return nil, ErrClosed
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
}

// Close ends listening. Connections that nobody has accepted are reset.
func (l *Listener) Close() error {
	l.d.mu.Lock()
	if l.d.listeners[l.port] == l {
		delete(l.d.listeners, l.port)
	}
	l.d.mu.Unlock()
	l.end()
	return nil
}

func (l *Listener) end() {
	l.once.Do(func() { close(l.done) })
	for {
		select {
		case c := <-l.waiting:
			_ = c.Close()
		default:
			return
		}
	}
}

// accept handles the guest's wish for a connection.
func (d *Device) accept(h *header) {
	k := key{h.dstPort, h.srcPort}
	c := newConn(d, k, asked)
	c.peerAlloc, c.peerTaken = h.alloc, h.forwarded
	d.mu.Lock()
	l := d.listeners[k.host]
	ok := d.run != nil && !d.closed && len(d.conns) < MaxConns && (l != nil || d.host != nil)
	if ok {
		d.conns[k] = c
	}
	d.mu.Unlock()
	switch {
	case !ok:
		d.refuse(h)
	case l != nil:
		d.offer(l, c, h)
	default:
		d.host.connect(c)
	}
}

// offer gives a connection to a listener that has room for it.
func (d *Device) offer(l *Listener, c *Conn, h *header) {
	c.agree()
	select {
	case l.waiting <- c:
		d.notify(c)
		select {
		case <-l.done:
			l.end() // closed in the meantime: nobody else would take it
		default:
		}
	default:
		d.forget(c)
		c.die(ErrClosed)
		d.refuse(h)
	}
}

// agree accepts the guest's connection. The caller notifies the device.
func (c *Conn) agree() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.stage == asked {
		c.stage = established
		c.want |= wantResponse
	}
}
