package service

import (
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"syscall"
	"time"

	"golang.org/x/net/bpf"
	"golang.org/x/sys/unix"
)

// link is one protocol of the bridge's wire: whole IP packets with the Ethernet
// address at the other end.
type link interface {
	// read waits for a packet. One that does not fit is cut off.
	read(buf []byte) (n int, from [6]byte, err error)
	// write sends a packet to one port, or to all with the address of a group.
	write(packet []byte, to [6]byte) error
}

// errGone says that the bridge is not there any more.
var errGone = errors.New("the bridge is gone")

// maxPacket is the size of the buffer for packets of guests: more than any client sends.
const maxPacket = 4096

// packetLink is a packet socket on the bridge. The kernel makes and takes off the
// Ethernet header (SOCK_DGRAM, packet(7)), so the sender is the address that the switch
// has checked, and an answer has the bridge's address even after that has changed.
//
// Packets come here before the host's firewall for its own traffic, so that one that
// closes all ports does not close these. It sees only what its filter lets through, and
// the filter is locked: whoever takes over the process cannot listen to more.
type packetLink struct {
	file  *os.File
	conn  syscall.RawConn
	index int
	proto uint16 // EtherType
}

func openLink(index int, proto uint16, filter []bpf.Instruction) (*packetLink, error) {
	// With protocol 0 nothing comes before the filter is there.
	fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
	if err != nil {
		return nil, fmt.Errorf("packet socket: %w: run as root", err)
	}
	l := &packetLink{index: index, proto: proto}
	if err := l.setUp(fd, filter); err != nil {
		return nil, errors.Join(fmt.Errorf("packet socket: %w", err), unix.Close(fd))
	}
	l.file = os.NewFile(uintptr(fd), "packet socket")
	if l.conn, err = l.file.SyscallConn(); err != nil {
		return nil, errors.Join(err, l.file.Close())
	}
	return l, nil
}

func (l *packetLink) setUp(fd int, filter []bpf.Instruction) error {
	raw, err := bpf.Assemble(filter)
	if err != nil {
		return err
	}
	if err := attach(fd, raw); err != nil {
		return fmt.Errorf("attach filter: %w", err)
	}
	if err := unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_LOCK_FILTER, 1); err != nil {
		return fmt.Errorf("lock filter: %w", err)
	}
	return unix.Bind(fd, &unix.SockaddrLinklayer{Protocol: bigEndian(l.proto), Ifindex: l.index})
}

// attach gives a socket its filter.
func attach(fd int, raw []bpf.RawInstruction) error {
	code := make([]unix.SockFilter, len(raw))
	for i, r := range raw {
		code[i] = unix.SockFilter{Code: r.Op, Jt: r.Jt, Jf: r.Jf, K: r.K}
	}
	return unix.SetsockoptSockFprog(fd, unix.SOL_SOCKET, unix.SO_ATTACH_FILTER, &unix.SockFprog{Len: uint16(len(code)), Filter: &code[0]})
}

// bigEndian is a number as sockaddr_ll has it.
func bigEndian(v uint16) uint16 {
	var b [2]byte
	binary.BigEndian.PutUint16(b[:], v)
	return binary.NativeEndian.Uint16(b[:])
}

func (l *packetLink) read(buf []byte) (n int, from [6]byte, err error) {
	for {
		var sender unix.Sockaddr
		var errno error
		err = l.conn.Read(func(fd uintptr) bool {
			n, sender, errno = unix.Recvfrom(int(fd), buf, 0)
			return !errors.Is(errno, unix.EAGAIN) && !errors.Is(errno, unix.EINTR)
		})
		if err == nil {
			err = errno
		}
		if errors.Is(err, unix.ENETDOWN) {
			// Said once when the bridge is set down, and when it goes away.
			if err := l.exists(); err != nil {
				return 0, from, err
			}
			continue
		}
		if err != nil {
			return 0, from, err
		}
		if ll, ok := sender.(*unix.SockaddrLinklayer); ok && l.wanted(ll) {
			copy(from[:], ll.Addr[:])
			return n, from, nil
		}
	}
}

// wanted leaves out what the host sends and what only passes by.
func (l *packetLink) wanted(from *unix.SockaddrLinklayer) bool {
	switch from.Pkttype {
	case unix.PACKET_HOST, unix.PACKET_BROADCAST, unix.PACKET_MULTICAST:
		return from.Halen == 6
	}
	return false
}

// exists asks whether the bridge is still there, with no more rights than any process.
func (l *packetLink) exists() error {
	// The address of the socket is the interface's index, -1 when that is gone.
	var bound unix.Sockaddr
	var errno error
	if err := l.conn.Control(func(fd uintptr) { bound, errno = unix.Getsockname(int(fd)) }); err != nil {
		return err
	}
	if errno != nil {
		return errno
	}
	if ll, ok := bound.(*unix.SockaddrLinklayer); !ok || ll.Ifindex != l.index {
		return errGone
	}
	return nil
}

func (l *packetLink) write(packet []byte, to [6]byte) error {
	addr := &unix.SockaddrLinklayer{Protocol: bigEndian(l.proto), Ifindex: l.index, Halen: 6}
	copy(addr.Addr[:], to[:])
	var errno error
	// What the queue has no room for is lost, as on any wire: clients ask again.
	err := l.conn.Control(func(fd uintptr) { errno = unix.Sendto(int(fd), packet, unix.MSG_DONTWAIT, addr) })
	return errors.Join(err, errno)
}

// stop ends a read that waits, and all that come.
func (l *packetLink) stop() { _ = l.file.SetReadDeadline(time.Unix(1, 0)) }

func (l *packetLink) close() error { return l.file.Close() }

// Offsets of the fields that the filters look at, from the start of the IP header.
const (
	offFragment = 6
	offProto4   = 9
	offNext6    = 6
)

// accept is more than any packet has.
const accept = 1 << 16

// filter4 lets IPv4 packets to the port of DHCP servers through.
func filter4() []bpf.Instruction {
	return []bpf.Instruction{
		bpf.LoadAbsolute{Off: offProto4, Size: 1},
		bpf.JumpIf{Cond: bpf.JumpNotEqual, Val: protoUDP, SkipTrue: 6},
		bpf.LoadAbsolute{Off: offFragment, Size: 2},
		bpf.JumpIf{Cond: bpf.JumpBitsSet, Val: ipv4MoreFragments | ipv4OffsetMask, SkipTrue: 4},
		bpf.LoadMemShift{Off: 0},
		bpf.LoadIndirect{Off: 2, Size: 2},
		bpf.JumpIf{Cond: bpf.JumpNotEqual, Val: dhcp4ServerPort, SkipTrue: 1},
		bpf.RetConstant{Val: accept},
		bpf.RetConstant{Val: 0},
	}
}

// filter6 lets IPv6 packets to the port of DHCPv6 servers and router solicitations
// through.
func filter6() []bpf.Instruction {
	return []bpf.Instruction{
		bpf.LoadAbsolute{Off: offNext6, Size: 1},
		bpf.JumpIf{Cond: bpf.JumpEqual, Val: protoICMPv6, SkipTrue: 3},
		bpf.JumpIf{Cond: bpf.JumpNotEqual, Val: protoUDP, SkipTrue: 5},
		bpf.LoadAbsolute{Off: ipv6Header + 2, Size: 2},
		bpf.JumpIf{Cond: bpf.JumpEqual, Val: dhcp6ServerPort, SkipTrue: 2, SkipFalse: 3},
		bpf.LoadAbsolute{Off: ipv6Header, Size: 1},
		bpf.JumpIf{Cond: bpf.JumpNotEqual, Val: icmpRouterSolicitation, SkipTrue: 1},
		bpf.RetConstant{Val: accept},
		bpf.RetConstant{Val: 0},
	}
}

// filterNone lets nothing through.
func filterNone() []bpf.Instruction { return []bpf.Instruction{bpf.RetConstant{Val: 0}} }
