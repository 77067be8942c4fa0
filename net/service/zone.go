package service

import (
	"net/netip"
	"strings"

	"github.com/miekg/dns"

	"github.com/gureum/gureum/net/ipam"
)

// Times in seconds for which answers about guests may be kept: short, because a machine
// with the same name may come and go.
const (
	localTTL    = 10
	negativeTTL = 5
)

// gatewayName is the host's name in each network, unless a guest has it.
const gatewayName = "gateway"

// local is an answer out of the hosts file.
type local struct {
	rcode  int
	answer []dns.RR
	zone   string // whose SOA goes with an answer that is none; "" is no SOA
	domain string // of the realm that it is from
}

// lookup answers questions for which no other server is asked, to one who asks from an
// address. ok says whether a question is one.
func (s *Service) lookup(q dns.Question, client netip.Addr) (a local, ok bool) {
	name := dns.CanonicalName(q.Name)
	switch {
	case name == "localhost." || strings.HasSuffix(name, ".localhost."):
		// RFC 6761, section 6.3.
		a = local{answer: addresses(q, netip.AddrFrom4([4]byte{127, 0, 0, 1}), netip.IPv6Loopback())}
		return a, true
	case dns.IsSubDomain(TLD+".", name):
		return lookupInternal(q, name, s.realms(client)), true
	case strings.HasSuffix(name, ".in-addr.arpa.") || strings.HasSuffix(name, ".ip6.arpa."):
		return lookupReverse(q, name, s.realms(client))
	case strings.Count(name, ".") == 1 && name != ".":
		return lookupBare(q, name, s.realms(client))
	}
	return local{}, false
}

// realms are the networks whose names one who asks may know: this one, and then the others
// that its machine is on.
func (s *Service) realms(client netip.Addr) []realm {
	t := s.hosts.current()
	own := realm{s.domain, s.cfg.Subnet, s.cfg.Subnet6, s.gateway, s.gateway6, &t.names}
	return append([]realm{own}, t.sees[client.WithZone("")]...)
}

// lookupInternal answers for names below TLD, all of which are ours: networks that the
// asker is not on do not exist for it.
func lookupInternal(q dns.Question, name string, realms []realm) local {
	for _, r := range realms {
		if dns.IsSubDomain(r.domain+".", name) {
			return r.lookup(q, name)
		}
	}
	if name == TLD+"." {
		return realms[0].apex(q, name)
	}
	return local{rcode: dns.RcodeNameError, zone: TLD + ".", domain: realms[0].domain}
}

// lookup answers for a name in the realm's domain.
func (r realm) lookup(q dns.Question, name string) local {
	zone := r.domain + "."
	if name == zone {
		return r.apex(q, name)
	}
	relative := strings.TrimSuffix(name, "."+zone)
	if list := r.find(relative); list != nil {
		return local{answer: addresses(q, list...), zone: zone, domain: r.domain}
	}
	if r.inner[relative] {
		return local{zone: zone, domain: r.domain}
	}
	return local{rcode: dns.RcodeNameError, zone: zone, domain: r.domain}
}

// find gives the addresses of a name; nil is no such name.
func (r realm) find(name string) []netip.Addr {
	var list []netip.Addr
	for _, h := range r.byName[name] {
		list = append(list, h.IP, h.IP6)
	}
	if list == nil && name == gatewayName {
		list = []netip.Addr{r.gateway, r.gateway6}
	}
	return list
}

// lookupBare answers for names without a dot, of the first network that has them. They
// might be top-level domains, so questions about domains go on; those for addresses do not,
// since nothing outside has such a name, and nobody outside need learn what machines are
// called here.
func lookupBare(q dns.Question, name string, realms []realm) (local, bool) {
	switch q.Qtype {
	case dns.TypeNS, dns.TypeSOA, dns.TypeDS, dns.TypeDNSKEY:
		return local{}, false
	}
	for _, r := range realms {
		if list := r.find(strings.TrimSuffix(name, ".")); list != nil {
			return local{answer: addresses(q, list...), zone: name, domain: r.domain}, true
		}
	}
	if q.Qtype == dns.TypeA || q.Qtype == dns.TypeAAAA {
		// That there is nothing below the name would be wrong to say (RFC 8020).
		return local{}, true
	}
	return local{}, false
}

// lookupReverse answers for addresses in the networks' subnets.
func lookupReverse(q dns.Question, name string, realms []realm) (local, bool) {
	p, ok := reversePrefix(name)
	if !ok {
		return local{}, false
	}
	for _, r := range realms {
		subnet, step := r.subnet, 8
		if p.Addr().Is6() {
			subnet, step = r.subnet6, 4
		}
		if subnet.IsValid() && p.Bits() >= subnet.Bits() && subnet.Contains(p.Addr()) {
			return r.reverse(q, name, p, subnet, step), true
		}
	}
	return local{}, false
}

// reverse answers for addresses in one of the realm's subnets, whose names have labels of
// step bits.
func (r realm) reverse(q dns.Question, name string, p, subnet netip.Prefix, step int) local {
	// A zone has a name only at whole labels.
	cut := (subnet.Bits() + step - 1) / step * step
	zone := reverseName(p.Addr(), cut, step)
	if name == zone && !p.IsSingleIP() {
		return r.apex(q, zone)
	}
	if !p.IsSingleIP() {
		return local{zone: zone, domain: r.domain}
	}
	target := ""
	if h, ok := r.byIP[p.Addr()]; ok {
		target = h.Name
	} else if p.Addr() == r.gateway || p.Addr() == r.gateway6 {
		target = gatewayName
	}
	if target == "" {
		return local{rcode: dns.RcodeNameError, zone: zone, domain: r.domain}
	}
	a := local{zone: zone, domain: r.domain}
	if q.Qtype == dns.TypePTR || q.Qtype == dns.TypeANY {
		a.answer = []dns.RR{&dns.PTR{Hdr: header(q.Name, dns.TypePTR), Ptr: target + "." + r.domain + "."}}
	}
	return a
}

// reversePrefix reads what addresses a name in in-addr.arpa or ip6.arpa stands for.
func reversePrefix(name string) (netip.Prefix, bool) {
	labels := dns.SplitDomainName(name)
	if len(labels) < 3 {
		return netip.Prefix{}, false
	}
	six := labels[len(labels)-2] == "ip6"
	labels = labels[:len(labels)-2]
	var b [16]byte
	for i := range labels {
		label := labels[len(labels)-1-i]
		v, ok := reverseLabel(label, six)
		if !ok || six && i >= 32 || !six && i >= 4 {
			return netip.Prefix{}, false
		}
		if six {
			b[i/2] |= v << (4 * (1 - i%2))
		} else {
			b[i] = v
		}
	}
	if six {
		return netip.PrefixFrom(netip.AddrFrom16(b), 4*len(labels)), true
	}
	return netip.PrefixFrom(netip.AddrFrom4([4]byte(b[:4])), 8*len(labels)), true
}

// reverseLabel reads one label: a nibble, or a decimal number without leading zeros.
func reverseLabel(label string, six bool) (byte, bool) {
	const digits = "0123456789abcdef"
	if six {
		v := strings.Index(digits, label)
		return byte(v), len(label) == 1 && v >= 0
	}
	v := 0
	for i := range len(label) {
		if label[i] < '0' || label[i] > '9' {
			return 0, false
		}
		v = v*10 + int(label[i]-'0')
	}
	return byte(v), label != "" && len(label) <= 3 && v <= 255 && (label[0] != '0' || len(label) == 1)
}

// reverseName is the name for the first bits of an address.
func reverseName(a netip.Addr, bits, step int) string {
	full, err := dns.ReverseAddr(a.String())
	if err != nil {
		return ""
	}
	skip := (a.BitLen() - bits) / step
	for range skip {
		_, full, _ = strings.Cut(full, ".")
	}
	return full
}

// apex answers for the name of a zone itself.
func (r realm) apex(q dns.Question, zone string) local {
	a := local{zone: zone, domain: r.domain}
	switch q.Qtype {
	case dns.TypeSOA, dns.TypeANY:
		a.answer = []dns.RR{soa(q.Name, r.domain)}
	case dns.TypeNS:
		a.answer = []dns.RR{&dns.NS{Hdr: header(q.Name, dns.TypeNS), Ns: gatewayName + "." + r.domain + "."}}
	}
	return a
}

func soa(zone, domain string) dns.RR {
	h := header(zone, dns.TypeSOA)
	h.Ttl = negativeTTL // RFC 2308, section 3
	return &dns.SOA{
		Hdr: h, Ns: gatewayName + "." + domain + ".", Mbox: "hostmaster." + domain + ".",
		Serial: 1, Refresh: 3600, Retry: 600, Expire: 86400, Minttl: negativeTTL, // nobody transfers the zone
	}
}

func header(name string, kind uint16) dns.RR_Header {
	return dns.RR_Header{Name: name, Rrtype: kind, Class: dns.ClassINET, Ttl: localTTL}
}

// addresses makes the records of the asked-for family.
func addresses(q dns.Question, list ...netip.Addr) []dns.RR {
	var rrs []dns.RR
	for _, a := range list {
		switch {
		case a.Is4() && (q.Qtype == dns.TypeA || q.Qtype == dns.TypeANY):
			rrs = append(rrs, &dns.A{Hdr: header(q.Name, dns.TypeA), A: a.AsSlice()})
		case a.Is6() && (q.Qtype == dns.TypeAAAA || q.Qtype == dns.TypeANY):
			rrs = append(rrs, &dns.AAAA{Hdr: header(q.Name, dns.TypeAAAA), AAAA: a.AsSlice()})
		}
	}
	return rrs
}

// ours tells whether a question's sender is in the network.
func (s *Service) ours(a netip.Addr) bool {
	if a.Is4() {
		return s.cfg.Subnet.IsValid() && ipam.CheckAddress(s.cfg.Subnet, a) == nil
	}
	return s.cfg.Subnet6.IsValid() && a != s.gateway6 && (s.cfg.Subnet6.Contains(a) || a.IsLinkLocalUnicast())
}
