package vsock

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/gureum/gureum/virtio/queue"
)

func chainOf(parts ...[]byte) *queue.Chain {
	c := &queue.Chain{Readable: parts}
	for _, p := range parts {
		c.ReadLen += uint64(len(p))
	}
	return c
}

func TestHostProgramConnects(t *testing.T) {
	path := filepath.Join(t.TempDir(), "s")
	g := newGuest(t, Config{Path: path}, 8, 4096)
	u, err := net.Dial("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	defer u.Close()
	// Data right behind the line belongs to the stream.
	if _, err := io.WriteString(u, "CONNECT 52\nhello"); err != nil {
		t.Fatal(err)
	}
	p := g.want(opRequest)
	if p.dstPort != 52 {
		t.Errorf("request %+v", p.header)
	}
	g.put(p.reply(opResponse), nil)
	want := fmt.Sprintf("OK %d\n", p.srcPort)
	b := make([]byte, len(want))
	if _, err := io.ReadFull(u, b); err != nil || string(b) != want {
		t.Fatalf("answer %q, %v, want %q", b, err, want)
	}
	if d := g.want(opData); string(d.data) != "hello" {
		t.Errorf("the guest got %q", d.data)
	}
	// The program ends its side; the guest still answers, then closes.
	if err := u.(*net.UnixConn).CloseWrite(); err != nil {
		t.Fatal(err)
	}
	if s := g.want(opShutdown); s.flags != shutSend {
		t.Errorf("shutdown with flags %d, want 2", s.flags)
	}
	g.put(p.reply(opData), []byte("bye"))
	h := p.reply(opShutdown)
	h.flags = shutBoth
	g.put(h, nil)
	if rest, err := io.ReadAll(u); err != nil || string(rest) != "bye" {
		t.Errorf("the program got %q, %v", rest, err)
	}
	g.want(opReset)
}

func TestGuestConnectsToUnixSocket(t *testing.T) {
	path := filepath.Join(t.TempDir(), "s")
	g := newGuest(t, Config{Path: path}, 8, 4096)
	l, err := net.Listen("unix", path+"_80")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	g.put(header{srcPort: 9, dstPort: 80, op: opRequest}, nil)
	u, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	p := g.want(opResponse)
	g.put(p.reply(opData), []byte("GET"))
	b := make([]byte, 3)
	if _, err := io.ReadFull(u, b); err != nil || string(b) != "GET" {
		t.Errorf("the program got %q, %v", b, err)
	}
	// The guest resets; the program hears of it though it neither reads nor writes.
	g.put(p.reply(opReset), nil)
	if _, err := u.Read(b); !errors.Is(err, io.EOF) {
		t.Errorf("read after the reset: %v, want EOF", err)
	}
	_ = u.Close()
	// Nobody listens on that port's socket.
	g.put(header{srcPort: 9, dstPort: 81, op: opRequest}, nil)
	g.want(opReset)
}

func TestGreetings(t *testing.T) {
	for line, want := range map[string]int64{
		"CONNECT 1\n": 1, "connect 4294967295\r\n": 4294967295,
		"CONNECT\n": -1, "CONNECT x\n": -1, "CONNECT -1\n": -1, "CONNECT 4294967296\n": -1, "HELLO 5\n": -1,
		"CONNECT 00000000000000000000000000000000000001\n": -1, "CONNECT 5": -1, "": -1,
	} {
		port, err := readGreeting(strings.NewReader(line))
		if want < 0 && err == nil || want >= 0 && (err != nil || int64(port) != want) {
			t.Errorf("%q: %d, %v, want %d", line, port, err, want)
		}
	}
}

func TestSocketFileComesAndGoes(t *testing.T) {
	path := filepath.Join(t.TempDir(), "s")
	dev, err := New(Config{Path: path})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := New(Config{Path: path}); err == nil || !strings.Contains(err.Error(), "exists") {
		t.Errorf("a second device on the same path: %v", err)
	}
	// A program that never says what it wants does not keep the device.
	u, err := net.Dial("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	defer u.Close()
	if err := dev.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(path); !os.IsNotExist(err) {
		t.Errorf("the socket is still there: %v", err)
	}
	if _, err := New(Config{Path: "/" + strings.Repeat("x", maxSocketPath)}); err == nil {
		t.Error("a path that is too long is accepted")
	}
}

// TestSlowProgramStopsTheGuest has a program that does not read: the guest may send
// what the device and the socket hold, and no more, until the program reads.
func TestSlowProgramStopsTheGuest(t *testing.T) {
	path := filepath.Join(t.TempDir(), "s")
	g := newGuest(t, Config{Path: path}, 32, 4096)
	l, err := net.Listen("unix", path+"_80")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	g.put(header{srcPort: 9, dstPort: 80, op: opRequest}, nil)
	u, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	defer u.Close()
	p := g.want(opResponse)
	// An honest guest: it sends as long as it knows of room.
	const total = 4 << 20
	sent, taken := uint32(0), uint32(0)
	send := func() {
		for sent-taken < bufferSize && sent < total {
			n := min(bufferSize-(sent-taken), 4096)
			g.put(p.reply(opData), bytes.Repeat([]byte{byte(sent >> 12)}, int(n)))
			sent += n
		}
	}
	send()
	done := make(chan int)
	go func() {
		b, _ := io.ReadAll(io.LimitReader(u, total))
		for i, v := range b {
			if v != byte(i>>12) {
				t.Errorf("byte %d is %d", i, v)
				break
			}
		}
		done <- len(b)
	}()
	for sent < total {
		u := g.want(opCreditUpdate)
		taken = u.forwarded
		send()
	}
	if n := <-done; n != total {
		t.Errorf("%d bytes came, want %d", n, total)
	}
}

// TestSocketOfADeadMachineMakesWay has a socket file that nobody listens on.
func TestSocketOfADeadMachineMakesWay(t *testing.T) {
	path := filepath.Join(t.TempDir(), "s")
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: path, Net: "unix"})
	if err != nil {
		t.Fatal(err)
	}
	l.SetUnlinkOnClose(false)
	_ = l.Close()
	dev, err := New(Config{Path: path})
	if err != nil {
		t.Fatal(err)
	}
	if err := dev.Close(); err != nil {
		t.Error(err)
	}
	// A file that is no socket stays.
	if err := os.WriteFile(path, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := New(Config{Path: path}); err == nil {
		t.Error("a file was replaced")
	}
}
