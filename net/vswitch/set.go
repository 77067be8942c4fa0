package vswitch

import (
	"bytes"
	"net/netip"

	"github.com/google/nftables"
	"golang.org/x/sys/unix"

	"github.com/gureum/gureum/net/ipam"
)

// Names in the kernel.
const tableName = "gureum"

// The sets. What they hold is written as nft prints it.
const (
	setMACs  = "macs"  // port . MAC
	setARP   = "arp"   // port . MAC . IPv4
	setIP4   = "ip4"   // port . IPv4
	setIP6   = "ip6"   // port . IPv6: its own and its link-local one
	setPorts = "ports" // port: in the inet table, to tell ports from bridges

	setBridges    = "bridges"    // bridge
	setInternal   = "internal"   // bridge of an internal network
	setHostAccess = "hostaccess" // bridge whose guests reach the host
	setShielded   = "shielded"   // bridge whose guests the host does not reach
	setPeers      = "peers"      // bridge . bridge: the same, of a network that is not isolated
	setGateways4  = "gateways4"  // bridge . IPv4
	setGateways6  = "gateways6"  // bridge . IPv6: the gateway's and the link-local one
	setGuests4    = "guests4"    // IPv4 that has a way out
	setGuests6    = "guests6"
	setMembers4   = "members4" // bridge . IPv4 of a guest on it
	setMembers6   = "members6"

	mapPublish4    = "publish4"    // protocol . IPv4 . port : IPv4 . port
	mapPublish6    = "publish6"    // protocol . IPv6 . port : IPv6 . port
	mapPublishAny4 = "publishany4" // protocol . port : IPv4 . port
	mapPublishAny6 = "publishany6"
)

var (
	bridgeTable = nftables.Table{Name: tableName, Family: nftables.TableFamilyBridge}
	inetTable   = nftables.Table{Name: tableName, Family: nftables.TableFamilyINet}
)

// setKind says what a set holds.
type setKind struct {
	name string
	key  []nftables.SetDatatype
	data []nftables.SetDatatype // of a map
}

func bridgeSets() []setKind {
	name, mac, ip4, ip6 := nftables.TypeIFName, nftables.TypeEtherAddr, nftables.TypeIPAddr, nftables.TypeIP6Addr
	return []setKind{
		{name: setMACs, key: []nftables.SetDatatype{name, mac}},
		{name: setARP, key: []nftables.SetDatatype{name, mac, ip4}},
		{name: setIP4, key: []nftables.SetDatatype{name, ip4}},
		{name: setIP6, key: []nftables.SetDatatype{name, ip6}},
	}
}

func inetSets() []setKind {
	name, ip4, ip6 := nftables.TypeIFName, nftables.TypeIPAddr, nftables.TypeIP6Addr
	proto, port := nftables.TypeInetProto, nftables.TypeInetService
	return []setKind{
		{name: setPorts, key: []nftables.SetDatatype{name}},
		{name: setBridges, key: []nftables.SetDatatype{name}},
		{name: setInternal, key: []nftables.SetDatatype{name}},
		{name: setHostAccess, key: []nftables.SetDatatype{name}},
		{name: setShielded, key: []nftables.SetDatatype{name}},
		{name: setPeers, key: []nftables.SetDatatype{name, name}},
		{name: setGateways4, key: []nftables.SetDatatype{name, ip4}},
		{name: setGateways6, key: []nftables.SetDatatype{name, ip6}},
		{name: setGuests4, key: []nftables.SetDatatype{ip4}},
		{name: setGuests6, key: []nftables.SetDatatype{ip6}},
		{name: setMembers4, key: []nftables.SetDatatype{name, ip4}},
		{name: setMembers6, key: []nftables.SetDatatype{name, ip6}},
		{name: mapPublish4, key: []nftables.SetDatatype{proto, ip4, port}, data: []nftables.SetDatatype{ip4, port}},
		{name: mapPublish6, key: []nftables.SetDatatype{proto, ip6, port}, data: []nftables.SetDatatype{ip6, port}},
		{name: mapPublishAny4, key: []nftables.SetDatatype{proto, port}, data: []nftables.SetDatatype{ip4, port}},
		{name: mapPublishAny6, key: []nftables.SetDatatype{proto, port}, data: []nftables.SetDatatype{ip6, port}},
	}
}

// set makes the library's description.
func (k setKind) set(t *nftables.Table) *nftables.Set {
	s := &nftables.Set{Table: t, Name: k.name, IsMap: k.data != nil}
	s.KeyType, s.Concatenation = concat(k.key)
	if k.data != nil {
		s.DataType, _ = concat(k.data)
	}
	return s
}

func concat(types []nftables.SetDatatype) (nftables.SetDatatype, bool) {
	if len(types) == 1 {
		return types[0], false
	}
	return nftables.MustConcatSetType(types...), true // five at most, see its documentation
}

// element belongs to a set of a table.
type element struct {
	bridge   bool // of the bridge table
	set      string
	key, val []byte
}

// key concatenates fields as the kernel wants them: each padded to 4 bytes.
func key(fields ...any) []byte {
	var b []byte
	for _, f := range fields {
		switch f := f.(type) {
		case string: // of an interface
			b = append(b, f...)
			b = append(b, make([]byte, unix.IFNAMSIZ-len(f))...)
		case [6]byte:
			b = append(b, f[:]...)
		case netip.Addr:
			b = append(b, f.AsSlice()...)
		case uint8:
			b = append(b, f)
		case uint16:
			b = append(b, byte(f>>8), byte(f))
		}
		for len(b)%4 != 0 {
			b = append(b, 0)
		}
	}
	return b
}

// elements are a network's own.
func (n Network) elements() []element {
	br := BridgeName(n.ID)
	list := []element{
		{set: setBridges, key: key(br)},
		{set: setGateways4, key: key(br, ipam.Gateway(n.Subnet))},
		{set: setGateways6, key: key(br, ipam.LinkLocal(bridgeMAC(n.ID)))},
	}
	if n.Subnet6.IsValid() {
		list = append(list, element{set: setGateways6, key: key(br, ipam.Gateway(n.Subnet6))})
	}
	if n.Internal {
		list = append(list, element{set: setInternal, key: key(br)})
	}
	if n.HostAccess {
		list = append(list, element{set: setHostAccess, key: key(br)})
	}
	if n.Shielded {
		list = append(list, element{set: setShielded, key: key(br)})
	}
	if !n.Isolated {
		list = append(list, element{set: setPeers, key: key(br, br)})
	}
	return list
}

// elements are a port's own.
func (p Port) elements(n Network) []element {
	br := BridgeName(n.ID)
	list := []element{
		{set: setPorts, key: key(p.Tap)},
		{bridge: true, set: setMACs, key: key(p.Tap, p.MAC)},
		{bridge: true, set: setARP, key: key(p.Tap, p.MAC, p.IP)},
		{bridge: true, set: setIP4, key: key(p.Tap, p.IP)},
		{set: setMembers4, key: key(br, p.IP)},
	}
	if !n.Internal {
		list = append(list, element{set: setGuests4, key: key(p.IP)})
	}
	if n.Subnet6.IsValid() {
		list = append(list, element{bridge: true, set: setIP6, key: key(p.Tap, ipam.LinkLocal(p.MAC))})
	}
	if p.IP6.IsValid() {
		list = append(list,
			element{bridge: true, set: setIP6, key: key(p.Tap, p.IP6)},
			element{set: setMembers6, key: key(br, p.IP6)})
		if !n.Internal {
			list = append(list, element{set: setGuests6, key: key(p.IP6)})
		}
	}
	for _, x := range p.Publish {
		list = append(list, x.elements(p)...)
	}
	return list
}

func (x Publish) elements(p Port) []element {
	proto := uint8(unix.IPPROTO_TCP)
	if x.UDP {
		proto = unix.IPPROTO_UDP
	}
	to4 := key(p.IP, x.GuestPort)
	any4 := element{set: mapPublishAny4, key: key(proto, x.HostPort), val: to4}
	var any6 element
	if p.IP6.IsValid() {
		any6 = element{set: mapPublishAny6, key: key(proto, x.HostPort), val: key(p.IP6, x.GuestPort)}
	}
	switch host := x.HostIP.Unmap(); {
	case !host.IsValid() && p.IP6.IsValid():
		return []element{any4, any6}
	case !host.IsValid(), host.Is4() && host.IsUnspecified():
		return []element{any4}
	case host.IsUnspecified():
		return []element{any6}
	case host.Is4():
		return []element{{set: mapPublish4, key: key(proto, host, x.HostPort), val: to4}}
	default:
		return []element{{set: mapPublish6, key: key(proto, host, x.HostPort), val: key(p.IP6, x.GuestPort)}}
	}
}

// elements are all of a state's, which was checked.
func (s State) elements(byID map[string]Network) []element {
	var list []element
	for _, n := range s.Networks {
		list = append(list, n.elements()...)
	}
	for _, p := range s.Ports {
		list = append(list, p.elements(byID[p.Network])...)
	}
	return list
}

// same compares elements but for what a map leads to.
func (e element) same(o element) bool {
	return e.bridge == o.bridge && e.set == o.set && bytes.Equal(e.key, o.key)
}
