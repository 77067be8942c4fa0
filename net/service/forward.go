package service

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"strings"
	"sync/atomic"
	"time"

	"github.com/miekg/dns"
)

// Times and bounds of a question to upstreams.
const (
	upstreamTry   = 2 * time.Second // each server, as long as a client's resolver waits or less
	upstreamTotal = 6 * time.Second
	maxServers    = 8
	maxStrays     = 16 // messages that are no answer, before the server is given up
)

// forwarder asks the upstream servers.
type forwarder struct {
	servers func() []netip.AddrPort
	first   atomic.Uint32 // the server that answered last, by its place
}

// newForwarder asks fixed servers, or those of the host. Never one's own addresses:
// that would be a loop.
func newForwarder(fixed []netip.AddrPort, log *slog.Logger, own ...netip.Addr) *forwarder {
	usable := func(list []netip.AddrPort) (out []netip.AddrPort) {
		for _, a := range list {
			mine := false
			for _, o := range own {
				mine = mine || o == a.Addr().Unmap()
			}
			if !mine && len(out) < maxServers {
				out = append(out, a)
			}
		}
		return out
	}
	if len(fixed) > 0 {
		fixed = usable(fixed)
		return &forwarder{servers: func() []netip.AddrPort { return fixed }}
	}
	conf := newResolvConf(hostResolvConf, log)
	return &forwarder{servers: func() []netip.AddrPort { return usable(conf.servers(time.Now())) }}
}

// forward answers a question with what an upstream says.
func (s *Service) forward(ctx context.Context, q *question, tcp bool) *dns.Msg {
	ctx, cancel := context.WithTimeout(ctx, upstreamTotal)
	defer cancel()
	got, err := s.upstream.ask(ctx, q, tcp)
	if err != nil {
		s.log.Debug("no upstream answers", "question", q.q.Name, "error", err)
		return q.fail(dns.RcodeServerFailure)
	}
	r := q.reply()
	r.Rcode, r.Truncated, r.RecursionAvailable, r.AuthenticatedData = got.Rcode, got.Truncated, got.RecursionAvailable, got.AuthenticatedData
	r.Answer, r.Ns = got.Answer, got.Ns
	for _, rr := range got.Extra {
		if opt, ok := rr.(*dns.OPT); ok {
			q.explain(r, opt)
			continue
		}
		r.Extra = append(r.Extra, rr)
	}
	if r.Rcode > 0xf && !q.edns {
		r.Rcode = dns.RcodeServerFailure // has no room without EDNS
	}
	return r
}

// explain takes over an upstream's words on what went wrong (RFC 8914). All else in an
// OPT is between it and us.
func (q *question) explain(r *dns.Msg, from *dns.OPT) {
	opt := r.IsEdns0()
	if opt == nil {
		return
	}
	for _, o := range from.Option {
		if e, ok := o.(*dns.EDNS0_EDE); ok {
			opt.Option = append(opt.Option, e)
		}
	}
}

// upstreamQuestion is the question as it goes on: made anew, with a number that nobody
// can guess, so that nothing of the guest's bytes but the question goes out.
func (q *question) upstreamQuestion() *dns.Msg {
	m := new(dns.Msg)
	m.Id = dns.Id()
	m.RecursionDesired, m.CheckingDisabled, m.AuthenticatedData = q.msg.RecursionDesired, q.msg.CheckingDisabled, q.msg.AuthenticatedData
	m.Question = []dns.Question{q.q}
	if q.edns {
		m.SetEdns0(maxUDPReply, q.dnssec)
	}
	return m
}

// ask tries one server after the other, beginning with the one that answered last.
func (f *forwarder) ask(ctx context.Context, q *question, tcp bool) (*dns.Msg, error) {
	servers := f.servers()
	if len(servers) == 0 {
		return nil, errors.New("no upstream servers")
	}
	var failed *dns.Msg
	var last error
	first := int(f.first.Load())
	for i := range servers {
		at := (first + i) % len(servers)
		got, err := askOne(ctx, servers[at], q, tcp)
		if err != nil {
			last = fmt.Errorf("%s: %w", servers[at], err)
			if ctx.Err() != nil {
				break
			}
			continue
		}
		switch got.Rcode {
		case dns.RcodeServerFailure, dns.RcodeRefused, dns.RcodeNotImplemented, dns.RcodeFormatError:
			failed = got // another may know better
			continue
		}
		f.first.Store(uint32(at))
		return got, nil
	}
	if failed != nil {
		return failed, nil
	}
	return nil, last
}

// askOne asks one server, from a socket and so from a port of the question's own.
func askOne(ctx context.Context, server netip.AddrPort, q *question, tcp bool) (*dns.Msg, error) {
	ctx, cancel := context.WithTimeout(ctx, upstreamTry)
	defer cancel()
	network := "udp"
	if tcp {
		network = "tcp"
	}
	var dialer net.Dialer
	c, err := dialer.DialContext(ctx, network, server.String())
	if err != nil {
		return nil, err
	}
	defer c.Close()
	stop := context.AfterFunc(ctx, func() { _ = c.SetDeadline(time.Unix(1, 0)) })
	defer stop()
	m := q.upstreamQuestion()
	out, err := m.Pack()
	if err != nil {
		return nil, err
	}
	if tcp {
		out = append(binary.BigEndian.AppendUint16(nil, uint16(len(out))), out...)
	}
	if _, err := c.Write(out); err != nil {
		return nil, err
	}
	buf := make([]byte, maxQuestion)
	for range maxStrays {
		var b []byte
		if tcp {
			b, err = readStream(c)
		} else {
			var n int
			n, err = c.Read(buf)
			b = buf[:n]
		}
		if err != nil {
			return nil, err
		}
		got := new(dns.Msg)
		if err := got.Unpack(b); err == nil && answers(got, m) {
			return got, nil
		}
	}
	return nil, errors.New("no answer among what it sends")
}

func readStream(c net.Conn) ([]byte, error) {
	var size [2]byte
	if _, err := io.ReadFull(c, size[:]); err != nil {
		return nil, err
	}
	b := make([]byte, binary.BigEndian.Uint16(size[:]))
	_, err := io.ReadFull(c, b)
	return b, err
}

// answers tells whether a message is the answer to a question (RFC 5452, section 9.1).
func answers(got, asked *dns.Msg) bool {
	if !got.Response || got.Id != asked.Id || got.Opcode != dns.OpcodeQuery {
		return false
	}
	if len(got.Question) == 0 {
		// Servers that could not read the question do not repeat it.
		return got.Rcode == dns.RcodeFormatError || got.Rcode == dns.RcodeNotImplemented || got.Rcode == dns.RcodeServerFailure || got.Rcode == dns.RcodeRefused
	}
	g, a := got.Question[0], asked.Question[0]
	return len(got.Question) == 1 && g.Qtype == a.Qtype && g.Qclass == a.Qclass && strings.EqualFold(g.Name, a.Name)
}
