package vsock

import (
	"bytes"
	"context"
	"errors"
	"io"
	"sync"
	"testing"
	"time"

	"github.com/gureum/gureum/virtio"
	"github.com/gureum/gureum/virtio/virtiotest"
)

func TestHostDials(t *testing.T) {
	g := newGuest(t, Config{}, 8, 4096)
	c, p := g.dial(1234)
	if p.dstPort != 1234 || p.srcPort != c.LocalPort() || p.srcPort < firstHostPort || p.alloc != bufferSize || p.typ != typeStream {
		t.Errorf("request %+v", p.header)
	}
	if _, err := c.Write([]byte("hello")); err != nil {
		t.Fatal(err)
	}
	if d := g.want(opData); string(d.data) != "hello" {
		t.Errorf("the guest got %q", d.data)
	}
	g.put(p.reply(opData), []byte("world"))
	b := make([]byte, 100)
	if n, err := c.Read(b); err != nil || string(b[:n]) != "world" {
		t.Errorf("read %q, %v", b[:n], err)
	}
	if err := c.Close(); err != nil {
		t.Fatal(err)
	}
	if s := g.want(opShutdown); s.flags != shutBoth {
		t.Errorf("shutdown with flags %d, want 3", s.flags)
	}
	g.put(p.reply(opReset), nil)
	g.d.Eventually("no connection left", func() bool { return g.dev.Conns() == 0 })
}

func TestRefusal(t *testing.T) {
	g := newGuest(t, Config{}, 8, 4096)
	errs := make(chan error)
	go func() {
		_, err := g.dev.Dial(t.Context(), 9)
		errs <- err
	}()
	p := g.want(opRequest)
	g.put(p.reply(opReset), nil)
	if err := <-errs; !errors.Is(err, ErrRefused) {
		t.Errorf("%v, want ErrRefused", err)
	}
	if g.dev.Conns() != 0 {
		t.Error("the connection is still there")
	}
	// The other way round.
	g.put(header{srcPort: 5, dstPort: 6, op: opRequest}, nil)
	if r := g.want(opReset); r.srcPort != 6 || r.dstPort != 5 {
		t.Errorf("reset %+v", r.header)
	}
}

func TestDialEndsWithItsContext(t *testing.T) {
	g := newGuest(t, Config{}, 8, 4096)
	ctx, cancel := context.WithCancel(t.Context())
	errs := make(chan error)
	go func() {
		_, err := g.dev.Dial(ctx, 9)
		errs <- err
	}()
	p := g.want(opRequest)
	cancel()
	if err := <-errs; !errors.Is(err, context.Canceled) {
		t.Errorf("%v, want context.Canceled", err)
	}
	if r := g.want(opReset); r.dstPort != p.dstPort {
		t.Errorf("reset %+v", r.header)
	}
}

func TestGuestConnects(t *testing.T) {
	g := newGuest(t, Config{}, 8, 4096)
	l, err := g.dev.Listen(1024)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	if _, err := g.dev.Listen(1024); err == nil {
		t.Error("a port can be listened on twice")
	}
	c, p := g.connect(l, 500)
	if c.LocalPort() != 1024 || c.RemotePort() != 500 {
		t.Errorf("connection from %d to %d", c.RemotePort(), c.LocalPort())
	}
	// Half-close by the guest: the host reads to the end and still writes.
	g.put(p.reply(opData), []byte("last words"))
	h := p.reply(opShutdown)
	h.flags = shutSend
	g.put(h, nil)
	if b, err := io.ReadAll(c); err != nil || string(b) != "last words" {
		t.Errorf("read %q, %v", b, err)
	}
	if _, err := c.Write([]byte("answer")); err != nil {
		t.Errorf("write after the guest's half-close: %v", err)
	}
	if d := g.want(opData); string(d.data) != "answer" {
		t.Errorf("the guest got %q", d.data)
	}
	// And by the host.
	if err := c.CloseWrite(); err != nil {
		t.Fatal(err)
	}
	if s := g.want(opShutdown); s.flags != shutSend {
		t.Errorf("shutdown with flags %d, want 2", s.flags)
	}
	if _, err := c.Write([]byte("x")); !errors.Is(err, ErrClosed) {
		t.Errorf("write after CloseWrite: %v, want ErrClosed", err)
	}
	// The guest closes for good: it waits for the reset that says so.
	h.flags = shutBoth
	g.put(h, nil)
	g.want(opReset)
	if g.dev.Conns() != 0 {
		t.Error("the connection is still there")
	}
}

func TestDataBeforeTheEndIsRead(t *testing.T) {
	g := newGuest(t, Config{}, 8, 4096)
	c, p := g.dial(1)
	g.put(p.reply(opData), []byte("abc"))
	h := p.reply(opShutdown)
	h.flags = shutBoth
	g.put(h, nil)
	if b, err := io.ReadAll(c); err != nil || string(b) != "abc" {
		t.Errorf("read %q, %v", b, err)
	}
	if _, err := c.Write([]byte("x")); !errors.Is(err, ErrReset) {
		t.Errorf("write: %v, want ErrReset", err)
	}
	// Without a shutdown before it, a reset is an error.
	g.want(opReset)
	c, p = g.dial(2)
	g.put(p.reply(opReset), nil)
	if _, err := c.Read(make([]byte, 1)); !errors.Is(err, ErrReset) {
		t.Errorf("read: %v, want ErrReset", err)
	}
}

// TestCreditOfTheGuestIsKept has a guest with little room, which it makes free step
// by step.
func TestCreditOfTheGuestIsKept(t *testing.T) {
	g := newGuest(t, Config{}, 8, 4096)
	conns := make(chan *Conn)
	go func() {
		c, err := g.dev.Dial(t.Context(), 1)
		if err != nil {
			t.Error(err)
		}
		conns <- c
	}()
	p := g.want(opRequest)
	h := p.reply(opResponse)
	h.alloc = 100
	g.put(h, nil)
	c := <-conns
	message := bytes.Repeat([]byte("0123456789"), 50)
	wrote := make(chan error)
	go func() {
		_, err := c.Write(message)
		wrote <- err
	}()
	var got []byte
	for len(got) < len(message) {
		d := g.want(opData)
		got = append(got, d.data...)
		if len(d.data) > 100 {
			t.Fatalf("%d bytes at once, the guest has room for 100", len(d.data))
		}
		if len(got) == len(message) {
			break
		}
		g.want(opCreditRequest)
		time.Sleep(5 * time.Millisecond)
		if !g.quiet() {
			t.Fatal("data came for which there is no room")
		}
		u := p.reply(opCreditUpdate)
		u.alloc, u.forwarded = 100, uint32(len(got))
		g.put(u, nil)
	}
	if err := <-wrote; err != nil || !bytes.Equal(got, message) {
		t.Errorf("the guest got %q, %v", got, err)
	}
}

// TestNonsenseCreditSendsNothing has a guest that claims to have taken more than was
// ever sent.
func TestNonsenseCreditSendsNothing(t *testing.T) {
	g := newGuest(t, Config{}, 8, 4096)
	c, p := g.dial(1)
	u := p.reply(opCreditUpdate)
	u.alloc, u.forwarded = 1000, 12345
	g.put(u, nil)
	go func() { _, _ = c.Write([]byte("x")) }()
	time.Sleep(10 * time.Millisecond)
	if !g.quiet() {
		t.Error("something was sent")
	}
	_ = c.Close()
}

func TestGuestIsToldOfRoomAndHeldToIt(t *testing.T) {
	g := newGuest(t, Config{}, 8, 4096)
	c, p := g.dial(1)
	chunk := bytes.Repeat([]byte{7}, bufferSize/4)
	for range 4 {
		g.put(p.reply(opData), chunk)
	}
	b := make([]byte, bufferSize)
	if n, err := io.ReadFull(c, b[:bufferSize/2+1]); err != nil {
		t.Fatal(n, err)
	}
	if u := g.want(opCreditUpdate); u.forwarded != bufferSize/2+1 || u.alloc != bufferSize {
		t.Errorf("credit update %+v", u.header)
	}
	g.put(p.reply(opCreditRequest), nil)
	g.want(opCreditUpdate)
	// One byte more than there is room for.
	g.put(p.reply(opData), chunk)
	g.put(p.reply(opData), chunk[:len(chunk)-1])
	g.put(p.reply(opData), []byte{1, 2, 3})
	g.want(opReset)
	if _, err := io.ReadAll(c); !errors.Is(err, errProtocol) {
		t.Errorf("read: %v, want errProtocol", err)
	}
}

func TestPacketsThatMayNotBe(t *testing.T) {
	g := newGuest(t, Config{}, 8, 4096)
	l, err := g.dev.Listen(1024)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	ask := header{srcPort: 1, dstPort: 1024, op: opRequest}
	silent := map[string]func(*header){
		"another guest's address": func(h *header) { h.srcCID = guestCID + 1 },
		"the host's own address":  func(h *header) { h.srcCID = HostCID },
		"to another guest":        func(h *header) { h.dstCID = guestCID + 1 },
		"to nobody":               func(h *header) { h.dstCID = ^uint64(0) },
		"a reset of nothing":      func(h *header) { h.op = opReset },
	}
	for name, spoil := range silent {
		h := ask
		spoil(&h)
		g.put(h, nil)
		if g.dev.Conns() != 0 || !g.quiet() {
			t.Errorf("%s: was heard", name)
		}
	}
	refused := map[string]func(*header){
		"another type":        func(h *header) { h.typ = 2 },
		"nobody listens":      func(h *header) { h.dstPort = 1025 },
		"data for nobody":     func(h *header) { h.op = opData },
		"shutdown of nothing": func(h *header) { h.op = opShutdown },
		"unknown operation":   func(h *header) { h.op = 99 },
	}
	for name, spoil := range refused {
		h := ask
		spoil(&h)
		g.put(h, nil)
		if r := g.want(opReset); r.typ == 0 || g.dev.Conns() != 0 {
			t.Errorf("%s: %+v, %d connections", name, r.header, g.dev.Conns())
		}
	}
	// Lengths that are not there.
	q := g.d.Queue(queueTX)
	q.Do([][]byte{make([]byte, headerSize-1)})
	var b [headerSize]byte
	h := header{srcCID: guestCID, dstCID: HostCID, srcPort: 1, dstPort: 1024, typ: typeStream, op: opRequest, len: 1}
	h.put(b[:])
	q.Do([][]byte{b[:]})
	if g.dev.Conns() != 0 || !g.quiet() {
		t.Error("a packet that is too short was heard")
	}
	// A second request for a connection that exists, and an answer to nothing.
	for _, op := range []operation{opRequest, opResponse, 99} {
		_, p := g.connect(l, 40+uint32(op))
		g.put(p.reply(op), nil)
		g.want(opReset)
	}
}

func TestResetEndsEverything(t *testing.T) {
	g := newGuest(t, Config{}, 1, 64)
	l, err := g.dev.Listen(1024)
	if err != nil {
		t.Fatal(err)
	}
	c, _ := g.connect(l, 1)
	var work sync.WaitGroup
	work.Go(func() {
		if _, err := c.Read(make([]byte, 1)); !errors.Is(err, ErrReset) {
			t.Errorf("read: %v, want ErrReset", err)
		}
	})
	work.Go(func() {
		if _, err := c.Write(make([]byte, 10<<20)); !errors.Is(err, ErrReset) {
			t.Errorf("write: %v, want ErrReset", err)
		}
	})
	work.Go(func() {
		if _, err := g.dev.Dial(t.Context(), 7); err == nil {
			t.Error("Dial succeeded")
		}
	})
	time.Sleep(10 * time.Millisecond)
	g.d.Reset()
	work.Wait()
	if _, err := g.dev.Dial(t.Context(), 7); err == nil {
		t.Error("Dial succeeded without a guest")
	}
	// It works again afterwards, with the same listener.
	g.receives = nil
	g.d.Start(0)
	g.post(4)
	g.connect(l, 1)
}

// TestNoStallWithoutReceiveBuffers has the guest run out of buffers and come back.
func TestNoStallWithoutReceiveBuffers(t *testing.T) {
	g := newGuest(t, Config{}, 1, 100)
	c, _ := g.dial(1)
	message := bytes.Repeat([]byte("x"), 5000)
	go func() { _, _ = c.Write(message) }()
	var got int
	for got < len(message) {
		got += len(g.want(opData).data) // posts one buffer at a time
	}
	_ = c.Close()
}

func TestThousandsOfConnections(t *testing.T) {
	const n = 3000
	g := newGuest(t, Config{}, 32, 256)
	l, err := g.dev.Listen(1024)
	if err != nil {
		t.Fatal(err)
	}
	var conns []*Conn
	var packets []packet
	for i := range uint32(n) {
		c, p := g.connect(l, 1000+i)
		conns, packets = append(conns, c), append(packets, p)
	}
	if g.dev.Conns() != n {
		t.Fatalf("%d connections, want %d", g.dev.Conns(), n)
	}
	for i, c := range conns {
		g.put(packets[i].reply(opData), []byte{byte(i), byte(i >> 8)})
		b := make([]byte, 2)
		if _, err := io.ReadFull(c, b); err != nil || int(b[0])|int(b[1])<<8 != i {
			t.Fatalf("connection %d: %v, %v", i, b, err)
		}
		if c.in.bytes != nil {
			t.Fatal("an idle connection holds a buffer")
		}
	}
	var work sync.WaitGroup
	for i, c := range conns {
		work.Go(func() { _, _ = c.Write([]byte{byte(i), byte(i >> 8)}) })
	}
	for range n {
		d := g.want(opData)
		if i := int(d.data[0]) | int(d.data[1])<<8; packets[i].srcPort != d.srcPort || packets[i].dstPort != d.dstPort {
			t.Fatalf("data of connection %d came on another one", i)
		}
	}
	work.Wait()
}

func TestConnectionsAreBounded(t *testing.T) {
	g := newGuest(t, Config{}, 8, 256)
	l, err := g.dev.Listen(1024)
	if err != nil {
		t.Fatal(err)
	}
	// Nobody accepts: the backlog fills up, then the guest is refused.
	for i := range uint32(backlog) {
		g.put(header{srcPort: i, dstPort: 1024, op: opRequest}, nil)
		g.want(opResponse)
	}
	g.put(header{srcPort: backlog, dstPort: 1024, op: opRequest}, nil)
	g.want(opReset)
	if g.dev.Conns() != backlog {
		t.Errorf("%d connections, want %d", g.dev.Conns(), backlog)
	}
	// A flood of packets that want resets, with nobody taking them.
	g = newGuest(t, Config{}, 0, 256)
	for i := range uint32(2 * maxReplies) {
		g.put(header{srcPort: i, dstPort: 5, op: opData}, nil)
	}
	g.dev.mu.Lock()
	n := g.dev.replies.len()
	g.dev.mu.Unlock()
	if n > maxReplies {
		t.Errorf("%d resets wait, want at most %d", n, maxReplies)
	}
	_ = l.Close()
}

func TestConfigurationIsTheCID(t *testing.T) {
	g := newGuest(t, Config{}, 0, 64)
	b := []byte{1, 2, 3, 4, 5, 6, 7, 8, 9, 10}
	g.d.Core.ReadConfig(0, b)
	if !bytes.Equal(b, []byte{guestCID, 0, 0, 0, 0, 0, 0, 0, 0, 0}) {
		t.Errorf("configuration %v", b)
	}
	for _, cid := range []uint64{1, 2, 1<<32 - 1, 1 << 40} {
		if _, err := New(Config{CID: cid}); err == nil {
			t.Errorf("CID %d is accepted", cid)
		}
	}
}

func TestSteadyPathDoesNotAllocate(t *testing.T) {
	g := newGuest(t, Config{}, 1, 4096)
	c, p := g.dial(1)
	var h [headerSize]byte
	head := p.reply(opData)
	head.srcCID, head.dstCID, head.typ, head.alloc, head.len = guestCID, HostCID, typeStream, guestRoom, 1024
	head.put(h[:])
	data, b := make([]byte, 1024), make([]byte, 1024)
	tx := g.d.Queue(queueTX)
	// The driver's side allocates; so the device's side is measured alone, on the
	// request that the driver has made.
	tx.Do([][]byte{h[:], data})
	if _, err := io.ReadFull(c, b); err != nil {
		t.Fatal(err)
	}
	chain := chainOf(h[:], data)
	if n := testing.AllocsPerRun(100, func() {
		if _, err := g.dev.transmit(chain); err != nil {
			t.Fatal(err)
		}
		for left := len(b); left > 0; {
			n, err := c.Read(b[:left])
			if err != nil {
				t.Fatal(err)
			}
			left -= n
		}
	}); n != 0 {
		t.Errorf("%v allocations a packet from the guest", n)
	}
	out := chainOf()
	out.Writable, out.WriteLen = [][]byte{make([]byte, headerSize+1024)}, headerSize+1024
	if n := testing.AllocsPerRun(100, func() {
		c.mu.Lock()
		c.out, c.sent, c.peerTaken, c.peerAlloc = data, 0, 0, guestRoom
		c.mu.Unlock()
		if n, _, _ := c.fill(out); n != headerSize+1024 {
			t.Fatalf("a packet of %d bytes", n)
		}
	}); n != 0 {
		t.Errorf("%v allocations a packet to the guest", n)
	}
}

func TestHammer(t *testing.T) {
	var seeds [][]byte
	for _, op := range []operation{opRequest, opResponse, opReset, opShutdown, opData, opCreditUpdate, opCreditRequest} {
		for port := range uint32(3) {
			var b [headerSize + 100]byte
			h := header{srcCID: guestCID, dstCID: HostCID, srcPort: port, dstPort: 1024, typ: typeStream, op: op, alloc: 4096}
			if op == opData {
				h.len = 100
			}
			h.put(b[:])
			seeds = append(seeds, b[:headerSize+h.len])
		}
	}
	for seed := range uint64(2) {
		virtiotest.Hammer(t, func() virtio.Device {
			dev, err := New(Config{CID: guestCID})
			if err != nil {
				t.Fatal(err)
			}
			l, err := dev.Listen(1024)
			if err != nil {
				t.Fatal(err)
			}
			go func() {
				for c, err := l.Accept(); err == nil; c, err = l.Accept() {
					go func() {
						defer c.Close()
						_, _ = c.WriteTo(c)
					}()
				}
			}()
			return dev
		}, 50_000, seed, seeds...)
	}
}
