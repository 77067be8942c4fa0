package service

// The tests here make network namespaces, bridges and packet sockets, so they run in the
// lab.

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

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
// heard gives the DHCP and router messages from the service that came.
// checkOwn holds that a guest hears only what is for it, as what its own kernel asks
// for when its interface comes up, or for all.
// client4 is the library's client in a namespace.
// waitForAddress waits until a guest can use an address.
// TestKVMSLAAC lets the kernel take its address, and use it.
// askFrom asks the DNS server from a guest.
// TestKVMFlood holds that a guest that asks far more than it is answered does not keep
// others from what they ask.
// floodDHCP sends discovers from a guest.
// floodDNS sends questions from a guest.
// TestKVMDeafGuest holds that answers that wait for a guest's address, because it never
// tells, take no room from others.
// TestKVMInternal holds that nothing goes out of an internal network.
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
	err := r.wait(15 * watchEvery)
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

// TestKVMOneFamily is networks with IPv4 only and with IPv6 only.
func TestKVMOneFamily(t *testing.T) {
	t.Run("IPv4", func(t *testing.T) {
		l := newLab(t)
		if err := WriteHosts(l.hosts, labHosts()); err != nil {
			t.Fatal(err)
		}
		cfg := testConfig()
		cfg.Subnet6 = netip.Prefix{}
		l.serve(cfg)
		web := l.guest(webMAC)
		web.up("eth0")
		if _, err := client4(t, web).Request(t.Context()); err != nil {
			t.Error(err)
		}
		web.addr("eth0", "10.88.3.2/24", 0)
		if r := askFrom(t, web, "tcp", "10.88.3.1:53", query("web.")); len(r.Answer) != 1 {
			t.Errorf("%s", r)
		}
	})
	t.Run("IPv6", func(t *testing.T) {
		l := newLab(t)
		if err := WriteHosts(l.hosts, labHosts()); err != nil {
			t.Fatal(err)
		}
		cfg := testConfig()
		cfg.Subnet = netip.Prefix{}
		l.serve(cfg)
		web := l.guest(webMAC)
		web.up("eth0")
		waitForAddress(t, web, ipam.EUI64(subnet6, webMAC))
		if r := askFrom(t, web, "udp", "[fd12:3456:789a::1]:53", query("web.")); len(r.Answer) != 1 {
			t.Errorf("%s", r)
		}
	})
}

// TestKVMBesideOthers is a host on which other servers listen on all addresses: a DHCP
// server is warned of, a DNS server must give way.
func TestKVMBesideOthers(t *testing.T) {
	l := newLab(t)
	if err := WriteHosts(l.hosts, labHosts()); err != nil {
		t.Fatal(err)
	}
	occupy := func(network, at string) (c interface{ Close() error }) {
		l.host.must(at, l.host.do(func() (err error) {
			if network == "udp4" {
				c, err = net.ListenPacket(network, at)
			} else {
				c, err = net.Listen(network, at)
			}
			return err
		}))
		return c
	}
	dhcp := occupy("udp4", "0.0.0.0:67")
	defer dhcp.Close()
	r := l.serve(testConfig())
	web := l.guest(webMAC)
	web.up("eth0")
	if _, err := client4(t, web).Request(t.Context()); err != nil {
		t.Error(err)
	}
	if !strings.Contains(r.log.String(), "another DHCP server") {
		t.Errorf("no warning: %s", r.log)
	}
	r.stop()
	names := occupy("tcp4", "0.0.0.0:53")
	defer names.Close()
	cfg := testConfig()
	cfg.Bridge, cfg.Hosts = labBridge, l.hosts
	err := l.host.do(func() error {
		s, err := Open(cfg)
		if err != nil {
			return err
		}
		return s.Close()
	})
	if !errors.Is(err, unix.EADDRINUSE) || !strings.Contains(err.Error(), "single addresses or interfaces") {
		t.Errorf("%v", err)
	}
}
