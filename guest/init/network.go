package main

import (
	"encoding/binary"
	"errors"
	"os"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// String writes it as parseIP4 reads it.
func (ip ip4) String() string {
	parts := make([]string, len(ip))
	for i, b := range ip {
		parts[i] = strconv.Itoa(int(b))
	}
	return strings.Join(parts, ".")
}

// network is what gureum.net says of one interface:
//
//	gureum.net=MAC,ADDRESS/BITS[,gw=ADDRESS][,dns=ADDRESS]...[,search=DOMAIN]
//
// and, with a semicolon between them, of others.
type network struct {
	mac     string
	address ip4
	bits    int
	gateway ip4 // zero for none
	dns     []ip4
	search  string
}

// ip4 is an IPv4 address. (Package net/netip would make init 3% larger.)
type ip4 [4]byte

// parseIP4 reads four decimal numbers with dots between them.
func parseIP4(text string) (ip ip4, ok bool) {
	parts := strings.Split(text, ".")
	if len(parts) != len(ip) {
		return ip, false
	}
	for i, part := range parts {
		n, err := strconv.ParseUint(part, 10, 8)
		if err != nil {
			return ip, false
		}
		ip[i] = byte(n)
	}
	return ip, true
}

// parseNetwork reads what is said of one interface. It is for IPv4: routers advertise
// what IPv6 needs.
func parseNetwork(text string) (n network, err error) {
	words := strings.Split(text, ",")
	n.mac = strings.ToLower(words[0])
	if len(words) < 2 {
		return n, errors.New(text + " names no address")
	}
	address, bits, _ := strings.Cut(words[1], "/")
	ip, ok := parseIP4(address)
	n.address = ip
	if n.bits, err = strconv.Atoi(bits); err != nil || !ok || n.bits < 1 || n.bits > 32 {
		return n, errors.New(words[1] + " is no IPv4 address with its bits")
	}
	for _, word := range words[2:] {
		key, value, _ := strings.Cut(word, "=")
		if key == "search" {
			n.search = value
			continue
		}
		ip, ok := parseIP4(value)
		switch {
		case !ok:
			return n, errors.New(word + " is no IPv4 address")
		case key == "gw":
			n.gateway = ip
		case key == "dns":
			n.dns = append(n.dns, ip)
		}
	}
	return n, nil
}

// setUpNetworks gives the interfaces that the host speaks of their addresses.
func setUpNetworks(list string) {
	var resolver strings.Builder
	for text := range strings.SplitSeq(list, ";") {
		if text == "" {
			continue
		}
		n, err := parseNetwork(text)
		if err == nil {
			err = n.setUp()
		}
		if err != nil {
			complain("network", err)
			continue
		}
		n.writeResolver(&resolver)
	}
	if resolver.Len() > 0 {
		try("/etc/resolv.conf", os.WriteFile("/etc/resolv.conf", []byte(resolver.String()), 0o644))
	}
}

func (n *network) writeResolver(w *strings.Builder) {
	if n.search != "" {
		w.WriteString("search " + n.search + "\n")
	}
	for _, ip := range n.dns {
		w.WriteString("nameserver " + ip.String() + "\n")
	}
}

// interfaceName finds an interface by its address (MAC), as names depend on the order in
// which the kernel finds devices.
func interfaceName(mac string) (string, error) {
	const dir = "/sys/class/net/"
	entries, err := os.ReadDir(dir)
	if err != nil {
		return "", err
	}
	for _, e := range entries {
		text, err := os.ReadFile(dir + e.Name() + "/address")
		if err == nil && strings.TrimSpace(string(text)) == mac {
			return e.Name(), nil
		}
	}
	return "", errors.New("no interface has the address " + mac)
}

// setUp sets address and mask, switches the interface on, and sets the default route.
func (n *network) setUp() error {
	name, err := interfaceName(n.mac)
	if err != nil {
		return err
	}
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	mask := binary.BigEndian.AppendUint32(nil, ^uint32(0)<<(32-n.bits))
	for _, step := range []struct {
		request uint
		value   []byte
	}{{unix.SIOCSIFADDR, n.address[:]}, {unix.SIOCSIFNETMASK, mask}} {
		ifr, err := unix.NewIfreq(name)
		if err != nil {
			return err
		}
		if err := ifr.SetInet4Addr(step.value); err != nil {
			return err
		}
		if err := unix.IoctlIfreq(fd, step.request, ifr); err != nil {
			return errors.New(name + ": set its address: " + err.Error())
		}
	}
	ifr, err := unix.NewIfreq(name)
	if err != nil {
		return err
	}
	ifr.SetUint16(unix.IFF_UP | unix.IFF_RUNNING)
	if err := unix.IoctlIfreq(fd, unix.SIOCSIFFLAGS, ifr); err != nil {
		return errors.New(name + ": switch on: " + err.Error())
	}
	if n.gateway == (ip4{}) {
		return nil
	}
	if err := unix.IoctlIfreq(fd, unix.SIOCGIFINDEX, ifr); err != nil {
		return errors.New(name + ": its number: " + err.Error())
	}
	return defaultRoute(n.gateway, ifr.Uint32())
}

// defaultRoute adds a route by one request to the kernel (rtnetlink(7)).
func defaultRoute(gateway ip4, index uint32) error {
	fd, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_CLOEXEC, unix.NETLINK_ROUTE)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	if err := unix.Sendto(fd, routeRequest(gateway, index), 0, &unix.SockaddrNetlink{Family: unix.AF_NETLINK}); err != nil {
		return errors.New("default route: " + err.Error())
	}
	answer := make([]byte, 1024)
	size, _, err := unix.Recvfrom(fd, answer, 0)
	if err != nil {
		return errors.New("default route: " + err.Error())
	}
	if size < unix.SizeofNlMsghdr+4 {
		return errors.New("default route: a short answer")
	}
	if errno := -int32(binary.NativeEndian.Uint32(answer[unix.SizeofNlMsghdr:])); errno != 0 {
		return errors.New("default route: " + unix.Errno(errno).Error())
	}
	return nil
}

// routeRequest is struct nlmsghdr, struct rtmsg, and the attributes RTA_GATEWAY and
// RTA_OIF (linux/netlink.h, linux/rtnetlink.h).
func routeRequest(gateway ip4, index uint32) []byte {
	const attribute = unix.SizeofRtAttr + 4
	order := binary.NativeEndian
	b := order.AppendUint32(nil, unix.SizeofNlMsghdr+unix.SizeofRtMsg+2*attribute)
	b = order.AppendUint16(b, unix.RTM_NEWROUTE)
	b = order.AppendUint16(b, unix.NLM_F_REQUEST|unix.NLM_F_ACK|unix.NLM_F_CREATE)
	b = order.AppendUint64(b, 1) // number of the request, and the kernel as receiver
	b = append(b, unix.AF_INET, 0, 0, 0, unix.RT_TABLE_MAIN, unix.RTPROT_BOOT, unix.RT_SCOPE_UNIVERSE, unix.RTN_UNICAST)
	b = order.AppendUint32(b, 0)
	b = order.AppendUint16(b, attribute)
	b = order.AppendUint16(b, unix.RTA_GATEWAY)
	b = append(b, gateway[:]...)
	b = order.AppendUint16(b, attribute)
	b = order.AppendUint16(b, unix.RTA_OIF)
	return order.AppendUint32(b, index)
}
