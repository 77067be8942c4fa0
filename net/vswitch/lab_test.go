package vswitch

// A host of a test's own: network namespaces that go with it, guests whose wire the test
// holds, and guests with a network stack.

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"

	"github.com/gureum/gureum/net/dump"
	"github.com/gureum/gureum/net/ipam"
	"github.com/gureum/gureum/net/tap"
	"github.com/gureum/gureum/net/vswitch/trial"
)

// isolate moves the test's thread into a network namespace of its own, for good: the
// thread ends with the test.
func isolate(t testing.TB) netns.NsHandle {
	t.Helper()
	runtime.LockOSThread()
	ns, err := netns.New()
	must(t, err)
	seeInterfaces(t)
	t.Cleanup(func() { must(t, ns.Close()) })
	old := runDir
	runDir = t.TempDir()
	t.Cleanup(func() { runDir = old })
	linkUp(t, "lo")
	return ns
}

// seeInterfaces makes /sys that of the thread's network namespace.
func seeInterfaces(t testing.TB) {
	t.Helper()
	must(t, unix.Unshare(unix.CLONE_NEWNS))
	must(t, unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""))
	must(t, unix.Mount("sysfs", "/sys", "sysfs", 0, ""))
}

// elsewhere runs f on a thread of another namespace.
func elsewhere(ns netns.NsHandle, f func() error) error {
	done := make(chan error)
	go func() {
		runtime.LockOSThread() // the thread ends with its goroutine
		if err := netns.Set(ns); err != nil {
			done <- err
			return
		}
		done <- f()
	}()
	return <-done
}

// newNamespace makes one that stands for something else than the host.
func newNamespace(t testing.TB) netns.NsHandle {
	t.Helper()
	var ns netns.NsHandle
	done := make(chan error)
	go func() {
		runtime.LockOSThread()
		var err error
		ns, err = netns.New()
		done <- err
	}()
	must(t, <-done)
	t.Cleanup(func() { must(t, ns.Close()) })
	must(t, elsewhere(ns, func() error { return up("lo") }))
	return ns
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func up(name string) error {
	l, err := netlink.LinkByName(name)
	if err != nil {
		return err
	}
	return netlink.LinkSetUp(l)
}

func linkUp(t testing.TB, name string) {
	t.Helper()
	must(t, up(name))
}

func addAddr(name, addr string) error {
	l, err := netlink.LinkByName(name)
	if err != nil {
		return err
	}
	a, err := netlink.ParseAddr(addr)
	if err != nil {
		return err
	}
	if a.IP.To4() == nil {
		a.Flags = unix.IFA_F_NODAD
	}
	return netlink.AddrAdd(l, a)
}

func addRoute(name, to, via string) error {
	l, err := netlink.LinkByName(name)
	if err != nil {
		return err
	}
	_, dst, err := net.ParseCIDR(to)
	if err != nil {
		return err
	}
	return netlink.RouteAdd(&netlink.Route{LinkIndex: l.Attrs().Index, Dst: dst, Gw: net.ParseIP(via)})
}

// network and port of tests: the number is in the names and addresses.
func testNetwork(i int) Network {
	return Network{
		ID: fmt.Sprintf("0000000%d", i), Name: fmt.Sprintf("net%d", i),
		Subnet:  netip.MustParsePrefix(fmt.Sprintf("10.88.%d.0/24", i)),
		Subnet6: netip.MustParsePrefix(fmt.Sprintf("fd00:0:0:%d::/64", i)),
	}
}

func testPort(n Network, i int) Port {
	p := Port{Tap: fmt.Sprintf("gur-%08x-0", i), Network: n.ID, MAC: [6]byte{2, 0x67, 0, 0, byte(i >> 8), byte(i)}, UID: 4242, GID: 4343}
	a := n.Subnet.Addr().As4()
	a[3] = byte(1 + i)
	p.IP = netip.AddrFrom4(a)
	if n.Subnet6.IsValid() {
		p.IP6 = ipam.EUI64(n.Subnet6, p.MAC)
	}
	return p
}

// wire is the guest's end of a port.
type wire struct {
	t testing.TB
	*tap.Tap
	port Port
	mark uint32
}

func (p Port) wire(t testing.TB) *wire {
	t.Helper()
	w, err := tap.Open(tap.Config{Name: p.Tap, Queues: max(1, p.Queues)})
	must(t, err)
	if w.Made() {
		t.Fatalf("%s was not there", p.Tap)
	}
	must(t, w.SetOffloads(0))
	t.Cleanup(func() { _ = w.Close() })
	return &wire{t: t, Tap: w, port: p}
}

const vnetHeader = 12

func (w *wire) send(frame []byte) {
	w.t.Helper()
	if _, err := w.Writev(0, [][]byte{make([]byte, vnetHeader), frame}, false); err != nil {
		w.t.Fatalf("%s: send: %v", w.port.Tap, err)
	}
}

// next gives the next frame, or nil when none has come for a while.
func (w *wire) next(wait time.Duration) []byte {
	w.t.Helper()
	b := make([]byte, 1<<16)
	for end := time.Now().Add(wait); ; {
		n, err := w.Readv(0, [][]byte{b}, false)
		if err != nil {
			w.t.Fatalf("%s: receive: %v", w.port.Tap, err)
		}
		if n > 0 {
			return b[vnetHeader:n]
		}
		if time.Now().After(end) {
			return nil
		}
		time.Sleep(time.Millisecond)
	}
}

// reaches tells whether a frame comes out at the other wire. A broadcast that is allowed
// goes behind it, so there is nothing to wait for.
func (w *wire) reaches(to *wire, frame []byte) bool {
	w.t.Helper()
	w.send(frame)
	w.mark++
	payload := binary.BigEndian.AppendUint32([]byte("mark"), w.mark)
	mark := w.port.eth(broadcast, 0x0800, ip4(w.port.IP, netip.MustParseAddr("255.255.255.255"), unix.IPPROTO_UDP, 0, udp(9, 9, payload)))
	w.send(mark)
	seen := false
	for {
		got := to.next(10 * time.Second)
		switch {
		case got == nil:
			w.t.Fatalf("%s hears nothing of %s", to.port.Tap, w.port.Tap)
		case bytes.Equal(got, mark):
			return seen
		case bytes.Equal(got, frame):
			seen = true
		}
	}
}

// What trials are made of.
var (
	ip4       = trial.IPv4
	udp       = trial.UDP
	broadcast = trial.Broadcast
)

func (p Port) eth(dst [6]byte, kind uint16, payload []byte) []byte {
	return trial.Eth(dst, p.MAC, kind, payload)
}

// stack is a guest with the kernel's network stack in a namespace of its own.
type stack struct {
	ns netns.NsHandle
}

// boot connects a stack to a port: frames are carried both ways.
func (p Port) boot(t testing.TB, n Network) *stack {
	t.Helper()
	s := &stack{newNamespace(t)}
	outer, err := tap.Open(tap.Config{Name: p.Tap})
	must(t, err)
	var inner *tap.Tap
	must(t, elsewhere(s.ns, func() (err error) {
		if inner, err = tap.Open(tap.Config{Name: "eth0", MTU: n.mtu()}); err != nil {
			return err
		}
		l, err := netlink.LinkByName("eth0")
		if err != nil {
			return err
		}
		return errors.Join(
			netlink.LinkSetDown(l), netlink.LinkSetHardwareAddr(l, p.MAC[:]), netlink.LinkSetUp(l),
			addAddr("eth0", netip.PrefixFrom(p.IP, n.Subnet.Bits()).String()), addRoute("eth0", "0.0.0.0/0", ipam.Gateway(n.Subnet).String()),
			addAddr("eth0", p.IP6.String()+"/64"), addRoute("eth0", "::/0", ipam.Gateway(n.Subnet6).String()))
	}))
	var wg sync.WaitGroup
	var over sync.Once
	stop := make(chan struct{})
	carry := func(from, to *tap.Tap) {
		defer wg.Done()
		b := make([]byte, 1<<17)
		for {
			k, err := from.Readv(0, [][]byte{b}, true)
			select {
			case <-stop:
				return
			default:
			}
			if err != nil {
				return
			}
			if k > 0 {
				_, _ = to.Writev(0, [][]byte{b[:k]}, false) // a frame that does not fit is lost, as on a wire
			}
		}
	}
	wg.Add(2)
	go carry(outer, inner)
	go carry(inner, outer)
	t.Cleanup(func() {
		over.Do(func() { close(stop) })
		outer.Wake(0)
		inner.Wake(0)
		wg.Wait()
		_ = errors.Join(outer.Close(), inner.Close())
	})
	return s
}

// answer serves a port in a namespace: it says where a question came from.
func answer(t testing.TB, ns netns.NsHandle, network, addr string) {
	t.Helper()
	if strings.HasPrefix(network, "udp") {
		var c net.PacketConn
		must(t, elsewhere(ns, func() (err error) { c, err = net.ListenPacket(network, addr); return err }))
		t.Cleanup(func() { _ = c.Close() })
		go func() {
			b := make([]byte, 100)
			for {
				_, from, err := c.ReadFrom(b)
				if err != nil {
					return
				}
				_, _ = c.WriteTo([]byte(from.String()), from)
			}
		}()
		return
	}
	var l net.Listener
	must(t, elsewhere(ns, func() (err error) { l, err = net.Listen(network, addr); return err }))
	t.Cleanup(func() { _ = l.Close() })
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			_, _ = c.Write([]byte(c.RemoteAddr().String()))
			_ = c.Close()
		}
	}()
}

// ask gives who the answerer saw, or "" when nothing came.
func ask(t testing.TB, ns netns.NsHandle, network, addr string, wait time.Duration) string {
	t.Helper()
	var seen string
	err := elsewhere(ns, func() error {
		c, err := (&net.Dialer{Timeout: wait}).Dial(network, addr)
		if err != nil {
			return err
		}
		defer c.Close()
		_ = c.SetDeadline(time.Now().Add(wait))
		if strings.HasPrefix(network, "udp") {
			if _, err := c.Write([]byte("?")); err != nil {
				return err
			}
		}
		b := make([]byte, 100)
		n, err := c.Read(b)
		if n == 0 && err != nil {
			return err
		}
		ap, err := netip.ParseAddrPort(string(b[:n]))
		seen = ap.Addr().Unmap().WithZone("").String()
		return err
	})
	if err != nil {
		t.Logf("%s %s: %v", network, addr, err)
	}
	return seen
}

// outside makes a namespace that the host has a cable to.
func outside(t testing.TB) netns.NsHandle {
	t.Helper()
	ns := newNamespace(t)
	attrs := netlink.NewLinkAttrs()
	attrs.Name = "up0"
	must(t, netlink.LinkAdd(&netlink.Veth{LinkAttrs: attrs, PeerName: "wan0", PeerNamespace: netlink.NsFd(ns)}))
	must(t, errors.Join(addAddr("up0", "192.0.2.1/24"), addAddr("up0", "2001:db8::1/64"), up("up0")))
	must(t, elsewhere(ns, func() error {
		return errors.Join(addAddr("wan0", "192.0.2.9/24"), addAddr("wan0", "2001:db8::9/64"), up("wan0"),
			addRoute("wan0", "10.88.0.0/16", "192.0.2.1"), addRoute("wan0", "fd00::/16", "2001:db8::1"))
	}))
	return ns
}

// portrait is all of the kernel that the switch may touch, in words.
func portrait(t testing.TB) string {
	t.Helper()
	var b strings.Builder
	list, err := dump.Whole(netlink.LinkList)
	must(t, err)
	for _, l := range list {
		fmt.Fprintln(&b, "link", l.Attrs().Name, l.Type())
		addrs, err := dump.Whole(func() ([]netlink.Addr, error) { return netlink.AddrList(l, netlink.FAMILY_ALL) })
		must(t, err)
		for _, a := range addrs {
			fmt.Fprintln(&b, "address", a.IPNet)
		}
	}
	f, err := openFirewall()
	must(t, err)
	defer func() { must(t, f.close()) }()
	names, err := f.conn.ListTables()
	must(t, err)
	for _, n := range names {
		fmt.Fprintln(&b, "table", n.Family, n.Name)
	}
	files, err := filepath.Glob(sysctlRoot + "/ipv[46]/conf/*/*")
	must(t, err)
	for _, file := range append(files, sysctlRoot+"/ipv4/ip_forward") {
		if text, err := os.ReadFile(file); err == nil && filepath.Base(file) != "stable_secret" {
			fmt.Fprintf(&b, "%s %s", file, text)
		}
	}
	return b.String()
}
