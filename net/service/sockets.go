package service

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/net/bpf"
	"golang.org/x/sys/unix"

	"github.com/gureum/gureum/net/ipam"
)

const dnsPort = 53

// sendBuffer is the room in bytes for answers by DNS that wait for their guest's
// Ethernet address. The kernel keeps 208 KiB of them for each guest that does not tell
// its own (net.ipv4.neigh.*.unres_qlen_bytes), and counts them as the socket's, whose
// usual room that is exactly: a single deaf guest would silence the service.
const sendBuffer = 16 << 20

// streamBuffer is the room in bytes for each direction of a TCP connection. The kernel
// would else give some MiB to a guest that asks and does not read.
const streamBuffer = 128 << 10

// sockets are all descriptors that were opened with privilege.
type sockets struct {
	links  []*packetLink
	udp    []*net.UDPConn
	tcp    []*net.TCPListener
	silent []*net.UDPConn
}

// openSockets takes all sockets; what was taken when it fails is the caller's to close.
func (s *Service) openSockets() error {
	s.sockets = &sockets{}
	bridge, err := net.InterfaceByName(s.cfg.Bridge)
	if err != nil {
		return fmt.Errorf("bridge %s: %w", s.cfg.Bridge, err)
	}
	if len(bridge.HardwareAddr) != 6 {
		return fmt.Errorf("bridge %s: not an Ethernet interface", s.cfg.Bridge)
	}
	s.index, s.mac = bridge.Index, [6]byte(bridge.HardwareAddr)
	if s.gateway.IsValid() {
		l, err := openLink(bridge.Index, unix.ETH_P_IP, filter4())
		if err != nil {
			return fmt.Errorf("DHCP on %s: %w", s.cfg.Bridge, err)
		}
		s.link4, s.sockets.links = l, append(s.sockets.links, l)
		if err := s.openNames(s.gateway); err != nil {
			return err
		}
	}
	if s.gateway6.IsValid() {
		s.linkLocal = linkLocal(bridge, s.mac)
		l, err := openLink(bridge.Index, unix.ETH_P_IPV6, filter6())
		if err != nil {
			return fmt.Errorf("DHCPv6 on %s: %w", s.cfg.Bridge, err)
		}
		s.link6, s.sockets.links = l, append(s.sockets.links, l)
		if err := s.openNames(s.gateway6); err != nil {
			return err
		}
	}
	return s.openSilent(bridge.Index)
}

// linkLocal is the address that the bridge has as a router. One that has no port yet
// has none, but will get the one that follows from its MAC address.
func linkLocal(bridge *net.Interface, mac [6]byte) netip.Addr {
	addrs, _ := bridge.Addrs()
	for _, a := range addrs {
		if p, err := netip.ParsePrefix(a.String()); err == nil && p.Addr().Is6() && p.Addr().IsLinkLocalUnicast() {
			return p.Addr()
		}
	}
	return ipam.LinkLocal(mac)
}

// listenConfig makes sockets to which only frames from the bridge come, on addresses
// that it has, or will have.
func (s *Service) listenConfig(filter []bpf.Instruction) *net.ListenConfig {
	lc := &net.ListenConfig{KeepAlive: -1}
	lc.SetMultipathTCP(false)
	lc.Control = func(network, _ string, c syscall.RawConn) error {
		var errno error
		err := c.Control(func(fd uintptr) { errno = s.prepare(int(fd), strings.HasPrefix(network, "tcp"), filter) })
		return errors.Join(err, errno)
	}
	return lc
}

func (s *Service) prepare(fd int, stream bool, filter []bpf.Instruction) error {
	if err := unix.SetsockoptString(fd, unix.SOL_SOCKET, unix.SO_BINDTODEVICE, s.cfg.Bridge); err != nil {
		return fmt.Errorf("bind to %s: %w: run as root", s.cfg.Bridge, err)
	}
	if err := unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_REUSEADDR, 1); err != nil {
		return err
	}
	if err := setBuffers(fd, stream); err != nil {
		return fmt.Errorf("set the size of buffers: %w: run as root", err)
	}
	// The bridge's IPv6 address is not usable at once; this works for both families.
	if err := unix.SetsockoptInt(fd, unix.SOL_IP, unix.IP_FREEBIND, 1); err != nil {
		return err
	}
	if filter == nil {
		return nil
	}
	raw, err := bpf.Assemble(filter)
	if err != nil {
		return err
	}
	return attach(fd, raw)
}

// setBuffers sets the kernel's buffers of a socket and of the connections that it takes.
func setBuffers(fd int, stream bool) error {
	if !stream {
		return unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_SNDBUFFORCE, sendBuffer)
	}
	return errors.Join(
		unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_SNDBUF, streamBuffer),
		unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUF, streamBuffer),
	)
}

// openNames takes the sockets for DNS on one address.
func (s *Service) openNames(gateway netip.Addr) error {
	lc, ctx, at := s.listenConfig(nil), context.Background(), netip.AddrPortFrom(gateway, dnsPort).String()
	udp, err := lc.ListenPacket(ctx, "udp", at)
	if err != nil {
		return explainListen(at, err)
	}
	s.sockets.udp = append(s.sockets.udp, udp.(*net.UDPConn))
	tcp, err := lc.Listen(ctx, "tcp", at)
	if err != nil {
		return explainListen(at, err)
	}
	s.sockets.tcp = append(s.sockets.tcp, tcp.(*net.TCPListener))
	return nil
}

func explainListen(at string, err error) error {
	if errors.Is(err, unix.EADDRINUSE) {
		return fmt.Errorf("DNS on %s: %w: let the host's own DNS server listen on single addresses or interfaces, not on all", at, err)
	}
	return fmt.Errorf("DNS on %s: %w", at, err)
}

// openSilent takes the ports that packet sockets serve, without ever reading from
// them: else the host would tell guests that nobody listens there. It also has the
// bridge's multicast filter know that there is somebody for the groups.
func (s *Service) openSilent(index int) error {
	lc, ctx := s.listenConfig(filterNone()), context.Background()
	open := func(network, at string) (*net.UDPConn, error) {
		c, err := lc.ListenPacket(ctx, network, at)
		if errors.Is(err, unix.EADDRINUSE) {
			s.log.Warn("another DHCP server of the host listens on all interfaces: see that it does not answer on this one", "bridge", s.cfg.Bridge, "address", at)
			return nil, nil
		}
		if err != nil {
			return nil, fmt.Errorf("DHCP on %s: %w", at, err)
		}
		s.sockets.silent = append(s.sockets.silent, c.(*net.UDPConn))
		return c.(*net.UDPConn), nil
	}
	if s.gateway.IsValid() {
		if _, err := open("udp4", netip.AddrPortFrom(s.gateway, dhcp4ServerPort).String()); err != nil {
			return err
		}
	}
	if !s.gateway6.IsValid() {
		return nil
	}
	c, err := open("udp6", "[::]:"+strconv.Itoa(dhcp6ServerPort))
	if err != nil || c == nil {
		return err
	}
	return joinGroups(c, index)
}

func joinGroups(c *net.UDPConn, index int) error {
	conn, err := c.SyscallConn()
	if err != nil {
		return err
	}
	var errno error
	err = conn.Control(func(fd uintptr) {
		for _, group := range []netip.Addr{allServers, allRouters} {
			m := &unix.IPv6Mreq{Multiaddr: group.As16(), Interface: uint32(index)}
			if e := unix.SetsockoptIPv6Mreq(int(fd), unix.SOL_IPV6, unix.IPV6_JOIN_GROUP, m); e != nil {
				errno = fmt.Errorf("join %s: %w", group, e)
			}
		}
	})
	return errors.Join(err, errno)
}

// exists tells whether the bridge is still there.
func (k *sockets) exists() error {
	for _, l := range k.links {
		if err := l.exists(); err != nil {
			return err
		}
	}
	return nil
}

// stop ends all calls that wait.
func (k *sockets) stop() {
	past := time.Unix(1, 0)
	for _, l := range k.links {
		l.stop()
	}
	for _, c := range k.udp {
		_ = c.SetReadDeadline(past)
	}
	for _, l := range k.tcp {
		_ = l.SetDeadline(past)
	}
}

func (k *sockets) close() error {
	var all []error
	for _, l := range k.links {
		all = append(all, l.close())
	}
	for _, c := range k.udp {
		all = append(all, c.Close())
	}
	for _, l := range k.tcp {
		all = append(all, l.Close())
	}
	for _, c := range k.silent {
		all = append(all, c.Close())
	}
	err := errors.Join(all...)
	if errors.Is(err, os.ErrClosed) {
		return nil
	}
	return err
}
