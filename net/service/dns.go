package service

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"net/netip"
	"sync"
	"time"

	"github.com/miekg/dns"
)

// Bounds of what is under way for guests at once: questions that wait for an upstream,
// and TCP connections.
const (
	maxForwards, maxForwardsEach = 256, 32
	maxStreams, maxStreamsEach   = 128, 8
)

// Sizes of messages, and times.
const (
	dnsHeader   = 12
	maxQuestion = 4096 // bytes of a guest's message
	maxUDPReply = 1232 // fits each IPv6 link whole
	minUDPReply = 512  // RFC 1035, section 4.2.1
	maxTCPReply = 65535

	streamIdle  = 10 * time.Second // from one question to the end of the next
	streamWrite = 5 * time.Second
	acceptPause = 100 * time.Millisecond
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
	queue := newFair[netip.Addr, waiting](maxQuestionsEach, maxQuestions)
	var wg sync.WaitGroup
	defer wg.Wait()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	wg.Go(func() {
		for {
			w, ok := queue.get(ctx)
			if !ok {
				return
			}
			s.answerUDP(ctx, &wg, c, w)
		}
	})
	buf := make([]byte, maxQuestion)
	for {
		n, from, err := c.ReadFromUDPAddrPort(buf)
		if ctx.Err() != nil {
			return nil
		}
		if err != nil {
			return err
		}
		client := from.Addr().Unmap()
		if s.ours(client.WithZone("")) {
			queue.put(client, waiting{bytes.Clone(buf[:n]), from, client})
		}
	}
}

func (s *Service) answerUDP(ctx context.Context, wg *sync.WaitGroup, c *net.UDPConn, w waiting) {
	if !s.queries.allow(w.client, time.Now()) {
		return
	}
	var q *question
	var reply *dns.Msg
	s.guard("DNS question", func() {
		if q, reply = parseQuestion(w.message); q != nil {
			reply = s.answerLocal(q)
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

func (s *Service) sendUDP(c *net.UDPConn, to netip.AddrPort, q *question, reply *dns.Msg) {
	size := minUDPReply
	if q != nil {
		size = q.size
	}
	s.guard("DNS question", func() {
		if out := pack(reply, size); out != nil {
			_, _ = c.WriteToUDPAddrPort(out, to)
		}
	})
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

// serveTCP takes connections on one socket.
func (s *Service) serveTCP(ctx context.Context, l *net.TCPListener) error {
	var wg sync.WaitGroup
	defer wg.Wait()
	for {
		c, err := l.AcceptTCP()
		if ctx.Err() != nil {
			if err == nil {
				_ = c.Close()
			}
			return nil
		}
		if errors.Is(err, net.ErrClosed) {
			return err
		}
		if err != nil {
			// Out of descriptors, or a connection that was given up before it was taken.
			select {
			case <-ctx.Done():
			case <-time.After(acceptPause):
			}
			continue
		}
		client := c.RemoteAddr().(*net.TCPAddr).AddrPort().Addr().Unmap()
		if !s.ours(client.WithZone("")) || !s.streams.enter(client) {
			_ = c.Close()
			continue
		}
		wg.Go(func() {
			defer s.streams.leave(client)
			defer c.Close()
			stop := context.AfterFunc(ctx, func() { _ = c.SetDeadline(time.Unix(1, 0)) })
			defer stop()
			s.serveStream(ctx, c, client)
		})
	}
}

// serveStream answers the questions of one connection, one after the other (RFC 7766).
func (s *Service) serveStream(ctx context.Context, c net.Conn, client netip.Addr) {
	buf := make([]byte, 2+maxQuestion)
	for ctx.Err() == nil {
		// The time is for the whole question: one that comes byte by byte must end too.
		if c.SetReadDeadline(time.Now().Add(streamIdle)) != nil {
			return
		}
		if _, err := io.ReadFull(c, buf[:2]); err != nil {
			return
		}
		n := int(binary.BigEndian.Uint16(buf))
		if n < dnsHeader || n > maxQuestion {
			return
		}
		if _, err := io.ReadFull(c, buf[:n]); err != nil || !s.queries.allow(client, time.Now()) {
			return
		}
		var out []byte
		s.guard("DNS question", func() { out = s.answerStream(ctx, buf[:n], client) })
		if out == nil || c.SetWriteDeadline(time.Now().Add(streamWrite)) != nil {
			return
		}
		if _, err := c.Write(append(binary.BigEndian.AppendUint16(nil, uint16(len(out))), out...)); err != nil {
			return
		}
	}
}

func (s *Service) answerStream(ctx context.Context, b []byte, client netip.Addr) []byte {
	q, reply := parseQuestion(b)
	if q != nil {
		reply = s.answerLocal(q)
	}
	if q != nil && reply == nil {
		if s.forwards.enter(client) {
			defer s.forwards.leave(client)
			reply = s.forward(ctx, q, true)
		} else {
			reply = q.fail(dns.RcodeServerFailure)
		}
	}
	if reply == nil {
		return nil
	}
	return pack(reply, maxTCPReply)
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
func (s *Service) answerLocal(q *question) *dns.Msg {
	if opt := q.msg.IsEdns0(); opt != nil && opt.Version() != 0 {
		return q.fail(dns.RcodeBadVers)
	}
	switch {
	case q.q.Qclass != dns.ClassINET,
		q.q.Qtype == dns.TypeAXFR, q.q.Qtype == dns.TypeIXFR, q.q.Qtype == dns.TypeOPT, q.q.Qtype == dns.TypeTSIG:
		return q.fail(dns.RcodeRefused)
	}
	a, ok := s.lookup(q.q)
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
		r.Ns = []dns.RR{s.soa(a.zone)}
	}
	return r
}
