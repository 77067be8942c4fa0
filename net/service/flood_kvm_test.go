package service

import (
	"context"
	"errors"
	"net"
	"testing"
	"time"

	"github.com/insomniacslk/dhcp/dhcpv4"
	"github.com/miekg/dns"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// floodPause is the time between two packets of a flood: what the switch lets through.
const floodPause = time.Millisecond

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
		if asks < 2*asksBurst || questions < 2*asksBurst {
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
	// A flood costs one or the other question. A service that waits for the deaf one answers
	// next to none.
	lost := 0
	for range 10 {
		r, err := tryFrom(web, "", "udp", "10.88.3.1:53", query("db.prod.lan.internal."))
		if err != nil {
			t.Log(err)
			lost++
		} else if len(r.Answer) != 1 {
			t.Errorf("%s", r)
		}
		time.Sleep(100 * time.Millisecond)
	}
	if lost > 5 {
		t.Errorf("%d of 10 questions are lost", lost)
	}
}
