package agent

import (
	"encoding/binary"
	"errors"
	"io"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// ServeOptions say how the guest's side behaves. The zero value works.
type ServeOptions struct {
	// Env is the environment that commands start from, KEY=value.
	Env []string
	// Dir is the directory that commands start in, "" = the agent's own.
	Dir string
	// Reaper starts the commands; nil makes one that waits for them alone.
	Reaper *Reaper
	// Ready is called before a command starts, to finish setting the guest
	// up. It may be called several times at once. Its error fails the command.
	Ready func() error
	// Reliable says that the stream loses nothing, and that somebody is at its
	// other end: then the host is first to say hello.
	Reliable bool
	// Connected is called each time that a host has opened a connection.
	Connected func()
	// SetTime sets the clock, as [SetClock] does. nil = not offered.
	SetTime func(time.Time) error
	// Shutdown is called, once the host has its answer, to carry out what it
	// asked for. nil = not offered.
	Shutdown func(ShutdownKind)
}

const (
	maxCommands = 64
	stdinWindow = 64 << 10
)

// Serve runs commands for the host at the other end of rw until the stream
// ends, which is no error. It says hello first. Commands that still run when
// the host starts anew, or when Serve ends, are killed.
func Serve(rw io.ReadWriter, opts ServeOptions) error {
	if opts.Reaper == nil {
		opts.Reaper = NewReaper(false)
	}
	s := &server{rw: rw, opts: opts, r: newFrameReader(rw)}
	if !opts.Reliable {
		if _, err := rw.Write(s.hello(0)); err != nil {
			return err
		}
	}
	err := s.loop()
	s.wg.Wait()
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return nil
	}
	return err
}

type server struct {
	rw   io.ReadWriter
	opts ServeOptions
	r    *frameReader
	wg   sync.WaitGroup // commands of all connections
}

func (s *server) hello(nonce uint64) []byte {
	h := hello{
		version: Version, minVersion: MinVersion, nonce: nonce,
		features: FeatureTTY | FeatureCopy | FeatureInfo, maxCommands: maxCommands,
	}
	if s.opts.Shutdown != nil {
		h.features |= FeatureShutdown
	}
	if s.opts.SetTime != nil {
		h.features |= FeatureSetTime
	}
	return h.frame(typeGuestHello)
}

// loop serves one connection after the other: a host that comes back after it
// was killed says hello in the middle of what was going on before.
func (s *server) loop() error {
	var again *hello
	for {
		h := again
		if h == nil {
			found, err := s.r.sync(typeHostHello)
			if err != nil {
				return err
			}
			h = &found
		}
		if _, err := s.rw.Write(s.hello(h.nonce)); err != nil {
			return err
		}
		again = nil
		if !h.compatible() {
			continue
		}
		if s.opts.Connected != nil {
			s.opts.Connected()
		}
		var err error
		if again, err = s.connection(h.nonce); err != nil {
			return err
		}
	}
}

// connection serves until the host says hello anew (which is returned), breaks
// the protocol (nil), or the stream ends (its error).
func (s *server) connection(nonce uint64) (*hello, error) {
	c := &connection{
		opts: &s.opts, out: newOutbox(s.rw), wg: &s.wg,
		commands: map[uint16]*command{}, partial: map[uint16][]byte{},
	}
	defer c.close()
	for {
		h, p, err := s.r.next()
		if err == nil && h.typ == typeHostHello {
			var again hello
			if again, err = parseHello(p); err == nil && again.nonce != nonce {
				return &again, nil
			}
		} else if err == nil {
			err = c.handle(h, p)
		}
		var broken *ProtocolError
		if errors.As(err, &broken) {
			c.out.last(newFrame(typeError, 0, []byte(broken.Rule)))
			return nil, nil
		}
		if err != nil {
			return nil, err
		}
	}
}

// connection is what lives from one host hello to the next.
type connection struct {
	opts *ServeOptions
	out  *outbox

	mu       sync.Mutex
	commands map[uint16]*command
	wg       *sync.WaitGroup

	partial map[uint16][]byte // Exec requests of which a part is there
}

// close kills what runs. Nothing of it is written any more when it returns; it
// does not wait for the processes, which may be stuck in the kernel.
func (c *connection) close() {
	c.mu.Lock()
	for _, cmd := range c.commands {
		cmd.kill()
	}
	c.mu.Unlock()
	c.out.close()
}

func (c *connection) handle(h header, p []byte) error {
	if h.channel == 0 {
		return c.handleSelf(h.typ, p)
	}
	switch h.typ {
	case typeExec:
		return c.exec(h, p)
	case typeCopy:
		return c.copy(h, p)
	}
	c.mu.Lock()
	cmd := c.commands[h.channel]
	c.mu.Unlock()
	// A command that has ended just now is nothing the host could know: it is
	// checked and dropped.
	switch h.typ {
	case typeStdin:
		if cmd != nil && !cmd.stdin.put(p) {
			return &ProtocolError{"more input than was asked for"}
		}
		return nil
	case typeStdinEOF:
		if cmd != nil {
			cmd.stdin.end()
		}
		return nil
	case typeResize:
		d := decoder{p: p}
		rows, cols := d.u16(), d.u16()
		if !d.done() {
			return &ProtocolError{"malformed resize"}
		}
		if cmd != nil {
			cmd.resize(rows, cols)
		}
		return nil
	case typeSignal:
		if len(p) != 1 || p[0] < 1 || p[0] > 64 {
			return &ProtocolError{"malformed signal"}
		}
		if cmd != nil {
			cmd.signal(unix.Signal(p[0]))
		}
		return nil
	case typeWindow:
		return c.window(cmd, p)
	case typeClosed:
		n, err := parseClosed(p)
		if err == nil && n == streamStdin {
			err = &ProtocolError{"closed for the wrong stream"}
		}
		if err == nil && cmd != nil {
			cmd.out[n-streamStdout].close()
		}
		return err
	}
	return &ProtocolError{"unknown frame type for a command"}
}

func (c *connection) window(cmd *command, p []byte) error {
	w, err := parseWindow(p)
	if err != nil {
		return err
	}
	if w.stream == streamStdin {
		return &ProtocolError{"window for the wrong stream"}
	}
	if cmd != nil && !cmd.out[w.stream-streamStdout].add(int(w.delta)) {
		return &ProtocolError{"window too large"}
	}
	return nil
}

func (c *connection) handleSelf(t frameType, p []byte) error {
	switch t {
	case typePing:
		if len(p) != 8 {
			return &ProtocolError{"malformed ping"}
		}
		return c.out.control(newFrame(typePong, 0, p), nil)
	case typeInfo, typeSetTime:
		return c.answer(t, p)
	case typeShutdown:
		kind, err := parseShutdown(p)
		if err != nil {
			return err
		}
		errno := uint16(0)
		if c.opts.Shutdown == nil {
			errno = uint16(unix.ENOSYS)
		}
		answer := newFrame(typeShutdownDone, 0, binary.LittleEndian.AppendUint16(nil, errno))
		if err := c.out.bulk(answer); err != nil {
			return err
		}
		if errno == 0 {
			c.opts.Shutdown(kind)
		}
		return nil
	}
	return &ProtocolError{"unknown frame type"}
}

// exec gathers the parts of a request and starts it.
func (c *connection) exec(h header, p []byte) error {
	c.mu.Lock()
	running, busy := len(c.commands), c.commands[h.channel] != nil
	c.mu.Unlock()
	if busy {
		return &ProtocolError{"exec on a channel that is in use"}
	}
	if h.flags&flagMore != 0 || c.partial[h.channel] != nil {
		whole := append(c.partial[h.channel], p...)
		if len(whole) > MaxExec || (c.partial[h.channel] == nil && len(c.partial) > 0) {
			return &ProtocolError{"exec too long, or two of them mixed"}
		}
		if h.flags&flagMore != 0 {
			c.partial[h.channel] = whole
			return nil
		}
		delete(c.partial, h.channel)
		p = whole
	}
	req, err := parseExec(p)
	if err != nil {
		return err
	}
	if running >= maxCommands {
		return &ProtocolError{"too many commands at once"}
	}
	cmd := newCommand(c, h.channel, req)
	c.begin(cmd, cmd.run)
	return nil
}

// begin lets a command run on the channel that it was made for.
func (c *connection) begin(cmd *command, run func()) {
	c.mu.Lock()
	c.commands[cmd.channel] = cmd
	c.mu.Unlock()
	c.wg.Go(run)
}

// copy starts a copy.
func (c *connection) copy(h header, p []byte) error {
	c.mu.Lock()
	running, busy := len(c.commands), c.commands[h.channel] != nil
	c.mu.Unlock()
	if busy || c.partial[h.channel] != nil {
		return &ProtocolError{"copy on a channel that is in use"}
	}
	r, err := parseCopy(p)
	if err != nil {
		return err
	}
	if running >= maxCommands {
		return &ProtocolError{"too many commands at once"}
	}
	cmd := newCommand(c, h.channel, &execRequest{stdoutWindow: r.window, stderrWindow: 1})
	c.begin(cmd, func() { cmd.transfer(r) })
	return nil
}

// answer answers a question about the guest, or sets its clock.
func (c *connection) answer(t frameType, p []byte) error {
	d := decoder{p: p}
	b := binary.LittleEndian.AppendUint64(nil, d.u64())
	if t == typeInfo {
		if !d.done() {
			return &ProtocolError{"malformed info request"}
		}
		b = systemInfo().encode(b)
	} else {
		sec, nsec := int64(d.u64()), int64(d.u32())
		if !d.done() || nsec >= 1e9 {
			return &ProtocolError{"malformed time"}
		}
		errno := unix.ENOSYS
		if c.opts.SetTime != nil {
			errno = 0
			errors.As(c.opts.SetTime(time.Unix(sec, nsec)), &errno)
		}
		b = binary.LittleEndian.AppendUint16(b, uint16(errno))
	}
	return c.out.control(newFrame(t+1, 0, b), nil)
}

// forget frees a channel. It is called before the frame that tells the host.
func (c *connection) forget(channel uint16) {
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.commands, channel)
}
