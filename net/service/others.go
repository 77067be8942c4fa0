package service

import (
	"fmt"
	"net/netip"
	"strings"

	"github.com/gureum/gureum/net/ipam"
)

// Other is another network that machines of this one are on as well. A machine on both
// asks one service only, whichever its resolver chose, so that each service answers for
// the other's names; but only to such machines.
type Other struct {
	// Name is the network's: its hosts are found as NAME.NETWORK.internal.
	Name string
	// Subnet and Subnet6 are the network's; a zero one is none.
	Subnet, Subnet6 netip.Prefix
	// Hosts are on that network.
	Hosts []Host
	// Askers are the MAC addresses, on this network, of the machines that are on that one.
	Askers [][6]byte
}

type otherEntry struct {
	Name    string       `json:"name"`
	Subnet  netip.Prefix `json:"subnet,omitzero"`
	Subnet6 netip.Prefix `json:"subnet6,omitzero"`
	Askers  []string     `json:"askers"`
	Hosts   []hostEntry  `json:"hosts"`
}

func (o Other) entry() otherEntry {
	e := otherEntry{Name: o.Name, Subnet: o.Subnet, Subnet6: o.Subnet6, Askers: []string{}, Hosts: hostEntries(o.Hosts)}
	for _, mac := range o.Askers {
		e.Askers = append(e.Askers, ipam.FormatMAC(mac))
	}
	return e
}

func (e otherEntry) other() (o Other, err error) {
	o = Other{Name: e.Name, Subnet: e.Subnet, Subnet6: e.Subnet6}
	for _, text := range e.Askers {
		mac, err := ipam.ParseMAC(text)
		if err != nil {
			return o, fmt.Errorf("asker %q: %w", text, err)
		}
		o.Askers = append(o.Askers, mac)
	}
	o.Hosts, err = readEntries(e.Hosts)
	return o, err
}

func (o Other) check() error {
	if err := CheckName(o.Name); err != nil {
		return err
	}
	if strings.Contains(o.Name, ".") {
		return fmt.Errorf("name %q: a network's name has no dots", o.Name)
	}
	if o.Subnet.IsValid() {
		if err := ipam.CheckSubnet(o.Subnet); err != nil {
			return err
		}
	}
	if o.Subnet6.IsValid() {
		if err := ipam.CheckSubnet6(o.Subnet6); err != nil {
			return err
		}
	}
	return checkHosts(o.Hosts)
}

func (o Other) realm() realm {
	n := newNames(o.Hosts)
	r := realm{domain: domainOf(o.Name), subnet: o.Subnet, subnet6: o.Subnet6, names: &n}
	if o.Subnet.IsValid() {
		r.gateway = ipam.Gateway(o.Subnet)
	}
	if o.Subnet6.IsValid() {
		r.gateway6 = ipam.Gateway(o.Subnet6)
	}
	return r
}

// domainOf is the domain that a network's names are in.
func domainOf(network string) string { return strings.ToLower(network) + "." + TLD }

// check checks all that a hosts file says.
func (k known) check() error {
	if err := checkHosts(k.hosts); err != nil {
		return err
	}
	count, domains := len(k.hosts), map[string]bool{}
	for _, o := range k.others {
		if err := o.check(); err != nil {
			return fmt.Errorf("network %q: %w", o.Name, err)
		}
		if domains[domainOf(o.Name)] {
			return fmt.Errorf("network %q is there twice", o.Name)
		}
		domains[domainOf(o.Name)] = true
		count += len(o.Hosts)
	}
	if count > maxHosts {
		return fmt.Errorf("%d hosts: at most %d are possible", count, maxHosts)
	}
	return nil
}
