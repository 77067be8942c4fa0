package agent

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"sync"
	"time"
)

// ErrDisconnected is wrapped by every error that says that the stream to the
// guest ended, or that the guest's agent started anew, while something was
// going on.
var ErrDisconnected = errors.New("guest agent disconnected")

// ErrNoCommand is returned by Resize and Signal when no command runs.
var ErrNoCommand = errors.New("no command is running in the guest")

// ErrUnsupported is returned when the guest's agent does not offer a feature.
var ErrUnsupported = errors.New("not offered by this guest's agent")

// Client is the host's end of a connection to a guest agent. Its methods may
// be called from several goroutines.
type Client struct {
	rw    io.ReadWriteCloser
	out   *outbox
	peer  hello
	nonce uint64

	mu       sync.Mutex
	sessions map[uint16]*Session
	newest   []*Session // running commands, oldest first
	next     uint16
	pings    map[uint64]chan struct{}
	asked    map[uint64]asked
	shutdown chan int // guest's answer to Shutdown, errno
	err      error
	over     bool // the reader has ended: there is nobody to end a session

	closing sync.Once
	done    chan struct{} // closed when the reader has ended, after err is set
}

// Dial waits for the guest's agent to come up on rw and opens a connection.
// It owns rw from then on, and closes it when it fails. Closing rw must end a
// Read and a Write that are under way. See [DialContext].
func Dial(rw io.ReadWriteCloser) (*Client, error) {
	return DialContext(context.Background(), rw)
}

// DialContext is Dial with a limit. An agent that is not up yet is waited for,
// one that is up already is asked to answer; what else is on the stream before
// its answer is skipped. Errors: ctx's, ErrVersion, or one that wraps
// ErrDisconnected.
func DialContext(ctx context.Context, rw io.ReadWriteCloser) (*Client, error) {
	c := &Client{
		rw: rw, out: newOutbox(rw), nonce: rand.Uint64() | 1,
		sessions: map[uint16]*Session{}, pings: map[uint64]chan struct{}{}, asked: map[uint64]asked{},
		done: make(chan struct{}),
	}
	hellos := make(chan hello)
	ready := make(chan struct{})
	go c.read(hellos, ready)
	if err := c.handshake(ctx, hellos); err != nil {
		c.shut()
		return nil, err
	}
	close(ready)
	return c, nil
}

// handshake asks for a hello until the answer to ours is there.
func (c *Client) handshake(ctx context.Context, hellos <-chan hello) error {
	request := hello{version: Version, minVersion: MinVersion, nonce: c.nonce}
	ask := func() {
		if len(c.out.ctl) == 0 { // else one is waiting to be sent already
			c.out.ctl <- request.frame(typeHostHello)
		}
	}
	ask()
	wait := 100 * time.Millisecond
	retry := time.NewTimer(wait)
	defer retry.Stop()
	for {
		select {
		case h := <-hellos:
			if h.nonce == c.nonce {
				c.peer = h
				if !h.compatible() {
					return fmt.Errorf("%w (guest %d to %d, host %d to %d)", ErrVersion, h.minVersion, h.version, MinVersion, Version)
				}
				return nil
			}
			ask() // the agent has just started: what we sent before is lost
		case <-retry.C:
			ask()
			wait = min(2*wait, time.Second)
			retry.Reset(wait)
		case <-c.done:
			return c.disconnected("waiting for the agent to start", nil)
		case <-ctx.Done():
			return fmt.Errorf("wait for the guest agent: %w", context.Cause(ctx))
		}
	}
}

// read is the only reader. It never writes and never waits for a consumer, so
// control frames always get through.
func (c *Client) read(hellos chan<- hello, ready <-chan struct{}) {
	r := newFrameReader(c.rw)
	err := c.greet(r, hellos, ready)
	for err == nil {
		var h header
		var p []byte
		if h, p, err = r.next(); err == nil {
			err = c.handle(h, p)
		}
	}
	c.mu.Lock()
	c.err, c.over = err, true
	for _, s := range c.sessions {
		s.abandon()
	}
	c.mu.Unlock()
	close(c.done)
	c.closeStream()
}

// greet passes hellos on until the handshake is over.
func (c *Client) greet(r *frameReader, hellos chan<- hello, ready <-chan struct{}) error {
	for {
		h, err := r.sync(typeGuestHello)
		if err != nil {
			return err
		}
		if h.nonce != 0 && h.nonce != c.nonce {
			continue // an answer to someone before us
		}
		select {
		case hellos <- h:
		case <-c.out.stop:
			return errStopped
		}
		if h.nonce != c.nonce {
			continue
		}
		select {
		case <-ready:
			return nil
		case <-c.out.stop:
			return errStopped
		}
	}
}

func (c *Client) handle(h header, p []byte) error {
	if h.channel != 0 {
		c.mu.Lock()
		s := c.sessions[h.channel]
		c.mu.Unlock()
		if s == nil {
			return &ProtocolError{"frame for a command that is not running"}
		}
		return s.handle(h.typ, p)
	}
	switch h.typ {
	case typeGuestHello:
		g, err := parseHello(p)
		if err == nil && g.nonce != c.nonce {
			err = errors.New("the agent was started anew")
		}
		return err
	case typePong:
		return c.pong(p)
	case typeShutdownDone:
		return c.shutdownDone(p)
	case typeInfoReply, typeSetTimeDone:
		return c.answered(h.typ, p)
	case typeError:
		return fmt.Errorf("the agent gave up: %s", printable(p[:min(len(p), maxMessage)]))
	}
	return &ProtocolError{"unknown frame type"}
}

func (c *Client) pong(p []byte) error {
	d := decoder{p: p}
	id := d.u64()
	c.mu.Lock()
	defer c.mu.Unlock()
	answer, ok := c.pings[id]
	if !d.done() || !ok {
		return &ProtocolError{"pong that was not asked for"}
	}
	delete(c.pings, id)
	close(answer)
	return nil
}

func (c *Client) shutdownDone(p []byte) error {
	d := decoder{p: p}
	errno := d.u16()
	c.mu.Lock()
	defer c.mu.Unlock()
	if !d.done() || c.shutdown == nil {
		return &ProtocolError{"answer to a shutdown that was not asked for"}
	}
	c.shutdown <- int(errno) // has room for one
	c.shutdown = nil
	return nil
}

// disconnected makes the error for what was going on when the stream ended.
func (c *Client) disconnected(what string, cause error) error {
	if cause == nil {
		c.mu.Lock()
		cause = c.err
		c.mu.Unlock()
	}
	return fmt.Errorf("%w while %s: %w", ErrDisconnected, what, causeOf(cause))
}

// causeOf says what an error of the stream means.
func causeOf(err error) error {
	if err == nil || errors.Is(err, io.EOF) || errors.Is(err, io.ErrClosedPipe) {
		return errors.New("the stream ended")
	}
	return err
}

// Ping waits for the agent to answer.
func (c *Client) Ping(ctx context.Context) error {
	id, answer := rand.Uint64(), make(chan struct{})
	c.mu.Lock()
	c.pings[id] = answer
	c.mu.Unlock()
	b := binary.LittleEndian.AppendUint64(nil, id)
	if err := c.out.control(newFrame(typePing, 0, b), ctx.Done()); err != nil && ctx.Err() == nil {
		return c.disconnected("pinging it", err)
	}
	select {
	case <-answer:
		return nil
	case <-c.done:
		return c.disconnected("pinging it", nil)
	case <-ctx.Done(): // the id stays: its answer may still come
		return fmt.Errorf("ping the guest agent: %w", context.Cause(ctx))
	}
}

// shutdownAnswer is how long the guest has to say that it heard.
const shutdownAnswer = 10 * time.Second

// Shutdown asks the guest to end in an orderly way: its processes are told,
// file systems unmounted. It returns when the guest has taken the request, not
// when it has been carried out; a stream that ends meanwhile counts as taken.
func (c *Client) Shutdown(kind ShutdownKind) error {
	if c.peer.features&FeatureShutdown == 0 {
		return fmt.Errorf("shut the guest down: %w", ErrUnsupported)
	}
	answer := make(chan int, 1)
	c.mu.Lock()
	if c.shutdown != nil {
		c.mu.Unlock()
		return errors.New("shut the guest down: already asked for")
	}
	c.shutdown = answer
	c.mu.Unlock()
	limit := time.NewTimer(shutdownAnswer)
	defer limit.Stop()
	if err := c.out.control(newFrame(typeShutdown, 0, []byte{byte(kind)}), c.done); err != nil {
		return c.disconnected("asking it to shut down", err)
	}
	select {
	case errno := <-answer:
		if errno != 0 {
			return fmt.Errorf("shut the guest down: guest error %d", errno)
		}
		return nil
	case <-c.done:
		return nil
	case <-limit.C:
		return fmt.Errorf("shut the guest down: no answer from its agent within %v", shutdownAnswer)
	}
}

// Features are what the guest's agent offers.
func (c *Client) Features() Features { return c.peer.features }

// Done is closed when the connection has ended.
func (c *Client) Done() <-chan struct{} { return c.done }

// Close ends the connection and the stream below it. Commands that still run
// in the guest are killed by its agent where it can see the stream's end.
func (c *Client) Close() error {
	c.shut()
	return nil
}

// closeStream closes what was dialed; that it fails changes nothing for us.
func (c *Client) closeStream() { c.closing.Do(func() { _ = c.rw.Close() }) }

func (c *Client) shut() {
	c.out.once.Do(func() { close(c.out.stop) })
	c.closeStream()
	<-c.out.dead
	<-c.done
}
