// Package tap is a tap interface of the host as one end of a guest's wire. Frames
// go with a virtio-net header (linux/if_tun.h, IFF_VNET_HDR), so that checksums
// and segmentation are left to whoever can do them best.
//
// Package vm opens a [Tap] and gives it to the network device (virtio/net), whose
// Backend it is. An interface that exists is attached to and left as it was found;
// one that does not is made, set up, and gone when the Tap is closed, even if the
// process was killed: the kernel keeps it for as long as a descriptor is open.
//
// The package never puts an interface into a bridge, gives it an address, or
// changes one that it did not make, but for the offloads and the filter that
// belong to the descriptor's user.
package tap

import (
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// Sizes.
const (
	// MaxQueues is the number of queues that a tap can have (MAX_TAP_QUEUES).
	MaxQueues = 256
	// headerSize is that of struct virtio_net_hdr_v1.
	headerSize = 12
	maxName    = unix.IFNAMSIZ - 1
)

// Config says what interface to use and how.
type Config struct {
	// Name is the interface's. One that does not exist is made. A name with a %d
	// lets the kernel choose a number.
	Name string
	// Queues is the number of queues, 1 to MaxQueues; 0 is 1.
	Queues int
	// MTU is set, in bytes, on an interface that is made; 0 leaves it.
	MTU int
}

// Tap is an open tap. It implements virtio/net's Backend.
type Tap struct {
	name     string
	made     bool
	multi    bool // IFF_MULTI_QUEUE
	offloads uint32
	queues   []*port
	attached int
}

// Filter says which frames are wanted; see virtio/net.
type Filter = struct {
	All, AllMulticast bool
	Addresses         [][6]byte
}

// ValidateName checks that a name can be an interface's.
func ValidateName(name string) error {
	switch {
	case name == "":
		return errors.New("no name of an interface")
	case len(name) > maxName:
		return fmt.Errorf("interface %q: a name has at most %d characters", name, maxName)
	case name == "." || name == ".." || strings.ContainsAny(name, "/: \t\n\v\f\r\x00"):
		return fmt.Errorf("interface %q: not a name that an interface can have", name)
	}
	return nil
}

// Open attaches to a tap, or makes it. Errors say what to do.
func Open(cfg Config) (*Tap, error) {
	if err := ValidateName(cfg.Name); err != nil {
		return nil, err
	}
	if cfg.Queues == 0 {
		cfg.Queues = 1
	}
	if cfg.Queues < 0 || cfg.Queues > MaxQueues {
		return nil, fmt.Errorf("tap %s: %d queues: from 1 to %d are possible", cfg.Name, cfg.Queues, MaxQueues)
	}
	t := &Tap{name: cfg.Name, attached: cfg.Queues, made: !exists(cfg.Name)}
	if err := t.open(cfg); err != nil {
		return nil, errors.Join(fmt.Errorf("tap %s: %w", cfg.Name, err), t.closeQueues())
	}
	return t, nil
}

// exists tells whether the host has an interface of that name.
func exists(name string) bool {
	_, err := os.Lstat("/sys/class/net/" + name)
	return err == nil
}

func (t *Tap) open(cfg Config) error {
	for range cfg.Queues {
		if err := t.addQueue(cfg.Queues > 1); err != nil {
			return err
		}
	}
	t.probeOffloads()
	if !t.made {
		return nil
	}
	return setUp(t.name, cfg.MTU)
}

// addQueue opens one more queue.
func (t *Tap) addQueue(multi bool) error {
	fd, err := unix.Open("/dev/net/tun", unix.O_RDWR|unix.O_CLOEXEC|unix.O_NONBLOCK, 0)
	if err != nil {
		return fmt.Errorf("open /dev/net/tun: %w: load the module tun, and see that you may open it", err)
	}
	t.multi = multi
	err = t.attach(fd)
	if errors.Is(err, unix.EINVAL) && !multi {
		// One that was made with several queues wants the flag even for one.
		t.multi = true
		err = t.attach(fd)
	}
	if err == nil {
		err = unix.IoctlSetPointerInt(fd, unix.TUNSETVNETHDRSZ, headerSize)
	}
	if err != nil {
		_ = unix.Close(fd)
		return t.explain(err)
	}
	t.queues = append(t.queues, newPort(fd))
	return nil
}

func (t *Tap) attach(fd int) error {
	ifr, err := unix.NewIfreq(t.name)
	if err != nil {
		return err
	}
	flags := uint16(unix.IFF_TAP | unix.IFF_NO_PI | unix.IFF_VNET_HDR)
	if t.multi {
		flags |= unix.IFF_MULTI_QUEUE
	}
	ifr.SetUint16(flags)
	if err := unix.IoctlIfreq(fd, unix.TUNSETIFF, ifr); err != nil {
		return err
	}
	t.name = ifr.Name()
	return nil
}

func (t *Tap) explain(err error) error {
	switch {
	case errors.Is(err, unix.EPERM):
		if t.made {
			return fmt.Errorf("making it: %w: make it beforehand for your user (ip tuntap add %s mode tap user $USER), run as root, or take --net user", err, t.name)
		}
		return fmt.Errorf("%w: it belongs to another user", err)
	case errors.Is(err, unix.EBUSY):
		return fmt.Errorf("%w: something else uses it, perhaps another machine", err)
	case errors.Is(err, unix.EINVAL):
		return fmt.Errorf("%w: the interface is no tap, or was made without multi_queue", err)
	case errors.Is(err, unix.E2BIG):
		return fmt.Errorf("%w: it has all the queues that it can have", err)
	}
	return err
}

// probeOffloads finds out what the kernel can do by asking for it.
func (t *Tap) probeOffloads() {
	base := uint32(unix.TUN_F_CSUM | unix.TUN_F_TSO4 | unix.TUN_F_TSO6 | unix.TUN_F_TSO_ECN)
	for _, o := range [...]uint32{
		base | unix.TUN_F_UFO | unix.TUN_F_USO4 | unix.TUN_F_USO6, // Linux 6.2
		base | unix.TUN_F_UFO,
		base,
		unix.TUN_F_CSUM,
	} {
		if t.SetOffloads(o) == nil {
			t.offloads = o
			return
		}
	}
}

// Name is the interface's.
func (t *Tap) Name() string { return t.name }

// Made tells whether the interface goes away with the Tap.
func (t *Tap) Made() bool { return t.made }

// Pairs is the number of queues.
func (t *Tap) Pairs() int { return len(t.queues) }

// FD is the descriptor of a queue, for vhost-net. It stays the Tap's.
func (t *Tap) FD(pair int) int { return t.queues[pair].fd }

// Offloads are what the kernel can do (TUN_F_*), in both directions.
func (t *Tap) Offloads() uint32 { return t.offloads }

// SetOffloads says what frames that are read may make use of.
func (t *Tap) SetOffloads(offloads uint32) error {
	err := unix.IoctlSetInt(t.queues[0].fd, unix.TUNSETOFFLOAD, int(offloads))
	if err != nil {
		return fmt.Errorf("tap %s: TUNSETOFFLOAD %#x: %w", t.name, offloads, err)
	}
	return nil
}

// SetPairs makes the kernel deliver to the first n queues only.
func (t *Tap) SetPairs(n int) error {
	if !t.multi || n < 1 || n > len(t.queues) {
		return nil
	}
	for t.attached < n {
		if err := t.switchQueue(t.attached, unix.IFF_ATTACH_QUEUE); err != nil {
			return err
		}
		t.attached++
	}
	for t.attached > n {
		if err := t.switchQueue(t.attached-1, unix.IFF_DETACH_QUEUE); err != nil {
			return err
		}
		t.attached--
	}
	return nil
}

func (t *Tap) switchQueue(i int, flag uint16) error {
	ifr, err := unix.NewIfreq(t.name)
	if err != nil {
		return err
	}
	ifr.SetUint16(flag)
	if err := unix.IoctlIfreq(t.queues[i].fd, unix.TUNSETQUEUE, ifr); err != nil {
		return fmt.Errorf("tap %s: TUNSETQUEUE %#x for queue %d: %w", t.name, flag, i, err)
	}
	return nil
}

// SetCarrier shows the host whether the guest's cable is in. Kernels before 5.0
// cannot, and nothing is lost by that.
func (t *Tap) SetCarrier(up bool) error {
	v := 0
	if up {
		v = 1
	}
	err := unix.IoctlSetPointerInt(t.queues[0].fd, unix.TUNSETCARRIER, v)
	if err != nil && !errors.Is(err, unix.EINVAL) && !errors.Is(err, unix.ENOTTY) {
		return fmt.Errorf("tap %s: TUNSETCARRIER: %w", t.name, err)
	}
	return nil
}

// MTU is the interface's, in bytes.
func (t *Tap) MTU() (int, error) {
	var mtu int
	text, err := os.ReadFile("/sys/class/net/" + t.name + "/mtu")
	if err == nil {
		mtu, err = strconv.Atoi(strings.TrimSpace(string(text)))
	}
	if err != nil {
		return 0, fmt.Errorf("tap %s: read its MTU: %w", t.name, err)
	}
	return mtu, nil
}

// Close gives the queues up. An interface that was there before is left without a
// filter and with its carrier on, one that was made is gone.
func (t *Tap) Close() error {
	if len(t.queues) == 0 {
		return nil
	}
	var err error
	if !t.made {
		err = errors.Join(t.SetFilter(Filter{All: true}), t.SetOffloads(0), t.SetCarrier(true))
	}
	return errors.Join(err, t.closeQueues())
}

func (t *Tap) closeQueues() error {
	var errs []error
	for _, q := range t.queues {
		errs = append(errs, q.close())
	}
	t.queues = nil
	return errors.Join(errs...)
}

// setUp sets the MTU and switches an interface on. (Two ioctls do what a netlink
// library would.)
func setUp(name string, mtu int) error {
	s, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("set up: %w", err)
	}
	defer unix.Close(s)
	ifr, err := unix.NewIfreq(name)
	if err != nil {
		return err
	}
	if mtu > 0 {
		ifr.SetUint32(uint32(mtu))
		if err := unix.IoctlIfreq(s, unix.SIOCSIFMTU, ifr); err != nil {
			return fmt.Errorf("set the MTU to %d: %w", mtu, err)
		}
	}
	if err := unix.IoctlIfreq(s, unix.SIOCGIFFLAGS, ifr); err != nil {
		return fmt.Errorf("read the flags: %w", err)
	}
	ifr.SetUint16(ifr.Uint16() | unix.IFF_UP)
	if err := unix.IoctlIfreq(s, unix.SIOCSIFFLAGS, ifr); err != nil {
		return fmt.Errorf("set up: %w", err)
	}
	return nil
}
