package vsock

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"
)

// Host programs reach the guest through a Unix socket, by the convention that
// Firecracker began (its docs/vsock.md): they connect to PATH and write a line
// "CONNECT port"; the answer is a line "OK hostport", or the end of the connection.
// The guest's connections to port P of the host go to the Unix socket PATH_P.

// greetTimeout is how long a program may take to say where it wants to go, and the
// guest to answer.
const greetTimeout = 10 * time.Second

// maxGreeting is longer than any line "CONNECT port".
const maxGreeting = 32

// hostSockets joins the device to Unix sockets.
type hostSockets struct {
	d        *Device
	path     string
	listener *net.UnixListener
	ctx      context.Context // ends with the device
	cancel   context.CancelFunc
	work     sync.WaitGroup
}

// maxSocketPath is sizeof(sockaddr_un.sun_path) less its final zero.
const maxSocketPath = 107

func listenHost(d *Device, path string) (*hostSockets, error) {
	l, err := listenOn(path)
	if errors.Is(err, syscall.EADDRINUSE) {
		return nil, fmt.Errorf("vsock: %s exists: another machine uses it, or remove it: %w", path, err)
	}
	if err != nil {
		return nil, fmt.Errorf("vsock: %w", err)
	}
	h := &hostSockets{d: d, path: path, listener: l}
	h.ctx, h.cancel = context.WithCancel(context.Background())
	h.work.Go(h.serve)
	return h, nil
}

// listenOn makes the socket. One that nobody listens on any more is what a killed
// machine left behind, and makes way.
func listenOn(path string) (*net.UnixListener, error) {
	addr := &net.UnixAddr{Name: path, Net: "unix"}
	l, err := net.ListenUnix("unix", addr)
	if !errors.Is(err, syscall.EADDRINUSE) {
		return l, err
	}
	u, dialErr := net.DialUnix("unix", nil, addr)
	if dialErr == nil {
		_ = u.Close()
		return nil, err
	}
	// A plain file refuses connections as well.
	st, statErr := os.Lstat(path)
	if statErr != nil || st.Mode().Type() != os.ModeSocket || !errors.Is(dialErr, syscall.ECONNREFUSED) || os.Remove(path) != nil {
		return nil, err
	}
	return net.ListenUnix("unix", addr)
}

// Close removes the socket and ends all connections that go through it.
func (h *hostSockets) Close() error {
	h.cancel()
	err := h.listener.Close() // removes the file
	h.work.Wait()
	return err
}

// serve takes connections of host programs.
func (h *hostSockets) serve() {
	for {
		u, err := h.listener.AcceptUnix()
		if errors.Is(err, net.ErrClosed) {
			return
		}
		if err != nil {
			// Out of descriptors, say: others may be closed in the meantime.
			slog.Warn("vsock: accept", "path", h.path, "error", err)
			select {
			case <-time.After(100 * time.Millisecond):
			case <-h.ctx.Done():
				return
			}
			continue
		}
		h.work.Go(func() { h.greet(u) })
	}
}

// greet hears where a program wants to go and connects it.
func (h *hostSockets) greet(u *net.UnixConn) {
	stop := context.AfterFunc(h.ctx, func() { _ = u.Close() })
	defer stop()
	ctx, cancel := context.WithTimeout(h.ctx, greetTimeout)
	defer cancel()
	_ = u.SetDeadline(time.Now().Add(greetTimeout))
	port, err := readGreeting(u)
	if err != nil {
		slog.Debug("vsock: a host program's request", "path", h.path, "error", err)
		_ = u.Close()
		return
	}
	c, err := h.d.Dial(ctx, port)
	if err == nil {
		_, err = fmt.Fprintf(u, "OK %d\n", c.LocalPort())
		if err != nil {
			_ = c.Close()
		}
	}
	if err != nil {
		_ = u.Close()
		return
	}
	_ = u.SetDeadline(time.Time{})
	h.join(c, u)
}

// readGreeting reads the line and no byte more, as data may follow at once.
func readGreeting(r io.Reader) (uint32, error) {
	var line [maxGreeting]byte
	for i := range line {
		if _, err := io.ReadFull(r, line[i:i+1]); err != nil {
			return 0, err
		}
		if line[i] != '\n' {
			continue
		}
		word, number, _ := strings.Cut(strings.TrimSuffix(string(line[:i]), "\r"), " ")
		port, err := strconv.ParseUint(number, 10, 32)
		if !strings.EqualFold(word, "CONNECT") || err != nil {
			return 0, fmt.Errorf("%q: want CONNECT and a port", line[:i])
		}
		return uint32(port), nil
	}
	return 0, errors.New("no line CONNECT and a port")
}

// connect joins a connection that the guest wants to the Unix socket of its port.
func (h *hostSockets) connect(c *Conn) {
	h.work.Go(func() {
		path := h.path + "_" + strconv.FormatUint(uint64(c.key.host), 10)
		dialer := net.Dialer{Timeout: greetTimeout}
		u, err := dialer.DialContext(h.ctx, "unix", path)
		if err != nil {
			slog.Debug("vsock: the guest's connection is refused", "path", path, "error", err)
			_ = c.Close()
			return
		}
		stop := context.AfterFunc(h.ctx, func() { _ = u.Close() })
		defer stop()
		c.agree()
		h.d.notify(c)
		h.join(c, u.(*net.UnixConn))
	})
}

// join passes bytes on both ways until both sides have ended, each end on its own.
func (h *hostSockets) join(c *Conn, u *net.UnixConn) {
	defer c.Close()
	defer u.Close()
	toHost := make(chan struct{})
	go func() {
		defer close(toHost)
		_, err := c.WriteTo(u)
		if err != nil {
			// Nobody reads on one side, or the connection is broken.
			_ = u.Close()
			_ = c.Close()
			return
		}
		_ = u.CloseWrite()
		// The guest may end the other direction as well.
		c.onEnd(func() { _ = u.Close() })
	}()
	if err := copyToGuest(c, u); err != nil {
		_ = u.Close()
		_ = c.Close()
	} else {
		_ = c.CloseWrite()
	}
	<-toHost
}

// copies are the buffers of copyToGuest.
var copies = sync.Pool{New: func() any { return new([64 << 10]byte) }}

// source reads a program's socket. On one on which nothing comes it holds no buffer.
type source struct {
	try  func(fd uintptr) bool // attempt, bound once
	data *[64 << 10]byte
	n    int
	err  error
}

// attempt reads what there is; false waits for more.
func (s *source) attempt(fd uintptr) bool {
	if s.data == nil {
		s.data = copies.Get().(*[64 << 10]byte)
	}
	s.n, s.err = syscall.Read(int(fd), s.data[:])
	if errors.Is(s.err, syscall.EAGAIN) {
		s.release()
		return false
	}
	return !errors.Is(s.err, syscall.EINTR) || s.attempt(fd)
}

func (s *source) release() {
	copies.Put(s.data)
	s.data = nil
}

// copyToGuest passes on what the program writes, to its end.
func copyToGuest(c *Conn, u *net.UnixConn) error {
	raw, err := u.SyscallConn()
	if err != nil {
		return err
	}
	s := source{}
	s.try = s.attempt
	for {
		if err := raw.Read(s.try); err != nil {
			return err
		}
		if s.err == nil && s.n > 0 {
			_, err = c.Write(s.data[:s.n])
		}
		s.release()
		switch {
		case s.err != nil:
			return os.NewSyscallError("read", s.err)
		case s.n == 0 || err != nil:
			return err
		}
	}
}
