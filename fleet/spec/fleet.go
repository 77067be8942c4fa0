package spec

import (
	"errors"
	"fmt"
	"net/netip"
	"strconv"
	"strings"
)

// Publish is a port of the host that leads into the guest.
type Publish struct {
	HostIP              netip.Addr // not valid for all
	HostPort, GuestPort uint16
	UDP                 bool
}

// String writes it as the flag has it.
func (p Publish) String() string {
	s := fmt.Sprintf("%d:%d", p.HostPort, p.GuestPort)
	if p.HostIP.IsValid() {
		s = netip.AddrPortFrom(p.HostIP, p.HostPort).String() + fmt.Sprintf(":%d", p.GuestPort)
	}
	if p.UDP {
		s += "/udp"
	}
	return s
}

// Restart says when a machine that has ended is started again.
type Restart struct {
	Policy RestartPolicy
	// Max bounds the restarts of RestartOnFailure; 0 does not.
	Max int
}

// RestartPolicy is when to restart.
type RestartPolicy string

// The policies.
const (
	RestartNo        RestartPolicy = "no"
	RestartOnFailure RestartPolicy = "on-failure"
	RestartAlways    RestartPolicy = "always"
)

func (p *Plan) parseFleet(s *Spec) (err error) {
	for _, text := range s.Publish {
		published, err := parsePublish(text)
		if err != nil {
			return err
		}
		p.Publish = append(p.Publish, published)
	}
	if p.Restart, err = parseRestart(s.Restart); err != nil {
		return err
	}
	if s.Rm && p.Restart.Policy != RestartNo {
		return errors.New("rm and restart: a machine is either removed or started again when it ends: leave one of both out")
	}
	p.Labels, err = ParseLabels(s.Label)
	return err
}

// parsePublish reads [ADDRESS:]HOSTPORT:GUESTPORT[/tcp|/udp]. An IPv6 address is in
// brackets.
func parsePublish(text string) (p Publish, err error) {
	rest, protocol, _ := strings.Cut(text, "/")
	switch protocol {
	case "", "tcp":
	case "udp":
		p.UDP = true
	default:
		return p, fmt.Errorf("publish %q: %q is no protocol: give tcp or udp", text, protocol)
	}
	at := strings.LastIndexByte(rest, ':')
	if at < 0 {
		return p, fmt.Errorf("publish %q: write it as HOSTPORT:GUESTPORT", text)
	}
	if p.GuestPort, err = parsePort(rest[at+1:]); err != nil {
		return p, fmt.Errorf("publish %q: %w", text, err)
	}
	host := rest[:at]
	if at = strings.LastIndexByte(host, ':'); at >= 0 {
		address := strings.TrimSuffix(strings.TrimPrefix(host[:at], "["), "]")
		if p.HostIP, err = netip.ParseAddr(address); err != nil {
			return p, fmt.Errorf("publish %q: %q is no address", text, address)
		}
	}
	if p.HostPort, err = parsePort(host[at+1:]); err != nil {
		return p, fmt.Errorf("publish %q: %w", text, err)
	}
	return p, nil
}

func parsePort(text string) (uint16, error) {
	n, err := strconv.ParseUint(text, 10, 16)
	if err != nil || n == 0 {
		return 0, fmt.Errorf("%q is no port: give a number from 1 to 65535", text)
	}
	return uint16(n), nil
}

func parseRestart(text string) (Restart, error) {
	policy, count, counted := strings.Cut(text, ":")
	r := Restart{Policy: RestartPolicy(policy)}
	switch r.Policy {
	case "":
		r.Policy = RestartNo
	case RestartNo, RestartAlways, RestartOnFailure:
	default:
		return r, fmt.Errorf("restart %q: give no, on-failure, on-failure:N or always", text)
	}
	if !counted {
		return r, nil
	}
	n, err := strconv.ParseUint(count, 10, 31)
	if err != nil || n == 0 || r.Policy != RestartOnFailure {
		return r, fmt.Errorf("restart %q: give no, on-failure, on-failure:N or always", text)
	}
	r.Max = int(n)
	return r, nil
}

// ParseLabels reads KEY=VALUE or KEY, each.
func ParseLabels(list []string) (map[string]string, error) {
	labels := map[string]string{}
	for _, text := range list {
		key, value, _ := strings.Cut(text, "=")
		if key == "" {
			return nil, fmt.Errorf("label %q: write it as KEY=VALUE", text)
		}
		if old, twice := labels[key]; twice && old != value {
			return nil, fmt.Errorf("label %s is given twice, as %q and %q", key, old, value)
		}
		labels[key] = value
	}
	return labels, nil
}
