package vsock

import (
	"encoding/binary"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"

	"github.com/gureum/gureum/virtio"
	"github.com/gureum/gureum/virtio/queue"
)

// Queues (section 5.10.2) and their sizes.
const (
	queueRX = iota
	queueTX
	queueEvent

	// Linux fills the queue of packets to it with buffers of 4 KiB when it starts,
	// which takes a guest's time and memory; as many as this are as much as one of
	// its sockets buffers.
	packetQueueSize = 64
	eventQueueSize  = 4
)

// featureStream is the bit of VIRTIO_VSOCK_F_STREAM (section 5.10.3).
const featureStream = 0

// Bounds of what a device takes.
const (
	// MinCID and MaxCID are the addresses that guests can have; the others are
	// reserved (section 5.10.4).
	MinCID = 3
	MaxCID = 1<<32 - 2
	// MaxConns is the number of connections of a guest.
	MaxConns = 4096
	// maxReplies is how many resets may wait for a guest that takes none. More are
	// dropped: it has itself to blame.
	maxReplies = 1024
)

// Config says how a device behaves.
type Config struct {
	// CID is the guest's address; 0 takes MinCID.
	CID uint64
	// Path names the Unix sockets for programs of the host (see unix.go); "" for
	// none.
	Path string
	// Vhost has the host's kernel do the work: the guest's CID is then known to
	// AF_VSOCK sockets of the whole host, and there is neither Path nor Dial nor
	// Listen.
	Vhost bool
	// VhostPath is the kernel's device; "" is DefaultVhost.
	VhostPath string
}

// Validate checks what can be checked without the host, and fills in defaults.
func (c *Config) Validate() error {
	if c.CID == 0 {
		c.CID = MinCID
	}
	switch {
	case c.CID < MinCID || c.CID > MaxCID:
		return fmt.Errorf("vsock: CID %d: give a number from %d to %d", c.CID, MinCID, uint32(MaxCID))
	case c.Path != "" && c.Vhost:
		return errors.New("vsock: the kernel's device has no Unix socket: leave the path or vhost out")
	case len(c.Path) > maxSocketPath-len("_4294967295"):
		return fmt.Errorf("vsock: %s: the path of these sockets has at most %d bytes", c.Path, maxSocketPath-len("_4294967295"))
	}
	if c.VhostPath == "" {
		c.VhostPath = DefaultVhost
	}
	return nil
}

// key names a connection: one of the guest's ports and one of the host's.
type key struct{ host, guest uint32 }

// Device is a socket device. It implements virtio.Device.
type Device struct {
	cfg  Config
	cid  uint64
	host *hostSockets // nil without Config.Path

	mu        sync.Mutex // guards what follows; taken after no Conn's
	run       *running   // nil while the device is not active
	kernel    *kernelRings
	conns     map[key]*Conn
	ready     fifo[*Conn]  // those with something for the guest
	replies   fifo[header] // resets of what is no connection
	listeners map[uint32]*Listener
	nextPort  uint32
	closed    bool
}

// running is what there is between Activate and Reset.
type running struct {
	rx, tx, events *queue.Queue // events may be nil
	sleeping       atomic.Bool  // receive waits, or is about to
	moved          atomic.Bool  // the driver is to hear of a transport reset
	work           sync.WaitGroup
}

// New makes a device, and the Unix socket.
func New(c Config) (*Device, error) {
	if err := c.Validate(); err != nil {
		return nil, err
	}
	d := &Device{
		cfg: c, cid: c.CID, nextPort: firstHostPort,
		conns: map[key]*Conn{}, listeners: map[uint32]*Listener{},
	}
	if c.Path != "" {
		var err error
		if d.host, err = listenHost(d, c.Path); err != nil {
			return nil, err
		}
	}
	return d, nil
}

// Type implements virtio.Device.
func (d *Device) Type() uint32 { return virtio.TypeVsock }

// Features implements virtio.Device.
func (d *Device) Features() uint64 { return 1 << featureStream }

// QueueSizes implements virtio.Device: packets to the guest, packets from it, events.
func (d *Device) QueueSizes() []uint16 {
	return []uint16{packetQueueSize, packetQueueSize, eventQueueSize}
}

// ReadConfig implements virtio.Device: the guest's CID (section 5.10.4).
func (d *Device) ReadConfig(offset uint64, data []byte) {
	var config [8]byte
	binary.LittleEndian.PutUint64(config[:], d.cid)
	clear(data)
	if offset < uint64(len(config)) {
		copy(data, config[offset:])
	}
}

// WriteConfig implements virtio.Device: nothing can be written.
func (d *Device) WriteConfig(uint64, []byte) {}

// Activate implements virtio.Device.
func (d *Device) Activate(a virtio.Activation) error {
	r := &running{rx: a.Queues[queueRX], tx: a.Queues[queueTX], events: a.Queues[queueEvent]}
	if r.rx == nil || r.tx == nil {
		return errors.New("vsock: the driver has not set up its queues")
	}
	if d.cfg.Vhost {
		return d.activateKernel(a)
	}
	d.mu.Lock()
	d.run = r
	d.mu.Unlock()
	r.work.Go(func() { d.receive(r) })
	r.work.Go(func() { r.tx.Serve(d.transmit) })
	if r.events != nil {
		r.work.Go(r.announce)
	}
	return nil
}

// Reset implements virtio.Device: all connections end.
func (d *Device) Reset() {
	d.mu.Lock()
	r, k := d.run, d.kernel
	d.run, d.kernel = nil, nil
	d.mu.Unlock()
	if k != nil {
		k.close()
	}
	if r == nil {
		return
	}
	for _, q := range [...]*queue.Queue{r.rx, r.tx, r.events} {
		if q != nil {
			q.Stop()
		}
	}
	d.hangUp()
	r.work.Wait()
}

// hangUp ends all connections on the host's side, without a word to the guest.
func (d *Device) hangUp() {
	d.mu.Lock()
	all := make([]*Conn, 0, len(d.conns))
	for _, c := range d.conns {
		all = append(all, c)
	}
	clear(d.conns)
	for d.ready.len() > 0 {
		d.ready.pop().queued = false
	}
	d.replies = fifo[header]{}
	d.mu.Unlock()
	for _, c := range all {
		c.die(ErrReset)
	}
}

// Close implements virtio.Device: the Unix socket goes away, and Accept of the
// listeners returns.
func (d *Device) Close() error {
	d.mu.Lock()
	d.closed = true
	all := make([]*Listener, 0, len(d.listeners))
	for _, l := range d.listeners {
		all = append(all, l)
	}
	clear(d.listeners)
	d.mu.Unlock()
	for _, l := range all {
		l.end()
	}
	d.hangUp()
	if d.host == nil {
		return nil
	}
	return d.host.Close()
}

// Conns is the number of connections.
func (d *Device) Conns() int {
	d.mu.Lock()
	defer d.mu.Unlock()
	return len(d.conns)
}

func (d *Device) lookup(k key) *Conn {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.conns[k]
}

// forget takes a connection out: packets of its ports are nobody's from now on.
func (d *Device) forget(c *Conn) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.conns[c.key] == c {
		delete(d.conns, c.key)
	}
}

// notify has receive look at a connection that may have something for the guest.
func (d *Device) notify(c *Conn) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.run == nil || c.queued || d.conns[c.key] != c {
		return
	}
	c.queued = true
	d.ready.push(c)
	d.wake()
}

// wake wakes receive. The caller holds the lock, so that the queue's doorbell is not
// rung after Reset.
func (d *Device) wake() {
	if d.run.sleeping.CompareAndSwap(true, false) {
		d.run.rx.Kick()
	}
}

// refuse answers a packet that is for no connection (section 5.10.6.4); a reset is
// not answered.
func (d *Device) refuse(h *header) {
	if h.op != opReset {
		d.reset(key{h.dstPort, h.srcPort}, h.typ)
	}
}

// reset tells the guest that there is no such connection.
func (d *Device) reset(k key, typ uint16) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.run == nil || d.replies.len() >= maxReplies {
		return
	}
	d.replies.push(header{srcCID: HostCID, dstCID: d.cid, srcPort: k.host, dstPort: k.guest, typ: typ, op: opReset})
	d.wake()
}

// idle tells that there is nothing for the guest.
func (d *Device) idle() bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.replies.len() == 0 && d.ready.len() == 0
}

// next is what the guest gets next: a reply, or a packet of a connection.
func (d *Device) next() (header, *Conn) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.replies.len() > 0 {
		return d.replies.pop(), nil
	}
	if d.ready.len() == 0 {
		return header{}, nil
	}
	c := d.ready.pop()
	c.queued = false
	return header{}, c
}
