package service

import (
	"context"
	"encoding/binary"
	"fmt"
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
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/gureum/gureum/net/dump"
	"github.com/gureum/gureum/net/ipam"
)

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

func (e *ear) checkOwn(own [6]byte) {
	e.t.Helper()
	list, macs := e.heard()
	for i, mac := range macs {
		if mac != own && mac != allNodesMAC {
			e.t.Errorf("another port hears a frame for %x: %+v", mac, list[i])
		}
	}
}

func client4(t *testing.T, g *space, options ...nclient4.ClientOpt) *nclient4.Client {
	t.Helper()
	var c *nclient4.Client
	g.must("client", g.do(func() error {
		var err error
		c, err = nclient4.New("eth0", append(options, nclient4.WithTimeout(5*time.Second), nclient4.WithRetry(4))...)
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
		c, err = nclient6.New("eth0", nclient6.WithTimeout(5*time.Second), nclient6.WithRetry(4))
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

func waitForAddress(t *testing.T, g *space, addr netip.Addr) {
	t.Helper()
	eventually(t, addr.String(), func() bool {
		list, err := dump.Whole(func() ([]netlink.Addr, error) { return g.AddrList(g.link("eth0"), netlink.FAMILY_V6) })
		g.must("addresses", err)
		for _, a := range list {
			if a.IP.String() == addr.String() && a.Flags&unix.IFA_F_TENTATIVE == 0 {
				return true
			}
		}
		return false
	})
}

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
			routes, err := dump.Whole(func() ([]netlink.Route, error) { return web.RouteList(web.link("eth0"), netlink.FAMILY_V6) })
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
