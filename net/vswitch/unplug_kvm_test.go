package vswitch

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// TestKVMUnplug takes a port off its network and plugs it in again while its guest stays
// attached, and has Apply keep it so.
func TestKVMUnplug(t *testing.T) {
	isolate(t)
	n := testNetwork(1)
	a, b, c := testPort(n, 1), testPort(n, 2), testPort(n, 3)
	on := State{Networks: []Network{n}, Ports: []Port{a, b, c}}
	off := State{Networks: on.Networks, Ports: []Port{b, c}, Unplugged: []string{a.Tap, "gur-ffffffff-7"}}
	must(t, Apply(on))
	from, to, other := a.wire(t), b.wire(t), c.wire(t)
	drain := func(w *wire) {
		for w.next(50*time.Millisecond) != nil {
		}
	}
	count := byte(0)
	hello := func(p, dst Port) []byte {
		count++
		return p.eth(dst.MAC, 0x0800, ip4(p.IP, dst.IP, unix.IPPROTO_UDP, 0, udp(5000, 5001, []byte{'#', count})))
	}
	expect := func(what string, plugged bool) {
		t.Helper()
		if plugged {
			if !from.reaches(to, hello(a, b)) || !to.reaches(from, hello(b, a)) {
				t.Errorf("%s: frames are lost", what)
			}
			check(t, on)
			return
		}
		// The kernel takes nothing from a tap that is switched off.
		if _, err := from.Writev(0, [][]byte{make([]byte, vnetHeader), hello(a, b)}, false); !errors.Is(err, unix.EIO) {
			t.Errorf("%s: sending: %v", what, err)
		}
		drain(from) // of what came before
		to.send(hello(b, a))
		to.send(b.eth(broadcast, 0x0800, ip4(b.IP, addr("255.255.255.255"), unix.IPPROTO_UDP, 0, udp(9, 9, nil))))
		if !to.reaches(other, hello(b, c)) {
			t.Errorf("%s: the others do not reach one another", what)
		}
		if got := from.next(200 * time.Millisecond); got != nil {
			t.Errorf("%s: % x comes", what, got)
		}
		check(t, off)
	}
	expect("at first", true)
	must(t, Unplug(a.Tap))
	expect("unplugged", false)
	must(t, errors.Join(Unplug(a.Tap), Unplug("gur-ffffffff-7")))
	must(t, Apply(off))
	expect("unplugged twice, and applied", false)
	must(t, AddPort(n, a))
	expect("plugged in again", true)
	must(t, Apply(off))
	expect("applied", false)
	// Switched on by somebody else it still has no network, and Apply mends it.
	link, err := netlink.LinkByName(a.Tap)
	must(t, err)
	must(t, netlink.LinkSetUp(link))
	if found, err := Check(off); err != nil || len(found) != 1 || !strings.Contains(found[0], "plugged in") {
		t.Errorf("Check: %v, %v", found, err)
	}
	must(t, Apply(off))
	check(t, off)
	// With no network left it is kept as well.
	off.Networks, off.Ports = nil, nil
	must(t, Apply(off))
	if found, err := Leftovers(); err != nil || len(found) != 1 || found[0] != "interface "+a.Tap {
		t.Errorf("left over: %v, %v", found, err)
	}
	must(t, Apply(on))
	to = b.wire(t) // its tap was not kept
	expect("a state that has it", true)
	if err := Unplug("eth0"); err == nil {
		t.Error("an interface of the host's is unplugged")
	}
	if err := Apply(State{Networks: on.Networks, Ports: on.Ports, Unplugged: []string{a.Tap}}); err == nil {
		t.Error("a port is plugged in and not")
	}
}
