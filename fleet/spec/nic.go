package spec

import (
	"encoding/hex"
	"fmt"
	"net/netip"
	"strconv"
	"strings"

	virtionet "github.com/gureum/gureum/virtio/net"
	"github.com/gureum/gureum/virtio/ratelimit"
	"github.com/gureum/gureum/vm"
)

// Port is an interface on one of the fleet's networks.
type Port struct {
	// NIC is the number of the interface among the machine's.
	NIC int
	// Network is the network's name or id.
	Network string
	// IP is the IPv4 address that the user wants; the zero value is any.
	IP netip.Addr
}

// parseNICs reads the --net flags.
func (p *Plan) parseNICs(s *Spec) error {
	for i, text := range s.Net {
		n, port, err := parseNIC(text)
		if err != nil {
			return err
		}
		if port.Network != "" {
			port.NIC = i
			p.Ports = append(p.Ports, port)
		}
		p.Config.NICs = append(p.Config.NICs, n)
	}
	return nil
}

// OnNetwork tells whether a --net that was understood is about a network of the fleet.
func OnNetwork(text string) bool {
	_, port, err := parseNIC(text)
	return err == nil && port.Network != ""
}

// parseNIC reads KIND[:NAME][,OPTION=VALUE...]. What the values may be is the
// machine's affair; see vm.NIC.
func parseNIC(s string) (n vm.NIC, port Port, err error) {
	words := strings.Split(s, ",")
	kind, name, named := strings.Cut(words[0], ":")
	switch {
	case kind == "tap" && name == "":
		return n, port, fmt.Errorf("network %q: name the interface, as in tap:vm0", words[0])
	case kind == "tap":
		n.Tap = name
	case kind == "user" && named:
		return n, port, fmt.Errorf("network %q: a user-mode network has no name: give user", words[0])
	case kind == "user":
		n.User = true
	case named || kind == "":
		return n, port, fmt.Errorf("network %q: give the name of a network, tap:INTERFACE or user", words[0])
	default:
		port.Network = kind
	}
	seen := map[string]bool{}
	for _, word := range words[1:] {
		key, value, ok := strings.Cut(word, "=")
		if !ok || value == "" {
			return n, port, fmt.Errorf("network option %q: write it as OPTION=VALUE", word)
		}
		if seen[key] {
			return n, port, fmt.Errorf("network option %s is given twice", key)
		}
		seen[key] = true
		if key == "ip" && port.Network != "" {
			if port.IP, err = netip.ParseAddr(value); err != nil || !port.IP.Is4() {
				return n, port, fmt.Errorf("network option ip: %q is no IPv4 address (the IPv6 one follows from the MAC address)", value)
			}
		} else {
			err = setNICOption(&n, key, value)
		}
		if err != nil {
			return n, port, err
		}
	}
	return n, port, nil
}

func setNICOption(n *vm.NIC, key, value string) (err error) {
	switch key {
	case "mac":
		n.MAC, err = parseMAC(value)
	case "mtu":
		n.MTU, err = parseCount(key, value)
	case "queues":
		n.Queues, err = parseCount(key, value)
	case "vhost":
		n.Vhost, err = parseVhost(value)
	case "host":
		if n.HostLoopback = value == "on"; !n.HostLoopback && value != "off" {
			err = fmt.Errorf("network option host: %q: give on or off", value)
		}
	case "bps":
		var rate uint64
		rate, err = ParseSize(value)
		n.RX.Bytes, n.TX.Bytes = ratelimit.PerSecond(rate), ratelimit.PerSecond(rate)
	case "pps":
		var rate int
		rate, err = parseCount(key, value)
		n.RX.Ops, n.TX.Ops = ratelimit.PerSecond(uint64(rate)), ratelimit.PerSecond(uint64(rate))
	default:
		return fmt.Errorf("network option %q: give mac, mtu, queues, vhost, host, bps, pps, and with a network ip", key)
	}
	return err
}

func parseCount(key, value string) (int, error) {
	n, err := strconv.ParseUint(value, 10, 31)
	if err != nil || n == 0 {
		return 0, fmt.Errorf("network option %s: %q is not a number above 0", key, value)
	}
	return int(n), nil
}

func parseVhost(s string) (virtionet.VhostMode, error) {
	switch s {
	case "auto":
		return virtionet.VhostAuto, nil
	case "on":
		return virtionet.VhostOn, nil
	case "off":
		return virtionet.VhostOff, nil
	}
	return 0, fmt.Errorf("network option vhost: %q: give auto, on or off", s)
}

// parseMAC reads six bytes in hexadecimal with colons or hyphens between them.
func parseMAC(s string) (mac [6]byte, err error) {
	parts := strings.FieldsFunc(s, func(r rune) bool { return r == ':' || r == '-' })
	b, err := hex.DecodeString(strings.Join(parts, ""))
	if err != nil || len(parts) != len(mac) || len(b) != len(mac) || len(s) != 17 || [6]byte(b) == mac {
		return mac, fmt.Errorf("network option mac: %q: write it as 02:00:00:00:00:01", s)
	}
	return [6]byte(b), nil
}
