package service

import (
	"bytes"
	"context"
	"encoding/binary"
	"net"
	"net/netip"
	"sync"
	"syscall"
	"time"

	"github.com/miekg/dns"
	"golang.org/x/sys/unix"
)

// Bounds of the questions that wait for an upstream, in all and of one guest.
const maxForwards, maxForwardsEach = 256, 32

// Sizes of messages.
const (
	dnsHeader   = 12
	maxQuestion = 4096 // bytes of a guest's message
	maxUDPReply = 1232 // fits each IPv6 link whole
	minUDPReply = 512  // RFC 1035, section 4.2.1
	maxTCPReply = 65535
)

// waiting is a question by UDP that waits for its answer.
type waiting struct {
	message []byte
	from    netip.AddrPort
	client  netip.Addr
}

// serveUDP answers questions that come to one socket: one goroutine takes them in,
// another answers, by turns. What the hosts file knows is answered at once; what an
// upstream must be asked, by a goroutine for each question, of which there are few (see
// gate).
func (s *Service) serveUDP(ctx context.Context, c *net.UDPConn) error {
	out, err := c.SyscallConn()
	if err != nil {
		return err
	}
	var wg sync.WaitGroup
	defer wg.Wait()
	buf := make([]byte, maxQuestion)
	take := func() (client netip.Addr, w waiting, wanted bool, err error) {
		n, from, err := c.ReadFromUDPAddrPort(buf)
		if err != nil {
			return client, w, false, err
		}
		client = from.Addr().Unmap()
		return client, waiting{bytes.Clone(buf[:n]), from, client}, s.ours(client.WithZone("")), nil
	}
	return newFair[netip.Addr, waiting](maxQuestionsEach, maxQuestions).byTurns(ctx, take, func(ctx context.Context, w waiting) {
		s.answerUDP(ctx, &wg, out, w)
	})
}

func (s *Service) answerUDP(ctx context.Context, wg *sync.WaitGroup, c syscall.RawConn, w waiting) {
	if !s.queries.allow(w.client, time.Now()) {
		return
	}
	var q *question
	var reply *dns.Msg
	s.guard("DNS question", func() {
		if q, reply = parseQuestion(w.message); q != nil {
			reply = s.answerLocal(q, w.client)
		}
	})
	if q == nil && reply == nil {
		return
	}
	if reply == nil && !s.forwards.enter(w.client) {
		reply = q.fail(dns.RcodeServerFailure)
	}
	if reply != nil {
		s.sendUDP(c, w.from, q, reply)
		return
	}
	wg.Go(func() {
		defer s.forwards.leave(w.client)
		s.guard("DNS question", func() { s.sendUDP(c, w.from, q, s.forward(ctx, q, false)) })
	})
}

// sendUDP sends an answer if it can be sent at once: nobody waits for a guest.
func (s *Service) sendUDP(c syscall.RawConn, to netip.AddrPort, q *question, reply *dns.Msg) {
	size := minUDPReply
	if q != nil {
		size = q.size
	}
	s.guard("DNS question", func() {
		if out := pack(reply, size); out != nil {
			_ = c.Control(func(fd uintptr) { _ = unix.Sendto(int(fd), out, unix.MSG_DONTWAIT, s.sockaddr(to)) })
		}
	})
}

func (s *Service) sockaddr(to netip.AddrPort) unix.Sockaddr {
	if a := to.Addr(); !a.Is4() {
		sa := &unix.SockaddrInet6{Port: int(to.Port()), Addr: a.As16()}
		if a.IsLinkLocalUnicast() {
			sa.ZoneId = uint32(s.index)
		}
		return sa
	}
	return &unix.SockaddrInet4{Port: int(to.Port()), Addr: to.Addr().As4()}
}

// pack writes a reply, cut to a size if need be (RFC 2181, section 9).
func pack(reply *dns.Msg, size int) []byte {
	reply.Truncate(size)
	out, err := reply.Pack()
	if err != nil {
		// What an upstream sent can be read but not written: say so.
		failed := new(dns.Msg)
		failed.Id, failed.Response, failed.Rcode, failed.Question = reply.Id, true, dns.RcodeServerFailure, reply.Question
		out, _ = failed.Pack()
	}
	return out
}

// question is what a guest asks, checked.
type question struct {
	msg    *dns.Msg
	q      dns.Question
	edns   bool
	dnssec bool // DO
	size   int  // of the reply by UDP
}

// parseQuestion takes a guest's message apart. A nil question with a reply is one that
// is refused; without, one that gets no answer.
func parseQuestion(b []byte) (*question, *dns.Msg) {
	if len(b) < dnsHeader {
		return nil, nil
	}
	id, flags := binary.BigEndian.Uint16(b), binary.BigEndian.Uint16(b[2:])
	if flags&(1<<15) != 0 {
		return nil, nil // an answer: to answer it would make a loop
	}
	opcode := int(flags >> 11 & 0xf)
	refuse := func(rcode int) (*question, *dns.Msg) {
		r := new(dns.Msg)
		r.Id, r.Response, r.Opcode, r.Rcode = id, true, opcode, rcode
		r.RecursionDesired = flags&(1<<8) != 0
		return nil, r
	}
	if opcode != dns.OpcodeQuery {
		return refuse(dns.RcodeNotImplemented)
	}
	// One question, nothing that is for answers, and an OPT (or a signature): the counts
	// are looked at before anything is taken apart.
	if b[4] != 0 || b[5] != 1 || binary.BigEndian.Uint32(b[6:]) != 0 || binary.BigEndian.Uint16(b[10:]) > 2 {
		return refuse(dns.RcodeFormatError)
	}
	m := new(dns.Msg)
	if err := m.Unpack(b); err != nil || len(m.Question) != 1 {
		return refuse(dns.RcodeFormatError)
	}
	q := &question{msg: m, q: m.Question[0], size: minUDPReply}
	if opt := m.IsEdns0(); opt != nil {
		q.edns, q.dnssec = true, opt.Do()
		q.size = min(max(int(opt.UDPSize()), minUDPReply), maxUDPReply)
		if opt.Version() != 0 {
			return q, q.fail(dns.RcodeBadVers)
		}
	}
	return q, nil
}

// reply is an empty answer to a question.
func (q *question) reply() *dns.Msg {
	r := new(dns.Msg)
	r.SetReply(q.msg)
	r.Compress = true
	if q.edns {
		r.SetEdns0(maxUDPReply, q.dnssec) // RFC 6891, section 6.1.1: between us and the guest
	}
	return r
}

func (q *question) fail(rcode int) *dns.Msg {
	r := q.reply()
	r.Rcode = rcode
	return r
}

// answerLocal gives the answers for which no upstream is asked; nil when one must be.
// Which names there are depends on who asks.
func (s *Service) answerLocal(q *question, client netip.Addr) *dns.Msg {
	if opt := q.msg.IsEdns0(); opt != nil && opt.Version() != 0 {
		return q.fail(dns.RcodeBadVers)
	}
	switch {
	case q.q.Qclass != dns.ClassINET,
		q.q.Qtype == dns.TypeAXFR, q.q.Qtype == dns.TypeIXFR, q.q.Qtype == dns.TypeOPT, q.q.Qtype == dns.TypeTSIG:
		return q.fail(dns.RcodeRefused)
	}
	a, ok := s.lookup(q.q, client)
	if !ok {
		if s.cfg.Internal {
			return q.fail(dns.RcodeRefused)
		}
		return nil
	}
	r := q.fail(a.rcode)
	r.Authoritative, r.RecursionAvailable = true, !s.cfg.Internal
	r.Answer = a.answer
	if len(a.answer) == 0 && a.zone != "" {
		r.Ns = []dns.RR{soa(a.zone, a.domain)}
	}
	return r
}
