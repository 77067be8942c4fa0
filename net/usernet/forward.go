package usernet

import (
	"context"
	"io"
	"net"
	"net/netip"
	"time"

	"gvisor.dev/gvisor/pkg/tcpip/adapters/gonet"
	"gvisor.dev/gvisor/pkg/tcpip/stack"
	"gvisor.dev/gvisor/pkg/tcpip/transport/tcp"
	"gvisor.dev/gvisor/pkg/tcpip/transport/udp"
	"gvisor.dev/gvisor/pkg/waiter"
)

// How long things may take.
const (
	dialTimeout = 30 * time.Second
	// udpIdle ends a flow of datagrams that nobody has used for so long (RFC 4787,
	// section 4.3, asks for two minutes at least).
	udpIdle = 2 * time.Minute
	// dnsIdle is for questions to the name server, each of which is a flow.
	dnsIdle = 10 * time.Second
)

// relayBuffer is the size of one read of a connection, in bytes.
const relayBuffer = 64 << 10

// target is where a connection or flow of the guest really goes; not ok if it may
// not go there.
func (n *Network) target(id stack.TransportEndpointID) (to netip.AddrPort, ok bool) {
	addr := netip.AddrFrom4(id.LocalAddress.As4())
	switch addr.As4() {
	case dnsAddr:
		return n.resolver, id.LocalPort == 53 && n.resolver.IsValid()
	case gatewayAddr:
		return netip.AddrPortFrom(netip.AddrFrom4([4]byte{127, 0, 0, 1}), id.LocalPort), n.cfg.HostLoopback
	}
	if !public(addr) {
		return netip.AddrPort{}, false
	}
	return netip.AddrPortFrom(addr, id.LocalPort), true
}

// public tells whether an address may be one of a host out there, which includes
// private networks.
func public(a netip.Addr) bool {
	b := a.As4()
	inside := netip.PrefixFrom(netip.AddrFrom4(gatewayAddr), prefixLen).Contains(a)
	return b[0] != 0 && b[0] < 240 && !inside && !a.IsLoopback() && !a.IsLinkLocalUnicast() && !a.IsMulticast()
}

// handleTCP is called on a goroutine of its own for each connection that the guest
// opens.
func (n *Network) handleTCP(r *tcp.ForwarderRequest) {
	to, ok := n.target(r.ID())
	if !ok || n.tcp.Add(1) > maxTCP {
		if ok {
			n.tcp.Add(-1)
		}
		r.Complete(true)
		return
	}
	if !n.spawn(func() {
		defer n.tcp.Add(-1)
		n.connect(r, to)
	}) {
		n.tcp.Add(-1)
		r.Complete(true)
	}
}

// connect opens the way to the real peer before it answers the guest, who so sees
// whether there is one.
func (n *Network) connect(r *tcp.ForwarderRequest, to netip.AddrPort) {
	ctx, cancel := context.WithTimeout(n.ctx, dialTimeout)
	defer cancel()
	var d net.Dialer
	out, err := d.DialContext(ctx, "tcp", to.String())
	if err != nil {
		r.Complete(true)
		return
	}
	defer out.Close()
	var wq waiter.Queue
	ep, terr := r.CreateEndpoint(&wq)
	r.Complete(false)
	if terr != nil {
		return
	}
	ep.SocketOptions().SetKeepAlive(true)
	in := gonet.NewTCPConn(&wq, ep)
	defer in.Close()
	stop := context.AfterFunc(n.ctx, func() {
		ep.Abort()
		_ = out.SetDeadline(time.Unix(1, 0))
		_ = in.SetDeadline(time.Unix(1, 0))
	})
	defer stop()
	relay(in, out.(*net.TCPConn))
}

// half is a stream whose two directions end apart.
type half interface {
	io.ReadWriter
	CloseWrite() error
	SetDeadline(time.Time) error
}

// relay copies both ways until both directions have ended.
func relay(a, b half) {
	done := make(chan struct{})
	go func() {
		defer close(done)
		pipe(a, b)
	}()
	pipe(b, a)
	<-done
}

// pipe copies from one stream to another. An end is passed on, an error ends both
// directions.
func pipe(to, from half) {
	// The wrappers keep io.CopyBuffer from other ways, such as splice, which the
	// netstack's streams do not have, and which would ignore the buffer.
	_, err := io.CopyBuffer(struct{ io.Writer }{to}, struct{ io.Reader }{from}, make([]byte, relayBuffer))
	if err == nil {
		err = to.CloseWrite()
	}
	if err != nil {
		_ = to.SetDeadline(time.Unix(1, 0))
		_ = from.SetDeadline(time.Unix(1, 0))
	}
}

// handleUDP is called for the first datagram of a flow.
func (n *Network) handleUDP(r *udp.ForwarderRequest) {
	to, ok := n.target(r.ID())
	if !ok || n.udp.Add(1) > maxUDP {
		if ok {
			n.udp.Add(-1)
		}
		return
	}
	var wq waiter.Queue
	ep, err := r.CreateEndpoint(&wq)
	if err != nil {
		n.udp.Add(-1)
		return
	}
	if !n.spawn(func() {
		defer n.udp.Add(-1)
		n.flow(gonet.NewUDPConn(&wq, ep), to)
	}) {
		n.udp.Add(-1)
		ep.Abort()
	}
}

// flow carries datagrams both ways until there are none for a while.
func (n *Network) flow(in *gonet.UDPConn, to netip.AddrPort) {
	defer in.Close()
	var d net.Dialer
	out, err := d.DialContext(n.ctx, "udp", to.String())
	if err != nil {
		return
	}
	defer out.Close()
	stop := context.AfterFunc(n.ctx, func() {
		_ = in.SetDeadline(time.Unix(1, 0))
		_ = out.SetDeadline(time.Unix(1, 0))
	})
	defer stop()
	idle := udpIdle
	if to == n.resolver {
		idle = dnsIdle
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		n.datagrams(in, out, idle)
	}()
	n.datagrams(out, in, idle)
	<-done
}

// datagrams copies one way. When it ends it ends the other way too.
func (n *Network) datagrams(to, from net.Conn, idle time.Duration) {
	buf := make([]byte, 65535)
	for n.ctx.Err() == nil {
		_ = from.SetReadDeadline(time.Now().Add(idle))
		size, err := from.Read(buf)
		if err != nil {
			break
		}
		_ = to.SetReadDeadline(time.Now().Add(idle))
		if _, err := to.Write(buf[:size]); err != nil {
			break
		}
	}
	_ = to.SetDeadline(time.Unix(1, 0))
	_ = from.SetDeadline(time.Unix(1, 0))
}
