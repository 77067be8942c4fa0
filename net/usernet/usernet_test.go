package usernet

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"sync/atomic"
	"testing"
	"time"

	"github.com/insomniacslk/dhcp/dhcpv4"
	"go.uber.org/goleak"
	"gvisor.dev/gvisor/pkg/buffer"
	"gvisor.dev/gvisor/pkg/tcpip"
	"gvisor.dev/gvisor/pkg/tcpip/adapters/gonet"
	"gvisor.dev/gvisor/pkg/tcpip/header"
	"gvisor.dev/gvisor/pkg/tcpip/network/arp"
	"gvisor.dev/gvisor/pkg/tcpip/network/ipv4"
	"gvisor.dev/gvisor/pkg/tcpip/stack"
	"gvisor.dev/gvisor/pkg/tcpip/transport/icmp"
	"gvisor.dev/gvisor/pkg/tcpip/transport/tcp"
	"gvisor.dev/gvisor/pkg/tcpip/transport/udp"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var testMAC = [6]byte{2, 0, 0, 0, 0, 1}

// guest is a netstack that stands for the guest's kernel, joined to a Network by
// its frames.
type guest struct {
	t     *testing.T
	net   *Network
	stack *stack.Stack
	link  *link
	large atomic.Int64 // frames larger than the MTU that came
}

// newGuest joins a guest to a network. With offloads it leaves checksums and
// segmentation to the other side, and takes such frames.
func newGuest(t *testing.T, cfg Config, offloads uint32) *guest {
	t.Helper()
	n, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	if err := n.SetOffloads(offloads); err != nil {
		t.Fatal(err)
	}
	g := &guest{t: t, net: n}
	var own atomic.Uint32
	own.Store(offloads)
	g.link = newLink(DefaultMTU, testMAC, &own)
	g.stack = stack.New(stack.Options{
		NetworkProtocols:   []stack.NetworkProtocolFactory{ipv4.NewProtocol, arp.NewProtocol},
		TransportProtocols: []stack.TransportProtocolFactory{tcp.NewProtocol, udp.NewProtocol, icmp.NewProtocol4},
	})
	if terr := g.stack.CreateNIC(nicID, g.link); terr != nil {
		t.Fatal(terr)
	}
	terr := g.stack.AddProtocolAddress(nicID, tcpip.ProtocolAddress{
		Protocol: ipv4.ProtocolNumber, AddressWithPrefix: tcpip.AddrFrom4(guestAddr).WithPrefix(),
	}, stack.AddressProperties{})
	if terr != nil {
		t.Fatal(terr)
	}
	inside, err := tcpip.NewSubnet(tcpip.AddrFrom4([4]byte{10, 0, 2, 0}), tcpip.MaskFromBytes(netmask[:]))
	if err != nil {
		t.Fatal(err)
	}
	g.stack.SetRouteTable([]tcpip.Route{
		{Destination: inside, NIC: nicID},
		{Destination: header.IPv4EmptySubnet, Gateway: tcpip.AddrFrom4(gatewayAddr), NIC: nicID},
	})
	done := make(chan struct{}, 2)
	stop := make(chan struct{})
	go g.carry(done, stop, g.receive)
	go g.carry(done, stop, g.transmit)
	t.Cleanup(func() {
		g.stack.Close()
		close(stop)
		g.link.wake()
		g.net.Wake(0)
		<-done
		<-done
		g.link.shut()
		g.stack.Wait()
		if err := n.Close(); err != nil {
			t.Error(err)
		}
	})
	return g
}

func (g *guest) carry(done chan<- struct{}, stop <-chan struct{}, one func()) {
	for {
		select {
		case <-stop:
			done <- struct{}{}
			return
		default:
			one()
		}
	}
}

// receive takes a frame from the network in parts, as a ring of buffers does.
func (g *guest) receive() {
	iov := make([][]byte, 60)
	for i := range iov {
		iov[i] = make([]byte, 1100)
	}
	size, err := g.net.Readv(0, iov, true)
	if err != nil || size == 0 {
		return
	}
	frame := bytes.Join(iov, nil)[vnetHeader:size]
	p := stack.NewPacketBuffer(stack.PacketBufferOptions{Payload: buffer.MakeWithData(frame)})
	defer p.DecRef()
	h, ok := p.LinkHeader().Consume(etherHeader)
	if !ok {
		g.t.Errorf("frame of %d bytes", len(frame))
		return
	}
	whole := bytes.Join(iov, nil)[0]&flagNeedsCsum == 0
	if len(frame) > etherHeader+DefaultMTU {
		g.large.Add(1)
	}
	if g.link.offloads.Load() == 0 && (len(frame) > etherHeader+DefaultMTU || !whole) {
		g.t.Errorf("frame of %d bytes for a guest without offloads", len(frame))
	}
	// What is whole is verified; of the rest the other side has left some to do.
	p.RXChecksumValidated = !whole
	g.link.mu.Lock()
	d := g.link.dispatcher
	g.link.mu.Unlock()
	if d != nil {
		d.DeliverNetworkPacket(header.Ethernet(h).Type(), p)
	}
}

func (g *guest) transmit() {
	p := g.link.next(true)
	if p == nil {
		return
	}
	defer p.DecRef()
	iov := append([][]byte{make([]byte, vnetHeader)}, p.AsSlices()...)
	if _, err := g.net.Writev(0, iov, true); err != nil {
		g.t.Error(err)
	}
}

func (g *guest) dial(addr [4]byte, port int) (*gonet.TCPConn, error) {
	c, err := gonet.DialTCP(g.stack, tcpip.FullAddress{NIC: nicID, Addr: tcpip.AddrFrom4(addr), Port: uint16(port)}, ipv4.ProtocolNumber)
	if err == nil {
		g.t.Cleanup(func() { _ = c.Close() })
	}
	return c, err
}

// echo is a server on the host's loopback that sends back what it gets.
func echo(t *testing.T) int {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	t.Cleanup(func() {
		_ = l.Close()
		<-done
	})
	go func() {
		defer close(done)
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			_, _ = io.Copy(c, c)
			_ = c.Close()
		}
	}()
	return l.Addr().(*net.TCPAddr).Port
}

func TestTCP(t *testing.T) {
	for _, offloads := range []uint32{0, offloadCsum | offloadTSO4} {
		t.Run(fmt.Sprintf("offloads %#x", offloads), func(t *testing.T) {
			g := newGuest(t, Config{HostLoopback: true}, offloads)
			c, err := g.dial(gatewayAddr, echo(t))
			if err != nil {
				t.Fatal(err)
			}
			sent := make([]byte, 3<<20)
			for i := range sent {
				sent[i] = byte(i * 7 >> 3)
			}
			go func() {
				_, _ = c.Write(sent)
				_ = c.CloseWrite() // the end goes through, and comes back
			}()
			got, err := io.ReadAll(c)
			if err != nil || !bytes.Equal(got, sent) {
				t.Fatalf("%d bytes of %d came back, %v", len(got), len(sent), err)
			}
		})
	}
}

// TestOffloadsSwitchedOff has a guest that takes large packets and then no more, in
// the middle of a connection. Its checksums are verified from then on.
func TestOffloadsSwitchedOff(t *testing.T) {
	g := newGuest(t, Config{HostLoopback: true}, offloadCsum|offloadTSO4)
	c, err := g.dial(gatewayAddr, echo(t))
	if err != nil {
		t.Fatal(err)
	}
	sent := bytes.Repeat([]byte("0123456789abcdef!"), 200000)
	go func() {
		_, _ = c.Write(sent)
		_ = c.CloseWrite()
	}()
	first := make([]byte, 100000)
	if _, err := io.ReadFull(c, first); err != nil {
		t.Fatal(err)
	}
	if err := g.net.SetOffloads(0); err != nil {
		t.Fatal(err)
	}
	rest, err := io.ReadAll(c)
	if got := append(first, rest...); err != nil || !bytes.Equal(got, sent) {
		t.Fatalf("%d bytes of %d came back, %v", len(got), len(sent), err)
	}
	if g.large.Load() == 0 {
		t.Error("no large packet came before")
	}
}

func TestRefused(t *testing.T) {
	g := newGuest(t, Config{}, 0)
	port := echo(t)
	for _, addr := range [][4]byte{
		gatewayAddr, // not without HostLoopback
		{127, 0, 0, 1},
		{127, 1, 2, 3},
		{169, 254, 169, 254},
		{0, 0, 0, 1},
		{224, 0, 0, 1},
		{240, 0, 0, 1},
		{10, 0, 2, 99},
		{255, 255, 255, 255},
	} {
		if to, ok := g.net.target(stack.TransportEndpointID{LocalAddress: tcpip.AddrFrom4(addr), LocalPort: uint16(port)}); ok {
			t.Errorf("%v goes to %v", addr, to)
		}
	}
	if _, err := g.dial(gatewayAddr, port); err == nil {
		t.Error("the host's loopback was reached")
	}
	open := newGuest(t, Config{HostLoopback: true}, 0)
	if _, err := open.dial(gatewayAddr, 1); err == nil {
		t.Error("a port that nobody listens at was reached")
	}
}

func TestUDPAndDNS(t *testing.T) {
	server, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer server.Close()
	port := server.LocalAddr().(*net.UDPAddr).Port
	go func() {
		buf := make([]byte, 100)
		for {
			n, from, err := server.ReadFrom(buf)
			if err != nil {
				return
			}
			_, _ = server.WriteTo(append([]byte("re: "), buf[:n]...), from)
		}
	}()
	g := newGuest(t, Config{HostLoopback: true, Resolver: "127.0.0.1"}, 0)
	to := tcpip.FullAddress{NIC: nicID, Addr: tcpip.AddrFrom4(gatewayAddr), Port: uint16(port)}
	c, err := gonet.DialUDP(g.stack, nil, &to, ipv4.ProtocolNumber)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	for _, word := range []string{"one", "two"} {
		if _, err := c.Write([]byte(word)); err != nil {
			t.Fatal(err)
		}
		buf := make([]byte, 100)
		_ = c.SetReadDeadline(time.Now().Add(10 * time.Second))
		n, err := c.Read(buf)
		if err != nil || string(buf[:n]) != "re: "+word {
			t.Fatalf("%q, %v", buf[:n], err)
		}
	}
	dns := stack.TransportEndpointID{LocalAddress: tcpip.AddrFrom4(dnsAddr), LocalPort: 53}
	if to, ok := g.net.target(dns); !ok || to.String() != "127.0.0.1:53" {
		t.Errorf("questions go to %v, %v", to, ok)
	}
	dns.LocalPort = 80
	if _, ok := g.net.target(dns); ok {
		t.Error("the name server's address answers on another port")
	}
}

// TestCloseWithConnections holds that nothing is left when the network goes first.
func TestCloseWithConnections(t *testing.T) {
	g := newGuest(t, Config{HostLoopback: true}, 0)
	port := echo(t)
	c, err := g.dial(gatewayAddr, port)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := c.Write([]byte("x")); err != nil {
		t.Fatal(err)
	}
	if err := g.net.Close(); err != nil {
		t.Error(err)
	}
	if err := g.net.Close(); err != nil {
		t.Error(err)
	}
	if g.net.spawn(func() {}) {
		t.Error("a closed network takes work")
	}
}

func TestDHCP(t *testing.T) {
	n, err := New(Config{Hostname: "web-1", Resolver: "192.0.2.1", MTU: 1400})
	if err != nil {
		t.Fatal(err)
	}
	defer n.Close()
	ask := func(m *dhcpv4.DHCPv4) *dhcpv4.DHCPv4 {
		t.Helper()
		b := n.answerDHCP(m.ToBytes())
		if b == nil {
			return nil
		}
		a, err := dhcpv4.FromBytes(b)
		if err != nil {
			t.Fatal(err)
		}
		return a
	}
	discover, err := dhcpv4.NewDiscovery(testMAC[:])
	if err != nil {
		t.Fatal(err)
	}
	offer := ask(discover)
	if offer.MessageType() != dhcpv4.MessageTypeOffer || !offer.YourIPAddr.Equal(guestAddr[:]) || offer.HostName() != "web-1" {
		t.Errorf("offer: %s", offer.Summary())
	}
	if mtu := offer.Options.Get(dhcpv4.OptionInterfaceMTU); binary.BigEndian.Uint16(mtu) != 1400 {
		t.Errorf("MTU % x", mtu)
	}
	request, err := dhcpv4.NewRequestFromOffer(offer)
	if err != nil {
		t.Fatal(err)
	}
	if ack := ask(request); ack.MessageType() != dhcpv4.MessageTypeAck || !ack.DNS()[0].Equal(dnsAddr[:]) || !ack.Router()[0].Equal(gatewayAddr[:]) {
		t.Errorf("ack: %s", ack.Summary())
	}
	request.UpdateOption(dhcpv4.OptRequestedIPAddress(net.IPv4(10, 0, 2, 77)))
	if nak := ask(request); nak.MessageType() != dhcpv4.MessageTypeNak || !nak.YourIPAddr.IsUnspecified() {
		t.Errorf("nak: %s", nak.Summary())
	}
	request.UpdateOption(dhcpv4.OptServerIdentifier(net.IPv4(10, 0, 2, 9)))
	if ask(request) != nil || ask(offer) != nil || n.answerDHCP([]byte("x")) != nil {
		t.Error("an answer to what is none of ours")
	}
}

func TestWanted(t *testing.T) {
	frame := func(kind uint16, body ...byte) []byte {
		f := append(append([]byte{}, gatewayMAC[:]...), testMAC[:]...)
		return append(binary.BigEndian.AppendUint16(f, kind), body...)
	}
	question := func(target [4]byte) []byte {
		b := make([]byte, header.ARPSize)
		copy(b[24:], target[:])
		return frame(0x0806, b...)
	}
	packet := func(protocol byte, to [4]byte) []byte {
		b := make([]byte, 28)
		b[0], b[9] = 0x45, protocol
		copy(b[16:], to[:])
		return frame(0x0800, b...)
	}
	for name, tt := range map[string]struct {
		frame []byte
		want  bool
	}{
		"question for the gateway":  {question(gatewayAddr), true},
		"question for the guest":    {question(guestAddr), false},
		"short question":            {frame(0x0806, 1, 2), false},
		"ping of the gateway":       {packet(1, gatewayAddr), true},
		"ping of the world":         {packet(1, [4]byte{9, 9, 9, 9}), false},
		"TCP to the world":          {packet(6, [4]byte{9, 9, 9, 9}), true},
		"short packet":              {frame(0x0800, 0x45), false},
		"IPv6":                      {frame(0x86dd, make([]byte, 60)...), false},
		"something else altogether": {frame(0x1234), false},
	} {
		if got := wanted(tt.frame); got != tt.want {
			t.Errorf("%s: %v", name, got)
		}
	}
}

func TestBadConfig(t *testing.T) {
	if _, err := New(Config{Resolver: "nonsense"}); err == nil {
		t.Error("no error")
	}
}

// FuzzFrame gives the network frames of a hostile guest.
func FuzzFrame(f *testing.F) {
	n, err := New(Config{Resolver: "192.0.2.1"})
	if err != nil {
		f.Fatal(err)
	}
	f.Cleanup(func() { _ = n.Close() })
	eth := append(append([]byte{}, gatewayMAC[:]...), testMAC[:]...)
	f.Add(append(eth, 8, 6, 0, 1, 8, 0, 6, 4, 0, 1, 2, 0, 0, 0, 0, 1, 10, 0, 2, 15, 0, 0, 0, 0, 0, 0, 10, 0, 2, 2))
	f.Add(append(eth, 8, 0, 0x45, 0, 0, 28, 0, 0, 0, 0, 64, 1, 0, 0, 10, 0, 2, 15, 10, 0, 2, 2, 8, 0, 0, 0, 0, 0, 0, 0))
	f.Add(append(eth, 8, 0, 0x45, 0, 0, 40, 0, 0, 0, 0, 64, 6, 0, 0, 10, 0, 2, 15, 127, 0, 0, 1, 0, 80, 0, 80, 0, 0, 0, 0, 0, 0, 0, 0, 0x50, 2, 1, 1, 0, 0, 0, 0))
	f.Add(append(eth, 8, 0, 0x45, 0, 0, 29, 0, 0, 0, 0, 64, 17, 0, 0, 10, 0, 2, 15, 10, 0, 2, 2, 0, 68, 0, 67, 0, 9, 0, 0, 1))
	head := make([]byte, vnetHeader)
	f.Fuzz(func(t *testing.T, frame []byte) {
		if to := etherHeader + 16; len(frame) >= to+4 && !bytes.Equal(frame[to:to+3], gatewayAddr[:3]) {
			frame[to] = 127 // sockets to the world are no part of the test
		}
		if _, err := n.Writev(0, [][]byte{head, frame}, false); err != nil {
			t.Error(err)
		}
		for {
			size, err := n.Readv(0, [][]byte{make([]byte, 70000)}, false)
			if err != nil {
				t.Error(err)
			}
			if size == 0 {
				break
			}
		}
		if b := n.answerDHCP(frame); len(b) > 2000 {
			t.Errorf("answer of %d bytes", len(b))
		}
	})
}
