package agent

import (
	"context"
	"errors"
	"io"
	"net"
	"strings"
	"testing"
	"time"
)

// serveOn serves a raw connection and returns the host's end of it.
func serveOn(t *testing.T, opts ServeOptions) net.Conn {
	t.Helper()
	host, guest := net.Pipe()
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = Serve(guest, opts)
		guest.Close()
	}()
	t.Cleanup(func() { host.Close(); <-done })
	return host
}

func TestHostIsFirst(t *testing.T) {
	host, guest := net.Pipe()
	line := &lossy{Conn: host, lost: make(chan struct{})}
	go func() {
		line.eat(guest) // a UART that nobody has opened yet
		_, _ = guest.Write([]byte("\x00\xffDebian login: " + strings.Repeat("\x01\x02", 4000)))
		_, _ = guest.Write(hello{version: 1, minVersion: 1, nonce: 99}.frame(typeGuestHello))
		_ = Serve(guest, ServeOptions{Env: []string{"PATH=/bin:/usr/bin"}})
		guest.Close()
	}()
	c, err := DialContext(testContext(t), line)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if st, out, _, err := run(t, c, Command{Args: sh("echo hi")}); err != nil || out != "hi\n" {
		t.Error(st, out, err)
	}
}

type lossy struct {
	net.Conn
	lost chan struct{}
}

// eat takes the first request away.
func (l *lossy) eat(guest net.Conn) {
	_, _ = io.ReadFull(guest, make([]byte, headerSize+helloPayload))
}

func TestGuestIsFirst(t *testing.T) {
	host := serveOn(t, ServeOptions{Env: []string{"PATH=/bin:/usr/bin"}})
	// Its first hello is lost, and so is the end of something before.
	_, _ = io.ReadFull(host, make([]byte, headerSize+helloPayload))
	_, _ = host.Write(append([]byte("garbage\r\n"), hello{}.frame(typeHostHello)[:20]...))
	c, err := DialContext(testContext(t), host)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if _, out, _, err := run(t, c, Command{Args: sh("echo hi")}); err != nil || out != "hi\n" {
		t.Error(out, err)
	}
}

// keepOpen hides Close, as a UART does from the guest.
type keepOpen struct {
	net.Conn
	closed chan struct{}
}

func (k keepOpen) Read(p []byte) (int, error) {
	type result struct {
		n   int
		err error
	}
	done := make(chan result, 1)
	buf := make([]byte, len(p))
	go func() { n, err := k.Conn.Read(buf); done <- result{n, err} }()
	select {
	case r := <-done:
		copy(p, buf[:r.n])
		return r.n, r.err
	case <-k.closed:
		_ = k.SetReadDeadline(time.Unix(1, 0))
		<-done
		_ = k.SetReadDeadline(time.Time{})
		return 0, io.ErrClosedPipe
	}
}

func (k keepOpen) Close() error { close(k.closed); return nil }

func TestHostComesBack(t *testing.T) {
	conn := serveOn(t, ServeOptions{Env: []string{"PATH=/bin:/usr/bin"}})
	first, err := DialContext(testContext(t), keepOpen{conn, make(chan struct{})})
	if err != nil {
		t.Fatal(err)
	}
	s, err := first.Start(testContext(t), Command{Args: sh("echo up; yes"), Stdout: io.Discard})
	if err != nil {
		t.Fatal(err)
	}
	first.Close()
	if _, err := s.Wait(); !errors.Is(err, ErrDisconnected) {
		t.Errorf("first host: %v", err)
	}
	second, err := DialContext(testContext(t), conn)
	if err != nil {
		t.Fatal(err)
	}
	defer second.Close()
	if _, out, _, err := run(t, second, Command{Args: sh("echo again")}); err != nil || out != "again\n" {
		t.Error(out, err)
	}
}

func TestDisconnected(t *testing.T) {
	host, guest := net.Pipe()
	done := make(chan struct{})
	go func() { defer close(done); _ = Serve(guest, ServeOptions{Env: []string{"PATH=/bin:/usr/bin"}}) }()
	c, err := DialContext(testContext(t), host)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	ready := make(chan struct{}, 1)
	go func() { <-ready; guest.Close() }()
	_, err = c.Run(testContext(t), Command{Args: sh("echo up; exec sleep 30"), Stdout: notify(ready)})
	if !errors.Is(err, ErrDisconnected) || !strings.Contains(err.Error(), "running sh") {
		t.Errorf("Run: %v", err)
	}
	<-done
	if _, err := c.Start(testContext(t), Command{Args: sh("true")}); !errors.Is(err, ErrDisconnected) {
		t.Errorf("Start: %v", err)
	}
	if err := c.Ping(testContext(t)); !errors.Is(err, ErrDisconnected) {
		t.Errorf("Ping: %v", err)
	}
}

func TestDialEnds(t *testing.T) {
	host, guest := net.Pipe()
	go discard(guest)
	ctx, cancel := context.WithTimeout(context.Background(), 50*time.Millisecond)
	defer cancel()
	if _, err := DialContext(ctx, host); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("no agent: %v", err)
	}
	guest.Close()

	host, guest = net.Pipe()
	guest.Close()
	if _, err := Dial(host); !errors.Is(err, ErrDisconnected) {
		t.Errorf("closed: %v", err)
	}
}

func TestVersions(t *testing.T) {
	host, guest := net.Pipe()
	go func() {
		r := newFrameReader(guest)
		h, _ := r.sync(typeHostHello)
		_, _ = guest.Write(hello{version: 9, minVersion: 8, nonce: h.nonce}.frame(typeGuestHello))
		_, _ = io.Copy(io.Discard, guest)
	}()
	if _, err := DialContext(testContext(t), host); !errors.Is(err, ErrVersion) {
		t.Error(err)
	}
	guest.Close()
}

// TestGuestReboots has an agent come up anew on the same line.
func TestGuestReboots(t *testing.T) {
	host, guest := net.Pipe()
	ready := make(chan struct{}, 1)
	go func() {
		r := newFrameReader(guest)
		h, _ := r.sync(typeHostHello)
		_, _ = guest.Write(hello{version: 1, minVersion: 1, nonce: h.nonce, maxCommands: 1}.frame(typeGuestHello))
		_, _, _ = r.next()
		<-ready
		_, _ = guest.Write(hello{version: 1, minVersion: 1}.frame(typeGuestHello))
		_, _ = io.Copy(io.Discard, guest)
	}()
	c, err := DialContext(testContext(t), host)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	s, err := c.Start(testContext(t), Command{Args: sh("true")})
	if err != nil {
		t.Fatal(err)
	}
	close(ready)
	if _, err := s.Wait(); !errors.Is(err, ErrDisconnected) || !strings.Contains(err.Error(), "anew") {
		t.Error(err)
	}
}

func TestShutdown(t *testing.T) {
	asked := make(chan ShutdownKind, 1)
	c := newGuest(t, ServeOptions{Shutdown: func(k ShutdownKind) { asked <- k }})
	if err := c.Shutdown(Reboot); err != nil {
		t.Fatal(err)
	}
	if k := <-asked; k != Reboot {
		t.Errorf("asked for %d", k)
	}
	if err := newGuest(t, ServeOptions{}).Shutdown(PowerOff); !errors.Is(err, ErrUnsupported) {
		t.Error(err)
	}
}

// TestHostileGuest sends what an agent must not, after a clean start.
func TestHostileGuest(t *testing.T) {
	big := make([]byte, MaxPayload)
	tests := []struct {
		name string
		send [][]byte
	}{
		{"frame too long", [][]byte{{0x21, 0, 1, 0, 1, 0, 1, 0}}},
		{"unknown type", [][]byte{newFrame(0x77, 0, nil)}},
		{"unknown type for a command", [][]byte{newFrame(0x77, 1, nil)}},
		{"unknown flags", [][]byte{{0x21, 2, 1, 0, 0, 0, 0, 0}}},
		{"unknown channel", [][]byte{newFrame(typeStdout, 7, nil)}},
		{"channel of a host frame", [][]byte{newFrame(typeStdin, 1, nil)}},
		{"output beyond the window", [][]byte{newFrame(typeStdout, 1, big), newFrame(typeStdout, 1, big), newFrame(typeStdout, 1, big), newFrame(typeStdout, 1, big), newFrame(typeStdout, 1, big)}},
		{"window too large", [][]byte{window{streamStdin, MaxWindow}.frame(1), window{streamStdin, 1}.frame(1)}},
		{"window for output", [][]byte{window{streamStdout, 1}.frame(1)}},
		{"window of nothing", [][]byte{window{streamStdin, 0}.frame(1)}},
		{"started twice", [][]byte{newFrame(typeStarted, 1, []byte{1, 0, 0, 0, 1, 0, 0, 0}), newFrame(typeStarted, 1, []byte{1, 0, 0, 0, 1, 0, 0, 0})}},
		{"exit of an impossible kind", [][]byte{newFrame(typeExit, 1, []byte{1, 9, 0})}},
		{"short exit", [][]byte{newFrame(typeExit, 1, []byte{1})}},
		{"exec error with a made-up code", [][]byte{newFrame(typeExecError, 1, []byte{5, 0, 0})}},
		{"pong that nobody asked for", [][]byte{newFrame(typePong, 0, make([]byte, 8))}},
		{"shutdown that nobody asked for", [][]byte{newFrame(typeShutdownDone, 0, make([]byte, 2))}},
		{"error", [][]byte{newFrame(typeError, 0, []byte("\x1b[31mhi"))}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			host, guest := net.Pipe()
			go func() {
				r := newFrameReader(guest)
				h, _ := r.sync(typeHostHello)
				_, _ = guest.Write(hello{version: 1, minVersion: 1, nonce: h.nonce, maxCommands: 1}.frame(typeGuestHello))
				_, _, _ = r.next()
				go discard(guest)
				for _, f := range tt.send {
					_, _ = guest.Write(f)
				}
			}()
			c, err := DialContext(testContext(t), host)
			if err != nil {
				t.Fatal(err)
			}
			_, err = c.Run(testContext(t), Command{Args: sh("true"), Stdout: slow{}})
			var broken *ProtocolError
			if !errors.Is(err, ErrDisconnected) || tt.name != "error" && !errors.As(err, &broken) {
				t.Errorf("got %v", err)
			}
			if err != nil && strings.Contains(err.Error(), "\x1b") {
				t.Errorf("escape sequence in %q", err)
			}
			c.Close()
			guest.Close()
		})
	}
}

type slow struct{}

func (slow) Write(p []byte) (int, error) { time.Sleep(50 * time.Millisecond); return len(p), nil }
