package vsock

import (
	"bytes"
	"encoding/binary"
	"testing"

	"go.uber.org/goleak"

	"github.com/gureum/gureum/virtio/virtiotest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// guest is the driver's side: it speaks packets, and keeps to nothing by itself.
type guest struct {
	t        *testing.T
	d        *virtiotest.Driver
	dev      *Device
	receives []*virtiotest.Request // in the order in which they were posted
	bufSize  int
}

const guestCID = 77

// newGuest starts a device with n receive buffers of size bytes each.
func newGuest(t *testing.T, c Config, n, size int) *guest {
	t.Helper()
	c.CID = guestCID
	dev, err := New(c)
	if err != nil {
		t.Fatal(err)
	}
	g := &guest{t: t, d: virtiotest.New(t, dev), dev: dev, bufSize: size}
	g.d.Start(virtiotest.AllFeatures)
	g.post(n)
	return g
}

// post gives the device n receive buffers.
func (g *guest) post(n int) {
	q := g.d.Queue(queueRX)
	for range n {
		g.receives = append(g.receives, q.Submit(nil, headerSize, g.bufSize))
	}
	q.Kick()
}

// packet is one packet on its way to the guest.
type packet struct {
	header
	data []byte
}

// get waits for the next packet and posts its buffer again.
func (g *guest) get() packet {
	g.t.Helper()
	r := g.receives[0]
	g.receives = g.receives[1:]
	n := g.d.Queue(queueRX).Wait(r)
	p := decode(g.t, r, n)
	g.post(1)
	return p
}

// quiet tells that no packet has come.
func (g *guest) quiet() bool { return !g.d.Queue(queueRX).Done(g.receives[0]) }

func decode(t *testing.T, r *virtiotest.Request, n uint32) packet {
	t.Helper()
	b := r.AllWritable()
	if n < headerSize || int(n) > len(b) {
		t.Fatalf("a packet of %d bytes", n)
	}
	le := binary.LittleEndian
	p := packet{header: header{
		srcCID: le.Uint64(b[0:]), dstCID: le.Uint64(b[8:]), srcPort: le.Uint32(b[16:]), dstPort: le.Uint32(b[20:]),
		len: le.Uint32(b[24:]), typ: le.Uint16(b[28:]), op: operation(le.Uint16(b[30:])), flags: le.Uint32(b[32:]),
		alloc: le.Uint32(b[36:]), forwarded: le.Uint32(b[40:]),
	}, data: bytes.Clone(b[headerSize:n])}
	if int(p.len) != len(p.data) || p.srcCID != HostCID || p.dstCID != guestCID {
		t.Fatalf("packet %+v with %d bytes of data", p.header, len(p.data))
	}
	return p
}

// want waits for a packet with this operation.
func (g *guest) want(op operation) packet {
	g.t.Helper()
	p := g.get()
	if p.op != op {
		g.t.Fatalf("packet %+v, want operation %d", p.header, op)
	}
	return p
}

// guestRoom is the buffer that the guest says it has for each connection.
const guestRoom = 1 << 20

// put sends a packet; zero fields get what an honest guest would put there.
func (g *guest) put(h header, data []byte) {
	g.t.Helper()
	if h.srcCID == 0 {
		h.srcCID = guestCID
	}
	if h.dstCID == 0 {
		h.dstCID = HostCID
	}
	if h.typ == 0 {
		h.typ = typeStream
	}
	if h.alloc == 0 {
		h.alloc = guestRoom
	}
	h.len = uint32(len(data))
	var b [headerSize]byte
	h.put(b[:])
	parts := [][]byte{b[:]}
	if len(data) > 0 {
		parts = append(parts, data)
	}
	g.d.Queue(queueTX).Do(parts)
}

// reply is a packet in answer to one of the host's.
func (p *packet) reply(op operation) header {
	return header{srcPort: p.dstPort, dstPort: p.srcPort, op: op}
}

// dial has the host connect, and the guest agree.
func (g *guest) dial(port uint32) (*Conn, packet) {
	g.t.Helper()
	conns := make(chan *Conn)
	go func() {
		c, err := g.dev.Dial(g.t.Context(), port)
		if err != nil {
			g.t.Error(err)
		}
		conns <- c
	}()
	p := g.want(opRequest)
	g.put(p.reply(opResponse), nil)
	return <-conns, p
}

// connect has the guest connect to a listener.
func (g *guest) connect(l *Listener, guestPort uint32) (*Conn, packet) {
	g.t.Helper()
	g.put(header{srcPort: guestPort, dstPort: l.port, op: opRequest}, nil)
	c, err := l.Accept()
	if err != nil {
		g.t.Fatal(err)
	}
	return c, g.want(opResponse)
}
