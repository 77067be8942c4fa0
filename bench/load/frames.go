package load

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// frameGap is the time between two frames, so that no queue on the way is ever full.
const frameGap = 2 * time.Millisecond

// SendFrames sends Ethernet frames as they are, one a line in hexadecimal (packet(7)).
func SendFrames(device string, in io.Reader) error {
	fd, index, err := frameSocket(device)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	lines := bufio.NewScanner(in)
	for n := 1; lines.Scan(); n++ {
		frame, err := hex.DecodeString(lines.Text())
		if err != nil {
			return fmt.Errorf("line %d: %w", n, err)
		}
		to := &unix.SockaddrLinklayer{Ifindex: index}
		if err := unix.Sendto(fd, frame, 0, to); err != nil {
			return fmt.Errorf("send the frame of line %d: %w", n, err)
		}
		time.Sleep(frameGap)
	}
	return lines.Err()
}

// ListenFrames writes all frames that a device receives, whoever they are for, one a line
// in hexadecimal, until one contains the mark.
func ListenFrames(device string, mark []byte, out io.Writer) error {
	fd, index, err := frameSocket(device)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	all := &unix.PacketMreq{Ifindex: int32(index), Type: unix.PACKET_MR_PROMISC}
	if err := unix.SetsockoptPacketMreq(fd, unix.SOL_PACKET, unix.PACKET_ADD_MEMBERSHIP, all); err != nil {
		return os.NewSyscallError("setsockopt", err)
	}
	// The kernel takes a VLAN's tag off before it shows a frame, and tells it apart.
	if err := unix.SetsockoptInt(fd, unix.SOL_PACKET, unix.PACKET_AUXDATA, 1); err != nil {
		return os.NewSyscallError("setsockopt", err)
	}
	if _, err := fmt.Fprintln(out, "listening"); err != nil {
		return err
	}
	frame, oob := make([]byte, 1<<16), make([]byte, 256)
	for {
		n, oobn, _, from, err := unix.Recvmsg(fd, frame, oob, 0)
		if errors.Is(err, unix.EINTR) {
			continue
		}
		if err != nil {
			return os.NewSyscallError("recvmsg", err)
		}
		if ll, is := from.(*unix.SockaddrLinklayer); is && ll.Pkttype == unix.PACKET_OUTGOING {
			continue
		}
		text := hex.EncodeToString(withTag(frame[:n], oob[:oobn]))
		if _, err := fmt.Fprintln(out, text); err != nil {
			return err
		}
		if bytes.Contains(frame[:n], mark) {
			return nil
		}
	}
}

// Flags of struct tpacket_auxdata and where its fields are (linux/if_packet.h).
const (
	vlanValid     = 1 << 4
	vlanTPIDValid = 1 << 6
	auxTCI        = 16
	auxTPID       = 18
	auxSize       = 20
)

// withTag puts a VLAN's tag back to where it was.
func withTag(frame, oob []byte) []byte {
	messages, err := unix.ParseSocketControlMessage(oob)
	if err != nil {
		return frame
	}
	for _, m := range messages {
		if m.Header.Level != unix.SOL_PACKET || m.Header.Type != unix.PACKET_AUXDATA || len(m.Data) < auxSize {
			continue
		}
		status := binary.NativeEndian.Uint32(m.Data)
		if status&vlanValid == 0 {
			continue
		}
		tpid := uint16(unix.ETH_P_8021Q)
		if status&vlanTPIDValid != 0 {
			tpid = binary.NativeEndian.Uint16(m.Data[auxTPID:])
		}
		tag := binary.BigEndian.AppendUint16(nil, tpid)
		tag = binary.BigEndian.AppendUint16(tag, binary.NativeEndian.Uint16(m.Data[auxTCI:]))
		return append(append(append([]byte{}, frame[:12]...), tag...), frame[12:]...)
	}
	return frame
}

// frameSocket is a socket that sends and receives all frames of a device.
func frameSocket(device string) (fd, index int, err error) {
	i, err := net.InterfaceByName(device)
	if err != nil {
		return -1, 0, fmt.Errorf("%s: %w", device, err)
	}
	all := uint16(unix.ETH_P_ALL)<<8 | uint16(unix.ETH_P_ALL)>>8 // as on the wire
	fd, err = unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, int(all))
	if err != nil {
		return -1, 0, os.NewSyscallError("socket", err)
	}
	if err := unix.Bind(fd, &unix.SockaddrLinklayer{Protocol: all, Ifindex: i.Index}); err != nil {
		return -1, 0, errors.Join(os.NewSyscallError("bind", err), unix.Close(fd))
	}
	return fd, i.Index, nil
}
