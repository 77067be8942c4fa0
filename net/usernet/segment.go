package usernet

import (
	"gvisor.dev/gvisor/pkg/tcpip/checksum"
	"gvisor.dev/gvisor/pkg/tcpip/header"
	"gvisor.dev/gvisor/pkg/tcpip/stack"
)

// segmenter cuts a large TCP packet of the netstack into frames for a guest that
// takes no such packets any more: it has switched its offloads off while
// connections were open that had been set up for them.
type segmenter struct {
	frame []byte // the whole packet, Ethernet header included
	head  int    // length of its headers
	mss   int
	done  int // bytes of payload that were cut off
	out   []byte
}

// load takes a packet over. It must be TCP over IPv4, as the netstack makes it.
func (s *segmenter) load(p *stack.PacketBuffer) {
	s.frame, s.done = s.frame[:0], 0
	for _, part := range p.AsSlices() {
		s.frame = append(s.frame, part...)
	}
	ip := header.IPv4(s.frame[etherHeader:])
	s.head = etherHeader + int(ip.HeaderLength())
	s.head += int(header.TCP(s.frame[s.head:]).DataOffset())
	s.mss = max(int(p.GSOOptions.MSS), 1)
}

// next is the next frame, with all its checksums; nil when there is none left.
func (s *segmenter) next() []byte {
	payload := s.frame[s.head:]
	if s.head == 0 || s.done > 0 && s.done >= len(payload) {
		s.head, s.frame = 0, s.frame[:0]
		return nil
	}
	chunk := payload[s.done:min(s.done+s.mss, len(payload))]
	last := s.done+len(chunk) == len(payload)
	s.out = append(append(s.out[:0], s.frame[:s.head]...), chunk...)

	ip := header.IPv4(s.out[etherHeader:])
	ip.SetTotalLength(uint16(len(ip)))
	ip.SetID(ip.ID() + uint16(s.done/s.mss))
	ip.SetChecksum(0)
	ip.SetChecksum(^ip.CalculateChecksum())

	tcp := header.TCP(ip[ip.HeaderLength():])
	tcp.SetSequenceNumber(tcp.SequenceNumber() + uint32(s.done))
	if !last {
		tcp.SetFlags(uint8(tcp.Flags() &^ (header.TCPFlagFin | header.TCPFlagPsh)))
	}
	tcp.SetChecksum(0)
	sum := header.PseudoHeaderChecksum(header.TCPProtocolNumber, ip.SourceAddress(), ip.DestinationAddress(), uint16(len(tcp)))
	sum = checksum.Checksum(chunk, sum)
	tcp.SetChecksum(^tcp.CalculateChecksum(sum))
	if s.done += len(chunk); len(chunk) == 0 {
		s.done = 1 // a packet without payload is one frame
	}
	return s.out
}
