package vm

import (
	"errors"
	"fmt"
	"hash/fnv"
	"log/slog"
	"math/rand/v2"
	"net/netip"
	"os"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/gureum/gureum/net/tap"
	"github.com/gureum/gureum/net/usernet"
	"github.com/gureum/gureum/virtio"
	virtionet "github.com/gureum/gureum/virtio/net"
	"github.com/gureum/gureum/virtio/ratelimit"
)

// NIC is one network interface of the guest. Either Tap or User is set.
type NIC struct {
	// Tap is the name of the host's tap that the guest's wire ends at. One that
	// does not exist is made, and is gone with the machine.
	Tap string
	// Queue has the tap's queues if they were opened beforehand (tap.Attach), by one who
	// may and sees the interface. New takes them over. MTU is then wanted as well.
	Queue []*os.File
	// User is a network in user space, which needs no privilege: the guest gets
	// out by TCP and UDP, and nobody gets in (see net/usernet).
	User bool
	// HostLoopback lets the guest of a User network reach the host's 127.0.0.1 as
	// 10.0.2.2.
	HostLoopback bool
	// MAC is the guest's address; zero takes one of the machine's own, the same
	// each time for a machine that has a name.
	MAC [6]byte
	// Queues is the number of pairs of queues, 1 to MaxNICQueues; default 1. More
	// of them let several virtual CPUs send and receive.
	Queues int
	// MTU in bytes is told to the guest, and set on a tap that is made; 0 takes
	// the tap's.
	MTU int
	// Vhost says whether the host's kernel moves the frames: by default it does
	// if /dev/vhost-net opens and there is no limit.
	Vhost virtionet.VhostMode
	// Guest is what the embedded user land gives the interface. Of a User network it is
	// filled in; other guests ask for it by DHCP.
	Guest Address
	// RX limits what the guest receives, TX what it sends.
	RX, TX ratelimit.Config
}

// Address is what a guest's interface is given, all of it IPv4: IPv6 comes by router
// advertisements. The zero value is nothing.
type Address struct {
	IP      netip.Prefix
	Gateway netip.Addr // not valid for none
	DNS     []netip.Addr
	Search  string // domain in which names without dots are looked up
}

// Limits of a NIC.
const (
	// MaxNICQueues is the largest number of pairs of queues.
	MaxNICQueues = 64
	// maxNICs bounds the interfaces of a machine.
	maxNICs = 28
)

// checkNICs fills in defaults.
func checkNICs(c *Config) error {
	if len(c.NICs) > maxNICs {
		return inputErrorf("%d network interfaces: a machine has at most %d", len(c.NICs), maxNICs)
	}
	macs := map[[6]byte]int{}
	for i := range c.NICs {
		n := &c.NICs[i]
		if err := n.check(); err != nil {
			return inputErrorf("network interface %d: %w", i, err)
		}
		if n.MAC == [6]byte{} {
			n.MAC = OwnMAC(c.Name, i)
		}
		if other, twice := macs[n.MAC]; twice {
			return inputErrorf("network interfaces %d and %d have the same MAC address", other, i)
		}
		macs[n.MAC] = i
	}
	return nil
}

func (n *NIC) check() error {
	if n.Queues == 0 {
		n.Queues = 1
	}
	if err := n.checkKind(); err != nil {
		return err
	}
	switch {
	case n.Queues < 1 || n.Queues > MaxNICQueues:
		return fmt.Errorf("%d queues: give 1 to %d", n.Queues, MaxNICQueues)
	case n.MTU != 0 && (n.MTU < virtionet.MinMTU || n.MTU > virtionet.MaxMTU):
		return fmt.Errorf("MTU %d: give %d to %d", n.MTU, virtionet.MinMTU, virtionet.MaxMTU)
	case n.Guest.IP.IsValid() && !n.Guest.IP.Addr().Is4():
		return errors.New("the guest's address is for IPv4")
	case strings.ContainsAny(n.Guest.Search, " ,;\"\n"):
		return fmt.Errorf("search domain %q: not a name", n.Guest.Search)
	case n.MAC[0]&1 != 0:
		return errors.New("the MAC address is that of a group: its first byte must be even")
	case n.Vhost == virtionet.VhostOn && n.limited():
		return errors.New("vhost=on: the kernel knows no rate limit: leave one of both out")
	}
	return errors.Join(n.RX.Validate(), n.TX.Validate())
}

func (n *NIC) checkKind() error {
	switch {
	case n.User && n.Tap != "":
		return errors.New("it is either a tap or a user-mode network")
	case n.User && n.Queues != 1:
		return errors.New("a user-mode network has one pair of queues: leave queues out")
	case n.User && n.Vhost == virtionet.VhostOn:
		return errors.New("vhost=on needs a tap")
	case n.User:
		if !n.Guest.IP.IsValid() {
			ip, gateway, dns := usernet.Addresses()
			n.Guest = Address{IP: ip, Gateway: gateway, DNS: []netip.Addr{dns}}
		}
		return nil
	case len(n.Queue) > 0 && (n.MTU == 0 || n.Queues != len(n.Queue)):
		return errors.New("queues that were opened beforehand: give their number and the MTU")
	case n.HostLoopback:
		return errors.New("only a user-mode network can reach the host's loopback")
	}
	return tap.ValidateName(n.Tap)
}

func (n *NIC) limited() bool {
	return n.RX != ratelimit.Config{} || n.TX != ratelimit.Config{}
}

// newNICs makes the network devices.
func (m *Machine) newNICs() ([]virtio.Device, error) {
	var devices []virtio.Device
	for i := range m.config.NICs {
		d, err := m.newNIC(i)
		if err != nil {
			return devices, fmt.Errorf("network interface %d: %w", i, err)
		}
		devices = append(devices, d)
		m.nics = append(m.nics, d)
	}
	return devices, nil
}

func (m *Machine) newNIC(i int) (*virtionet.Device, error) {
	n := &m.config.NICs[i]
	backend, mtu, err := n.open(m.config.Name)
	if err != nil {
		return nil, err
	}
	return virtionet.New(virtionet.Config{
		Backend: backend, MAC: n.MAC, MTU: uint16(mtu), Vhost: n.Vhost, RX: n.RX, TX: n.TX,
		Log: slog.With("name", m.config.Name, "nic", i),
	})
}

// open opens the host's end and tells its MTU.
func (n *NIC) open(hostname string) (virtionet.Backend, int, error) {
	if n.User {
		return n.openUser(hostname)
	}
	if len(n.Queue) > 0 {
		t, err := tap.FromFiles(n.Tap, n.Queue)
		if err != nil {
			return nil, 0, &HostError{err}
		}
		return t, n.MTU, nil
	}
	t, err := tap.Open(tap.Config{Name: n.Tap, Queues: n.Queues, MTU: n.MTU})
	switch {
	case err == nil:
	case errors.Is(err, unix.EINVAL):
		return nil, 0, &InputError{err}
	default:
		return nil, 0, &HostError{err}
	}
	if n.MTU != 0 {
		return t, n.MTU, nil
	}
	mtu, err := t.MTU()
	if err != nil {
		return nil, 0, errors.Join(&HostError{err}, t.Close())
	}
	return t, mtu, nil
}

func (n *NIC) openUser(hostname string) (virtionet.Backend, int, error) {
	mtu := n.MTU
	if mtu == 0 {
		mtu = usernet.DefaultMTU
	}
	u, err := usernet.New(usernet.Config{MTU: mtu, HostLoopback: n.HostLoopback, Hostname: hostname})
	if err != nil {
		return nil, 0, &HostError{err}
	}
	return u, mtu, nil
}

// OwnMAC is the address of network interface nic where its Config names none. It is a
// locally administered one: for a machine with a name always the same on this host and
// unlike any on another, else a random one.
func OwnMAC(name string, nic int) [6]byte {
	v := rand.Uint64()
	if name != "" {
		h := fnv.New64a()
		host, _ := os.ReadFile("/etc/machine-id") // without one the name is all there is
		_, _ = h.Write(host)
		_, _ = fmt.Fprintf(h, "\x00%s\x00%d", name, nic)
		v = h.Sum64()
	}
	return [6]byte{0x02 | byte(v)&0xfc, byte(v >> 8), byte(v >> 16), byte(v >> 24), byte(v >> 32), byte(v >> 40)}
}

// SetLink plugs the cable of network interface n in or out.
func (m *Machine) SetLink(n int, up bool) error {
	if n < 0 || n >= len(m.nics) {
		return inputErrorf("network interface %d: the machine has %d", n, len(m.nics))
	}
	return m.nics[n].SetLink(up)
}

// LimitNIC changes the limits of network interface n.
func (m *Machine) LimitNIC(n int, rx, tx ratelimit.Config) error {
	if n < 0 || n >= len(m.nics) {
		return inputErrorf("network interface %d: the machine has %d", n, len(m.nics))
	}
	err := m.nics[n].SetLimit(rx, tx)
	if errors.Is(err, virtionet.ErrKernel) {
		return inputErrorf("network interface %d: %w: start the machine with vhost=off", n, err)
	}
	if err != nil {
		return inputErrorf("network interface %d: %w", n, err)
	}
	return nil
}

// NICState is a network interface as it is now.
type NICState struct {
	// MAC is the address that the guest uses.
	MAC [6]byte
	// LinkUp tells whether the cable is in, Vhost whether the host's kernel moves
	// the frames.
	LinkUp, Vhost bool
	// Stats are the frames that went nowhere.
	Stats virtionet.Stats
}

// NICs tells the state of the network interfaces, in the order of Config.NICs.
func (m *Machine) NICs() []NICState {
	out := make([]NICState, 0, len(m.nics))
	for _, d := range m.nics {
		out = append(out, NICState{MAC: d.MAC(), LinkUp: d.LinkUp(), Vhost: d.InKernel(), Stats: d.Stats()})
	}
	return out
}
