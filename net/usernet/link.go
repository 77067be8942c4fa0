package usernet

import (
	"encoding/binary"
	"sync"
	"sync/atomic"

	"gvisor.dev/gvisor/pkg/buffer"
	"gvisor.dev/gvisor/pkg/tcpip"
	"gvisor.dev/gvisor/pkg/tcpip/header"
	"gvisor.dev/gvisor/pkg/tcpip/stack"
)

// Offloads of virtio/net's Backend, and the header of a frame (virtio 1.2, section
// 5.1.6).
const (
	offloadCsum = 0x01
	offloadTSO4 = 0x02

	vnetHeader    = 12
	flagNeedsCsum = 1
	gsoTCPv4      = 1
)

const (
	etherHeader = header.EthernetMinimumSize
	maxFrame    = etherHeader + 65535
	// maxQueued bounds the frames on their way to the guest. When they are not
	// fetched, the netstack takes that for congestion.
	maxQueued = 256
	// maxGSO is the largest TCP packet that the netstack may make.
	maxGSO = 60 << 10
)

// link is the netstack's end of the guest's wire.
type link struct {
	mtu      uint32
	mac      [6]byte
	offloads *atomic.Uint32

	mu         sync.Mutex
	ready      sync.Cond
	dispatcher stack.NetworkDispatcher
	queue      [maxQueued]*stack.PacketBuffer // a ring
	first, n   int
	woken      bool
	closed     bool
}

func newLink(mtu uint32, mac [6]byte, offloads *atomic.Uint32) *link {
	l := &link{mtu: mtu, mac: mac, offloads: offloads}
	l.ready.L = &l.mu
	return l
}

// WritePackets queues frames for the guest.
func (l *link) WritePackets(list stack.PacketBufferList) (int, tcpip.Error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed {
		return 0, &tcpip.ErrClosedForSend{}
	}
	for i, p := range list.AsSlice() {
		if l.n == maxQueued {
			return i, &tcpip.ErrNoBufferSpace{}
		}
		l.queue[(l.first+l.n)%maxQueued] = p.IncRef()
		l.n++
	}
	l.ready.Signal()
	return list.Len(), nil
}

// next takes a frame; nil if there is none, or, with wait, only after wake.
func (l *link) next(wait bool) *stack.PacketBuffer {
	l.mu.Lock()
	defer l.mu.Unlock()
	for l.n == 0 {
		if !wait || l.closed || l.woken {
			l.woken = false
			return nil
		}
		l.ready.Wait()
	}
	p := l.queue[l.first]
	l.queue[l.first] = nil
	l.first = (l.first + 1) % maxQueued
	l.n--
	return p
}

func (l *link) wake() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.woken = true
	l.ready.Signal()
}

// shut drops what was not fetched.
func (l *link) shut() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.closed = true
	for ; l.n > 0; l.n-- {
		l.queue[l.first].DecRef()
		l.queue[l.first] = nil
		l.first = (l.first + 1) % maxQueued
	}
	l.ready.Broadcast()
}

// Readv gives the guest its next frame; see virtio/net's Backend.
func (n *Network) Readv(_ int, iov [][]byte, wait bool) (int, error) {
	w := scatter{iov: iov}
	var h [vnetHeader]byte
	if f := n.segments.next(); f != nil {
		w.write(h[:])
		w.write(f)
		return w.n, nil
	}
	p := n.link.next(wait)
	if p == nil {
		return 0, nil
	}
	defer p.DecRef()
	if g := p.GSOOptions; g.NeedsCsum {
		if n.offloads.Load()&(offloadCsum|offloadTSO4) != offloadCsum|offloadTSO4 {
			n.segments.load(p)
			w.write(h[:])
			w.write(n.segments.next())
			return w.n, nil
		}
		describe(&h, p)
	}
	w.write(h[:])
	for _, part := range p.AsSlices() {
		w.write(part)
	}
	return w.n, nil
}

// describe says in a frame's header what is left to do for the guest.
func describe(h *[vnetHeader]byte, p *stack.PacketBuffer) {
	g := p.GSOOptions
	h[0] = flagNeedsCsum
	binary.LittleEndian.PutUint16(h[2:], uint16(p.HeaderSize()))
	binary.LittleEndian.PutUint16(h[6:], etherHeader+g.L3HdrLen)
	binary.LittleEndian.PutUint16(h[8:], g.CsumOffset)
	if g.Type == stack.GSOTCPv4 && p.Data().Size() > int(g.MSS) {
		h[1] = gsoTCPv4
		binary.LittleEndian.PutUint16(h[4:], g.MSS)
	}
}

// scatter writes into slices one after the other. What does not fit is left out.
type scatter struct {
	iov [][]byte
	off int // in iov[0]
	n   int // bytes written
}

func (w *scatter) write(p []byte) {
	for len(p) > 0 && len(w.iov) > 0 {
		c := copy(w.iov[0][w.off:], p)
		p = p[c:]
		w.n += c
		if w.off += c; w.off == len(w.iov[0]) {
			w.iov, w.off = w.iov[1:], 0
		}
	}
}

// Writev takes a frame of the guest; see virtio/net's Backend. It never waits: the
// netstack drops what it has no room for, as a router does.
func (n *Network) Writev(_ int, iov [][]byte, _ bool) (int, error) {
	size := 0
	for _, b := range iov {
		size += len(b)
	}
	if size < vnetHeader+etherHeader || size > vnetHeader+maxFrame {
		return size, nil
	}
	v := buffer.NewViewSize(size - vnetHeader)
	frame, skip := v.AsSlice(), vnetHeader
	for _, b := range iov {
		if skip >= len(b) {
			skip -= len(b)
			continue
		}
		frame = frame[copy(frame, b[skip:]):]
		skip = 0
	}
	if !wanted(v.AsSlice()) {
		v.Release()
		return size, nil
	}
	p := stack.NewPacketBuffer(stack.PacketBufferOptions{Payload: buffer.MakeWithView(v)})
	defer p.DecRef()
	hdr, ok := p.LinkHeader().Consume(etherHeader)
	if !ok {
		return size, nil
	}
	p.RXChecksumValidated = true // it may still be to be filled in, and memory is no line
	n.link.mu.Lock()
	d := n.link.dispatcher
	n.link.mu.Unlock()
	if d != nil {
		d.DeliverNetworkPacket(header.Ethernet(hdr).Type(), p)
	}
	return size, nil
}

// wanted tells whether the netstack is to see a frame. Since it takes every
// address for its own, it would answer questions and pings for all of them.
func wanted(frame []byte) bool {
	payload := frame[etherHeader:]
	switch header.Ethernet(frame).Type() {
	case header.ARPProtocolNumber:
		if len(payload) < header.ARPSize {
			return false
		}
		return ours([4]byte(header.ARP(payload).ProtocolAddressTarget()))
	case header.IPv4ProtocolNumber:
		if len(payload) < header.IPv4MinimumSize {
			return false
		}
		ip := header.IPv4(payload)
		return ip.Protocol() != uint8(header.ICMPv4ProtocolNumber) || ours(ip.DestinationAddress().As4())
	}
	return false
}

func ours(a [4]byte) bool { return a == gatewayAddr || a == dnsAddr }

// Wake ends a Readv that waits.
func (n *Network) Wake(int) { n.link.wake() }

// MTU is that of the guest's interface.
func (l *link) MTU() uint32 { return l.mtu }

// SetMTU does nothing.
func (l *link) SetMTU(uint32) {}

// MaxHeaderLength is Ethernet's.
func (l *link) MaxHeaderLength() uint16 { return etherHeader }

// LinkAddress is the MAC address of the netstack's end.
func (l *link) LinkAddress() tcpip.LinkAddress { return tcpip.LinkAddress(l.mac[:]) }

// SetLinkAddress does nothing.
func (l *link) SetLinkAddress(tcpip.LinkAddress) {}

// Capabilities say that checksums of the guest's frames need no look, and that its
// MAC address must be asked for.
func (l *link) Capabilities() stack.LinkEndpointCapabilities {
	return stack.CapabilityRXChecksumOffload | stack.CapabilityResolutionRequired
}

// GSOMaxSize bounds the TCP packets that SupportedGSO allows.
func (l *link) GSOMaxSize() uint32 { return maxGSO }

// SupportedGSO tells whether the guest takes TCP packets larger than the MTU.
func (l *link) SupportedGSO() stack.SupportedGSO {
	if l.offloads.Load()&(offloadCsum|offloadTSO4) == offloadCsum|offloadTSO4 {
		return stack.HostGSOSupported
	}
	return stack.GSONotSupported
}

// Attach is called by the netstack.
func (l *link) Attach(d stack.NetworkDispatcher) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.dispatcher = d
}

// IsAttached tells whether the netstack is there.
func (l *link) IsAttached() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.dispatcher != nil
}

// Wait returns at once: the link has no goroutines.
func (l *link) Wait() {}

// ARPHardwareType is Ethernet.
func (l *link) ARPHardwareType() header.ARPHardwareType { return header.ARPHardwareEther }

// AddHeader writes the Ethernet header.
func (l *link) AddHeader(p *stack.PacketBuffer) {
	header.Ethernet(p.LinkHeader().Push(etherHeader)).Encode(&header.EthernetFields{
		SrcAddr: p.EgressRoute.LocalLinkAddress,
		DstAddr: p.EgressRoute.RemoteLinkAddress,
		Type:    p.NetworkProtocolNumber,
	})
}

// ParseHeader is not needed: Writev has done it.
func (l *link) ParseHeader(*stack.PacketBuffer) bool { return true }

// Close is called by the netstack.
func (l *link) Close() {}

// SetOnCloseAction does nothing.
func (l *link) SetOnCloseAction(func()) {}
