// Package vswitch is the virtual Ethernet switch of the host: a bridge for each network,
// a persistent tap for each port, and the rules that say what a port may send and where
// a network leads. Package fleet calls it, with privilege, before a machine starts and
// after it has ended.
//
// A tap is the guest's wire, and the guest is hostile. So the rules are the reverse of a
// list of attacks: a frame from a port is dropped unless it is ARP, IPv4 or IPv6 from the
// addresses that the port was given, and nothing in it makes its sender a router, a DHCP
// server or somebody else. A port without rules passes nothing, in whatever order things
// are made or lost.
//
// Everything is in the kernel, under a prefix: interfaces "gur-...", and tables named
// "gureum" of the families bridge and inet. The package never touches another table,
// never calls an external program, and never moves a frame itself.
//
// All functions work on the network namespace of the calling thread.
package vswitch

import (
	"encoding/hex"
	"errors"
	"fmt"
	"net/netip"
	"strings"

	"github.com/gureum/gureum/net/ipam"
	"github.com/gureum/gureum/net/tap"
)

// Prefix begins the name of each interface of ours.
const Prefix = "gur-"

// Sizes of an MTU, in bytes: IPv6 wants 1280, a tap and a bridge can have 65535 with the
// Ethernet header.
const (
	minMTU  = 576
	minMTU6 = 1280
	maxMTU  = 65521
)

// Network is one bridge.
type Network struct {
	// ID is 8 hexadecimal digits, and makes the bridge's name and MAC address. Name is
	// for messages.
	ID, Name string
	// Subnet is IPv4, Subnet6 is IPv6 and may be invalid: then the network has none.
	// The first address of each is the gateway, on the bridge.
	Subnet, Subnet6 netip.Prefix
	// MTU is in bytes; 0 is 1500.
	MTU int
	// Internal: there is no way out or in. Isolated: ports cannot reach one another.
	// HostAccess: guests reach the host's services, not only the network's own. Shielded:
	// the host reaches guests only where they publish.
	Internal, Isolated, HostAccess, Shielded bool
}

// Publish leads a port of the host to one of a guest.
type Publish struct {
	// HostIP is an address of the host; the zero Addr means all of both families, an
	// unspecified one all of its family.
	HostIP    netip.Addr
	HostPort  uint16
	GuestPort uint16
	UDP       bool
}

// Port is one NIC's socket on the switch.
type Port struct {
	Tap     string // the interface's name, which begins with Prefix
	Network string // its network's ID
	MAC     [6]byte
	// IP and IP6 are the guest's only addresses, beside the link-local one that follows
	// from its MAC (RFC 4291, appendix A). IP6 may be invalid.
	IP, IP6 netip.Addr
	// Queues is the number of queues that the tap shall be able to have; 0 is 1.
	Queues int
	// UID and GID may attach to the tap without privilege.
	UID, GID int
	Publish  []Publish
}

// State is all that the switch shall be.
type State struct {
	Networks []Network
	Ports    []Port
	// Unplugged are taps that are kept for whoever is attached to them, off every network;
	// see Unplug. One that is not there is not missed.
	Unplugged []string
}

// BridgeName is the interface of a network.
func BridgeName(id string) string { return Prefix + id }

// bridgeMAC is fixed, so that guests need not notice a bridge that was made anew. It is
// locally administered, and not of the form that guests' addresses have.
func bridgeMAC(id string) [6]byte {
	mac := [6]byte{0xfe, 0x67}
	raw, _ := hex.DecodeString(id) // validated
	copy(mac[2:], raw)
	return mac
}

func (n Network) mtu() int {
	if n.MTU == 0 {
		return 1500
	}
	return n.MTU
}

// Validate finds what would fail or do harm later.
func (n Network) Validate() error {
	fail := func(format string, args ...any) error {
		return fmt.Errorf("network %s (%s): %s", n.Name, n.ID, fmt.Sprintf(format, args...))
	}
	if raw, err := hex.DecodeString(n.ID); err != nil || len(raw) != 4 || strings.ToLower(n.ID) != n.ID {
		return fail("an id is 8 hexadecimal digits in lower case")
	}
	if !n.Subnet.IsValid() || !n.Subnet.Addr().Is4() || n.Subnet.Bits() > 30 {
		return fail("subnet %v: an IPv4 one with room for a gateway and a guest is needed", n.Subnet)
	}
	least := minMTU
	if n.Subnet6.IsValid() {
		least = minMTU6
		if !n.Subnet6.Addr().Is6() || n.Subnet6.Addr().Is4In6() || n.Subnet6.Bits() != 64 {
			return fail("subnet %v: IPv6 needs a /64", n.Subnet6)
		}
	}
	if m := n.mtu(); m < least || m > maxMTU {
		return fail("MTU %d: from %d to %d are possible", m, least, maxMTU)
	}
	return nil
}

// validateTap finds a name that a port cannot have.
func validateTap(name string) error {
	if err := tap.ValidateName(name); err != nil {
		return err
	}
	if !strings.HasPrefix(name, Prefix) || len(name) <= len(BridgeName("00000000")) {
		return fmt.Errorf("port %s: its name must be %sVM-NUMBER", name, Prefix)
	}
	return nil
}

// validate finds a port that does not fit its network.
func (p Port) validate(n Network) error {
	fail := func(format string, args ...any) error {
		return fmt.Errorf("port %s: %s", p.Tap, fmt.Sprintf(format, args...))
	}
	if err := validateTap(p.Tap); err != nil {
		return err
	}
	switch {
	case p.Network != n.ID:
		return fail("it is of network %s, not %s", p.Network, n.ID)
	case p.MAC[0]&1 != 0 || p.MAC == [6]byte{} || p.MAC == bridgeMAC(n.ID):
		return fail("MAC address %x cannot be a guest's", p.MAC)
	case !p.IP.Is4() || !n.Subnet.Contains(p.IP) || p.IP == ipam.Gateway(n.Subnet):
		return fail("%v is no guest's address in %v", p.IP, n.Subnet)
	case p.IP6.IsValid() && (!n.Subnet6.IsValid() || !n.Subnet6.Contains(p.IP6) || p.IP6 == ipam.Gateway(n.Subnet6)):
		return fail("%v is no guest's address in %v", p.IP6, n.Subnet6)
	case p.Queues < 0 || p.Queues > tap.MaxQueues:
		return fail("%d queues: from 1 to %d are possible", p.Queues, tap.MaxQueues)
	case p.UID < 0 || p.GID < 0:
		return fail("it has no owner")
	case len(p.Publish) > 0 && n.Internal:
		return fail("network %s is internal: nothing can be published from it", n.Name)
	}
	for _, x := range p.Publish {
		switch {
		case x.HostPort == 0 || x.GuestPort == 0:
			return fail("publish: port 0")
		case x.HostIP.Is6() && !p.IP6.IsValid():
			return fail("publish on %v: the guest has no IPv6 address", x.HostIP)
		case x.HostIP.Is6() && x.HostIP.IsLoopback():
			return fail("publish on %v: the kernel does not translate ::1; take 127.0.0.1", x.HostIP)
		}
	}
	return nil
}

// check validates a whole state, and finds each port's network.
func (s State) check() (map[string]Network, error) {
	byID := map[string]Network{}
	var errs []error
	for _, n := range s.Networks {
		if _, twice := byID[n.ID]; twice {
			errs = append(errs, fmt.Errorf("network %s is there twice", n.ID))
		}
		byID[n.ID] = n
		errs = append(errs, n.Validate())
	}
	taps := map[string]bool{}
	for _, p := range s.Ports {
		n, ok := byID[p.Network]
		if !ok {
			errs = append(errs, fmt.Errorf("port %s: there is no network %s", p.Tap, p.Network))
			continue
		}
		if taps[p.Tap] {
			errs = append(errs, fmt.Errorf("port %s is there twice", p.Tap))
		}
		taps[p.Tap] = true
		errs = append(errs, p.validate(n))
	}
	for _, name := range s.Unplugged {
		if taps[name] {
			errs = append(errs, fmt.Errorf("port %s is there twice", name))
		}
		errs = append(errs, validateTap(name))
	}
	return byID, errors.Join(errs...)
}
