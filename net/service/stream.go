package service

import (
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

// Bounds of the TCP connections, in all and of one guest.
const maxStreams, maxStreamsEach = 128, 8

// Times of a TCP connection.
const (
	streamIdle  = 10 * time.Second // from one question to the end of the next
	streamWrite = 5 * time.Second
	acceptPause = 100 * time.Millisecond
)

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
			// Not by a deadline: serveStream sets new ones.
			stop := context.AfterFunc(ctx, func() { _ = c.Close() })
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
		reply = s.answerLocal(q, client)
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
