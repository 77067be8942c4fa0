package service

// The tests here make network namespaces, bridges and packet sockets, so they run in the
// lab.

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/insomniacslk/dhcp/dhcpv4"
	"github.com/insomniacslk/dhcp/dhcpv4/nclient4"
	"github.com/insomniacslk/dhcp/dhcpv6"
	"github.com/insomniacslk/dhcp/dhcpv6/nclient6"
	"github.com/insomniacslk/dhcp/iana"
	"github.com/miekg/dns"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/gureum/gureum/net/ipam"
)

// TestKVMWithoutRights looks at the process that answers.
func TestKVMWithoutRights(t *testing.T) {
	l := newLab(t)
	r := l.serve(testConfig())
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", r.cmd.Process.Pid))
	if err != nil {
		t.Fatal(err)
	}
	for _, line := range []string{"Uid:\t65534\t65534\t65534\t65534", "Gid:\t65534\t65534\t65534\t65534", "CapPrm:\t0000000000000000", "CapEff:\t0000000000000000"} {
		if !strings.Contains(string(text), line+"\n") {
			t.Errorf("no %q in %s", line, text)
		}
	}
	for line := range strings.Lines(string(text)) {
		if strings.HasPrefix(line, "VmRSS") || strings.HasPrefix(line, "RssAnon") {
			t.Log(strings.TrimSpace(line))
		}
	}
	if root, err := os.Readlink(fmt.Sprintf("/proc/%d/root", r.cmd.Process.Pid)); err != nil || root != filepath.Join(l.dir, "root") {
		t.Errorf("root folder %s, %v", root, err)
	}
}

// udhcpc runs busybox's client, which writes what it is told into a file.
func udhcpc(t *testing.T, g *space, dir string, args ...string) (*exec.Cmd, string) {
	t.Helper()
	script, out := filepath.Join(dir, "udhcpc.sh"), filepath.Join(dir, "told")
	text := "#!/bin/busybox sh\n" +
		"[ \"$1\" = deconfig ] || { busybox env; echo \"event=$1\"; } >>" + out + "\n" +
		"[ \"$1\" = bound ] && busybox ip addr replace $ip/$mask dev $interface\n" +
		"exit 0\n"
	if err := os.WriteFile(script, []byte(text), 0o755); err != nil {
		t.Fatal(err)
	}
	busybox, err := exec.LookPath("busybox")
	if err != nil {
		t.Fatal(err)
	}
	if busybox, err = filepath.EvalSymlinks(busybox); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(script, []byte(strings.Replace(text, "/bin/busybox", busybox, 1)), 0o755); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(busybox, append([]string{"udhcpc", "-i", "eth0", "-f", "-n", "-t", "5", "-T", "1", "-s", script, "-O", "staticroutes", "-O", "mtu", "-O", "search"}, args...)...)
	return cmd, out
}

func TestKVMBusyboxClient(t *testing.T) {
	l := newLab(t)
	if err := WriteHosts(l.hosts, labHosts()); err != nil {
		t.Fatal(err)
	}
	cfg := testConfig()
	cfg.MTU = 1400
	l.serve(cfg)
	g := l.guest(webMAC)
	g.up("eth0")
	dir := t.TempDir()
	cmd, out := udhcpc(t, g, dir)
	if err := g.do(cmd.Start); err != nil {
		t.Fatal(err)
	}
	defer func() {
		_ = cmd.Process.Signal(syscall.SIGTERM)
		_ = cmd.Wait()
	}()
	told := func() string {
		b, _ := os.ReadFile(out)
		return string(b)
	}
	eventually(t, "a lease", func() bool { return strings.Contains(told(), "event=bound") })
	for _, line := range []string{
		"ip=10.88.3.2", "mask=24", "subnet=255.255.255.0", "router=10.88.3.1", "dns=10.88.3.1", "domain=lan.internal", "hostname=web", "mtu=1400",
		"lease=86400", "serverid=10.88.3.1", "broadcast=10.88.3.255", "staticroutes=0.0.0.0/0 10.88.3.1", "search=lan.internal",
	} {
		if !strings.Contains(told(), line+"\n") {
			t.Errorf("no %q in %s", line, told())
		}
	}
	// It has the address now; a renewal goes to the server alone, from the kernel's socket.
	if err := cmd.Process.Signal(syscall.SIGUSR1); err != nil {
		t.Fatal(err)
	}
	eventually(t, "a renewal", func() bool { return strings.Contains(told(), "event=renew") })
}

func TestKVMBusyboxClientOfNobody(t *testing.T) {
	l := newLab(t)
	if err := WriteHosts(l.hosts, labHosts()); err != nil {
		t.Fatal(err)
	}
	l.serve(testConfig())
	g := l.guest([6]byte{2, 0, 0, 0, 0, 0x99})
	g.up("eth0")
	cmd, out := udhcpc(t, g, t.TempDir(), "-q")
	if err := g.do(func() error { return cmd.Run() }); err == nil {
		t.Error("a card that is not known has an address")
	}
	if b, _ := os.ReadFile(out); strings.Contains(string(b), "event=bound") {
		t.Errorf("%s", b)
	}
}

// ear hears all frames of an interface.
type ear struct {
	t  *testing.T
	fd int
}

func listen(t *testing.T, g *space) *ear {
	t.Helper()
	e := &ear{t: t}
	g.must("listen", g.do(func() error {
		var err error
		if e.fd, err = unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0); err != nil {
			return err
		}
		return unix.Bind(e.fd, &unix.SockaddrLinklayer{Protocol: bigEndian(unix.ETH_P_ALL), Ifindex: g.link("eth0").Attrs().Index})
	}))
	t.Cleanup(func() { _ = unix.Close(e.fd) })
	return e
}

// heard gives the DHCP and router messages from the service that came.
func (e *ear) heard() (list []datagram, macs [][6]byte) {
	buf := make([]byte, maxPacket)
	for {
		n, _, err := unix.Recvfrom(e.fd, buf, 0)
		if err != nil {
			return list, macs
		}
		if n < 14 {
			continue
		}
		parse := parseIPv4
		if binary.BigEndian.Uint16(buf[12:]) == unix.ETH_P_IPV6 {
			parse = parseIPv6
		}
		d, ok := parse(append([]byte(nil), buf[14:n]...))
		if ok && (d.srcPort == dhcp4ServerPort || d.srcPort == dhcp6ServerPort || d.proto == protoICMPv6 && d.payload[0] == icmpRouterAdvertisement) {
			list, macs = append(list, d), append(macs, [6]byte(buf[:6]))
		}
	}
}

// checkOwn holds that a guest hears only what is for it, as what its own kernel asks
// for when its interface comes up, or for all.
func (e *ear) checkOwn(own [6]byte) {
	e.t.Helper()
	list, macs := e.heard()
	for i, mac := range macs {
		if mac != own && mac != allNodesMAC {
			e.t.Errorf("another port hears a frame for %x: %+v", mac, list[i])
		}
	}
}

// client4 is the library's client in a namespace.
func client4(t *testing.T, g *space, options ...nclient4.ClientOpt) *nclient4.Client {
	t.Helper()
	var c *nclient4.Client
	g.must("client", g.do(func() error {
		var err error
		c, err = nclient4.New("eth0", append(options, nclient4.WithTimeout(2*time.Second), nclient4.WithRetry(3))...)
		return err
	}))
	t.Cleanup(func() { _ = c.Close() })
	return c
}

func TestKVMDHCPv4(t *testing.T) {
	l := newLab(t)
	r := l.serve(testConfig())
	web, db := l.guest(webMAC), l.guest(dbMAC)
	web.up("eth0")
	db.up("eth0")
	other := listen(t, db)
	c := client4(t, web)
	// The file comes while the service runs without rights.
	ctx, cancel := context.WithTimeout(t.Context(), time.Second)
	if lease, err := c.Request(ctx); err == nil {
		t.Errorf("no hosts: %s", lease.ACK)
	}
	cancel()
	if err := WriteHosts(l.hosts, labHosts()); err != nil {
		t.Fatal(err)
	}
	lease, err := c.Request(t.Context(), dhcpv4.WithBroadcast(true))
	if err != nil {
		t.Fatalf("%v: %s", err, r.log)
	}
	if got := lease.ACK.YourIPAddr.String(); got != "10.88.3.2" {
		t.Errorf("address %s", got)
	}
	// A rebooting client asks for an address of another network.
	m, err := dhcpv4.New(dhcpv4.WithHwAddr(webMAC[:]), dhcpv4.WithMessageType(dhcpv4.MessageTypeRequest), wish("192.168.1.7"))
	if err != nil {
		t.Fatal(err)
	}
	nak, err := c.SendAndRead(t.Context(), nclient4.DefaultServers, m, nclient4.IsMessageType(dhcpv4.MessageTypeAck, dhcpv4.MessageTypeNak))
	if err != nil || nak.MessageType() != dhcpv4.MessageTypeNak {
		t.Errorf("%v, %v", nak, err)
	}
	// Another name and address, at once.
	hosts := labHosts()
	hosts[0].Name, hosts[0].IP = "renamed", netip.MustParseAddr("10.88.3.77")
	if err := WriteHosts(l.hosts, hosts); err != nil {
		t.Fatal(err)
	}
	if lease, err = c.Request(t.Context()); err != nil || lease.ACK.YourIPAddr.String() != "10.88.3.77" || lease.ACK.HostName() != "renamed" {
		t.Errorf("%v, %v", lease, err)
	}
	other.checkOwn(dbMAC)
}

func TestKVMDHCPv6(t *testing.T) {
	l := newLab(t)
	if err := WriteHosts(l.hosts, labHosts()); err != nil {
		t.Fatal(err)
	}
	l.serve(testConfig())
	web, db := l.guest(webMAC), l.guest(dbMAC)
	web.up("eth0")
	db.up("eth0")
	own := ipam.LinkLocal(webMAC)
	waitForAddress(t, web, own)
	other := listen(t, db)
	var c *nclient6.Client
	web.must("client", web.do(func() error {
		var err error
		c, err = nclient6.New("eth0", nclient6.WithTimeout(2*time.Second), nclient6.WithRetry(3))
		return err
	}))
	defer c.Close()
	advertise, err := c.Solicit(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	reply, err := c.Request(t.Context(), advertise)
	if err != nil {
		t.Fatal(err)
	}
	mine := ipam.EUI64(subnet6, webMAC)
	if a := reply.Options.OneIANA().Options.OneAddress(); a == nil || addr6(a.IPv6Addr) != mine || a.ValidLifetime != lease {
		t.Errorf("%s", reply.Summary())
	}
	if rapid, err := c.RapidSolicit(t.Context()); err != nil || rapid.MessageType != dhcpv6.MessageTypeReply || addr6(rapid.Options.OneIANA().Options.OneAddress().IPv6Addr) != mine {
		t.Errorf("rapid commit: %v, %v", rapid, err)
	}
	confirm := &dhcpv6.Message{MessageType: dhcpv6.MessageTypeConfirm, TransactionID: dhcpv6.TransactionID{7}}
	confirm.AddOption(dhcpv6.OptClientID(webDUID))
	confirm.AddOption(iaNA(1, "2001:db8::1"))
	answer, err := c.SendAndRead(t.Context(), nclient6.AllDHCPRelayAgentsAndServers, confirm, nil)
	if err != nil || answer.Options.Status().StatusCode != iana.StatusNotOnLink {
		t.Errorf("confirm: %v, %v", answer, err)
	}
	other.checkOwn(dbMAC)
}

// waitForAddress waits until a guest can use an address.
func waitForAddress(t *testing.T, g *space, addr netip.Addr) {
	t.Helper()
	eventually(t, addr.String(), func() bool {
		list, err := g.AddrList(g.link("eth0"), netlink.FAMILY_V6)
		g.must("addresses", err)
		for _, a := range list {
			if a.IP.String() == addr.String() && a.Flags&unix.IFA_F_TENTATIVE == 0 {
				return true
			}
		}
		return false
	})
}

// TestKVMSLAAC lets the kernel take its address, and use it.
func TestKVMSLAAC(t *testing.T) {
	for _, internal := range []bool{false, true} {
		t.Run(fmt.Sprintf("internal %v", internal), func(t *testing.T) {
			l := newLab(t)
			if err := WriteHosts(l.hosts, labHosts()); err != nil {
				t.Fatal(err)
			}
			cfg := testConfig()
			cfg.Internal, cfg.MTU = internal, 1400
			l.serve(cfg)
			web := l.guest(webMAC)
			before := time.Now()
			web.up("eth0")
			waitForAddress(t, web, ipam.EUI64(subnet6, webMAC))
			t.Logf("address after %v", time.Since(before).Round(10*time.Millisecond))
			routes, err := web.RouteList(web.link("eth0"), netlink.FAMILY_V6)
			web.must("routes", err)
			var gateway string
			for _, r := range routes {
				if r.Dst == nil || r.Dst.IP.IsUnspecified() {
					gateway = r.Gw.String()
				}
			}
			if want := ipam.LinkLocal([6]byte(bridgeMAC)).String(); !internal && gateway != want || internal && gateway != "" {
				t.Errorf("default route by way of %q", gateway)
			}
			var mtu []byte
			web.must("MTU", web.do(func() error {
				var err error
				mtu, err = os.ReadFile("/proc/sys/net/ipv6/conf/eth0/mtu") // of the reader's namespace
				return err
			}))
			if strings.TrimSpace(string(mtu)) != "1400" {
				t.Errorf("MTU %s", mtu)
			}
			r := askFrom(t, web, "udp6", "[fd12:3456:789a::1]:53", query("web."))
			if len(r.Answer) != 1 || record(r.Answer[0]) != "10.88.3.2" {
				t.Errorf("%s", r)
			}
		})
	}
}

// askFrom asks the DNS server from a guest.
func askFrom(t *testing.T, g *space, network, at string, m *dns.Msg) *dns.Msg {
	t.Helper()
	r, err := tryFrom(g, "", network, at, m)
	if err != nil {
		t.Fatalf("%s by %s: %v", m.Question[0].Name, network, err)
	}
	return r
}

func tryFrom(g *space, source, network, at string, m *dns.Msg) (*dns.Msg, error) {
	c := &dns.Client{Net: network, Timeout: 5 * time.Second}
	if source != "" {
		c.Timeout = 500 * time.Millisecond
		c.Dialer = &net.Dialer{LocalAddr: &net.UDPAddr{IP: net.ParseIP(source)}, Timeout: c.Timeout}
		if network == "tcp" {
			c.Dialer.LocalAddr = &net.TCPAddr{IP: net.ParseIP(source)}
		}
	}
	var r *dns.Msg
	err := g.do(func() error {
		conn, err := c.Dial(at)
		if err != nil {
			return err
		}
		defer conn.Close()
		r, _, err = c.ExchangeWithConn(m, conn)
		return err
	})
	return r, err
}

func TestKVMDNS(t *testing.T) {
	l := newLab(t)
	if err := WriteHosts(l.hosts, labHosts()); err != nil {
		t.Fatal(err)
	}
	var up *upstream
	l.host.must("upstream", l.host.do(func() error {
		up = newUpstream(t, example)
		return nil
	}))
	cfg := testConfig()
	cfg.Upstreams = []netip.AddrPort{up.at}
	l.serve(cfg)
	web := l.guest(webMAC)
	web.up("eth0")
	web.addr("eth0", "10.88.3.2/24", 0)
	waitForAddress(t, web, ipam.EUI64(subnet6, webMAC))
	const at4, at6 = "10.88.3.1:53", "[fd12:3456:789a::1]:53"
	for _, c := range []struct{ network, at string }{{"udp", at4}, {"tcp", at4}, {"udp", at6}, {"tcp", at6}} {
		name := c.network + " " + c.at
		if r := askFrom(t, web, c.network, c.at, query("db.prod.lan.internal.")); len(r.Answer) != 1 || record(r.Answer[0]) != "10.88.3.3" {
			t.Errorf("%s: %s", name, r)
		}
		if r := askFrom(t, web, c.network, c.at, query("web.other.internal.")); r.Rcode != dns.RcodeNameError {
			t.Errorf("%s: %s", name, r)
		}
		if r := askFrom(t, web, c.network, c.at, query("example.com.")); len(r.Answer) != 1 || record(r.Answer[0]) != "192.0.2.1" {
			t.Errorf("%s: %s", name, r)
		}
		if r := askFrom(t, web, c.network, c.at, query("large.example.com.")); r.Truncated != (c.network == "udp") {
			t.Errorf("%s: truncated %v", name, r.Truncated)
		}
	}
	ptr := query("2.3.88.10.in-addr.arpa.", func(m *dns.Msg) { m.Question[0].Qtype = dns.TypePTR })
	if r := askFrom(t, web, "udp", at4, ptr); len(r.Answer) != 1 || record(r.Answer[0]) != "web.lan.internal." {
		t.Errorf("%s", r)
	}
	// A source that is not the network's: the host would know the way back.
	web.addr("eth0", "172.31.9.2/24", 0)
	l.host.addr(labBridge, "172.31.9.1/24", 0)
	for _, network := range []string{"udp", "tcp"} {
		if r, err := tryFrom(web, "172.31.9.2", network, at4, query("web.")); err == nil {
			t.Errorf("%s: a stranger is answered: %s", network, r)
		}
	}
	// What does not come from the bridge is not heard.
	if r, err := tryFrom(l.host, "", "udp", at4, query("web.")); err == nil {
		t.Errorf("from the host: %s", r)
	}
}

// floodPause is the time between two packets of a flood: what the switch lets through.
const floodPause = time.Millisecond

// TestKVMFlood holds that a guest that asks far more than it is answered does not keep
// others from what they ask.
func TestKVMFlood(t *testing.T) {
	l := newLab(t)
	if err := WriteHosts(l.hosts, labHosts()); err != nil {
		t.Fatal(err)
	}
	l.serve(testConfig())
	web, db := l.guest(webMAC), l.guest(dbMAC)
	for _, g := range []*space{web, db} {
		g.up("eth0")
	}
	db.addr("eth0", "10.88.3.3/24", 0)
	ctx, cancel := context.WithCancel(t.Context())
	var asks, questions int
	done := make(chan error, 2)
	go func() { done <- floodDHCP(ctx, db, &asks) }()
	go func() { done <- floodDNS(ctx, db, &questions) }()
	defer func() {
		cancel()
		if err := errors.Join(<-done, <-done); err != nil {
			t.Error(err)
		}
		t.Logf("%d DHCP messages and %d questions meanwhile", asks, questions)
		if asks < 10*asksBurst || questions < 10*asksBurst {
			t.Error("that was no flood")
		}
	}()
	time.Sleep(time.Second)
	c := client4(t, web)
	for range 3 {
		before := time.Now()
		if _, err := c.Request(t.Context()); err != nil {
			t.Fatal(err)
		}
		t.Logf("a lease after %v", time.Since(before).Round(time.Millisecond))
	}
	web.addr("eth0", "10.88.3.2/24", 0)
	for range 3 {
		before := time.Now()
		if r := askFrom(t, web, "udp", "10.88.3.1:53", query("db.prod.lan.internal.")); len(r.Answer) != 1 {
			t.Errorf("%s", r)
		}
		t.Logf("a name after %v", time.Since(before).Round(time.Millisecond))
	}
}

// floodDHCP sends discovers from a guest.
func floodDHCP(ctx context.Context, g *space, n *int) error {
	m, err := dhcpv4.NewDiscovery(dbMAC[:])
	if err != nil {
		return err
	}
	d := datagram{src: subnet4.Addr(), dst: broadcast4, proto: protoUDP, hops: 64, srcPort: dhcp4ClientPort, dstPort: dhcp4ServerPort, payload: m.ToBytes()}
	packet := d.bytes()
	index := g.link("eth0").Attrs().Index
	return g.do(func() error {
		fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
		if err != nil {
			return err
		}
		defer unix.Close(fd)
		to := &unix.SockaddrLinklayer{Protocol: bigEndian(unix.ETH_P_IP), Ifindex: index, Halen: 6, Addr: [8]byte{0xff, 0xff, 0xff, 0xff, 0xff, 0xff}}
		for ; ctx.Err() == nil; *n++ {
			if err := unix.Sendto(fd, packet, 0, to); err != nil && !errors.Is(err, unix.ENOBUFS) {
				return err
			}
			time.Sleep(floodPause)
		}
		return nil
	})
}

// floodDNS sends questions from a guest.
func floodDNS(ctx context.Context, g *space, n *int) error {
	b := ask("web.lan.internal.", dns.TypeA)
	return g.do(func() error {
		c, err := net.Dial("udp", "10.88.3.1:53")
		if err != nil {
			return err
		}
		defer c.Close()
		for ; ctx.Err() == nil; *n++ {
			if _, err := c.Write(b); err != nil && !errors.Is(err, unix.ENOBUFS) {
				return err
			}
			time.Sleep(floodPause)
		}
		return nil
	})
}

// TestKVMDeafGuest holds that answers that wait for a guest's address, because it never
// tells, take no room from others.
func TestKVMDeafGuest(t *testing.T) {
	l := newLab(t)
	if err := WriteHosts(l.hosts, labHosts()); err != nil {
		t.Fatal(err)
	}
	l.serve(testConfig())
	web, db := l.guest(webMAC), l.guest(dbMAC)
	deaf := db.link("eth0")
	db.must("ARP off", db.LinkSetARPOff(deaf))
	for _, g := range []*space{web, db} {
		g.up("eth0")
	}
	web.addr("eth0", "10.88.3.2/24", 0)
	db.addr("eth0", "10.88.3.3/24", 0)
	db.must("neighbor", db.NeighSet(&netlink.Neigh{LinkIndex: deaf.Attrs().Index, State: netlink.NUD_PERMANENT, IP: net.IPv4(10, 88, 3, 1), HardwareAddr: bridgeMAC}))
	ctx, cancel := context.WithCancel(t.Context())
	n, done := 0, make(chan error, 1)
	go func() { done <- floodDNS(ctx, db, &n) }()
	defer func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
		t.Logf("%d questions meanwhile", n)
	}()
	time.Sleep(2 * time.Second)
	for range 10 {
		before := time.Now()
		if r := askFrom(t, web, "udp", "10.88.3.1:53", query("db.prod.lan.internal.")); len(r.Answer) != 1 || time.Since(before) > 2*time.Second {
			t.Errorf("after %v: %s", time.Since(before), r)
		}
		time.Sleep(100 * time.Millisecond)
	}
}

// TestKVMInternal holds that nothing goes out of an internal network.
func TestKVMInternal(t *testing.T) {
	l := newLab(t)
	if err := WriteHosts(l.hosts, labHosts()); err != nil {
		t.Fatal(err)
	}
	var up *upstream
	l.host.must("upstream", l.host.do(func() error {
		up = newUpstream(t, example)
		return nil
	}))
	cfg := testConfig()
	cfg.Internal, cfg.Upstreams = true, []netip.AddrPort{up.at}
	l.serve(cfg)
	web := l.guest(webMAC)
	web.up("eth0")
	lease, err := client4(t, web).Request(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if r := lease.ACK.Router(); len(r) > 0 {
		t.Errorf("router %v", r)
	}
	web.addr("eth0", "10.88.3.2/24", 0)
	if r := askFrom(t, web, "udp", "10.88.3.1:53", query("example.com.")); r.Rcode != dns.RcodeRefused {
		t.Errorf("%s", r)
	}
	if r := askFrom(t, web, "udp", "10.88.3.1:53", query("web.")); len(r.Answer) != 1 {
		t.Errorf("%s", r)
	}
	if n := up.asked.Load(); n != 0 {
		t.Errorf("the upstream was asked %d times", n)
	}
}

// TestKVMBridgeGone holds that a service ends with its bridge, and one that is set down
// and up again goes on.
func TestKVMBridgeGone(t *testing.T) {
	l := newLab(t)
	if err := WriteHosts(l.hosts, labHosts()); err != nil {
		t.Fatal(err)
	}
	r := l.serve(testConfig())
	web := l.guest(webMAC)
	web.up("eth0")
	bridge := l.host.link(labBridge)
	l.host.must("down", l.host.LinkSetDown(bridge))
	time.Sleep(2 * watchEvery)
	l.host.must("up", l.host.LinkSetUp(bridge))
	if _, err := client4(t, web).Request(t.Context()); err != nil {
		t.Fatalf("after the bridge was down: %v: %s", err, r.log)
	}
	l.host.must("delete", l.host.LinkDel(bridge))
	err := r.wait(4 * watchEvery)
	var exit *exec.ExitError
	if !errors.As(err, &exit) || exit.ExitCode() != 3 || !strings.Contains(r.log.String(), "the bridge is gone") {
		t.Errorf("%v: %s", err, r.log)
	}
}

// TestKVMTwice holds that a second service of the same network says what is wrong, and
// that a new one can follow at once.
func TestKVMTwice(t *testing.T) {
	l := newLab(t)
	r := l.serve(testConfig())
	cfg := testConfig()
	cfg.Bridge, cfg.Hosts = labBridge, l.hosts
	open := func() error {
		return l.host.do(func() error {
			s, err := Open(cfg)
			if err != nil {
				return err
			}
			return s.Close()
		})
	}
	if err := open(); !errors.Is(err, unix.EADDRINUSE) || !strings.Contains(err.Error(), "10.88.3.1:53") {
		t.Errorf("%v", err)
	}
	r.stop()
	if err := open(); err != nil {
		t.Error(err)
	}
	cfg.Bridge = "gur-none"
	if err := open(); err == nil || !strings.Contains(err.Error(), "gur-none") {
		t.Errorf("%v", err)
	}
	cfg.Bridge, cfg.Hosts = labBridge, "/none/hosts.json"
	if err := open(); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("%v", err)
	}
}
