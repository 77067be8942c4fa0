package load

import (
	"fmt"
	"io"
	"net"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// talkPatience is how long Ask waits, for the connection and for the answer.
const talkPatience = 20 * time.Second

// WhoAmI tells whoever asks which address they come from, by TCP and by UDP, until it is
// killed.
func WhoAmI(address string) error {
	datagrams, err := net.ListenPacket("udp", address)
	if err != nil {
		return err
	}
	defer datagrams.Close()
	streams, err := net.Listen("tcp", address)
	if err != nil {
		return err
	}
	defer streams.Close()
	go func() {
		b := make([]byte, 1)
		for {
			_, from, err := datagrams.ReadFrom(b)
			if err != nil {
				return
			}
			_, _ = datagrams.WriteTo([]byte(hostOf(from)), from)
		}
	}()
	for {
		conn, err := streams.Accept()
		if err != nil {
			return err
		}
		_, _ = io.WriteString(conn, hostOf(conn.RemoteAddr()))
		_ = conn.Close()
	}
}

func hostOf(a net.Addr) string {
	host, _, _ := net.SplitHostPort(a.String())
	return strings.TrimPrefix(host, "::ffff:")
}

// Ask asks WhoAmI at an address and writes the answer. network is tcp or udp.
func Ask(network, address string, out io.Writer) error {
	conn, err := net.DialTimeout(network, address, talkPatience)
	if err != nil {
		return err
	}
	defer conn.Close()
	if err := conn.SetDeadline(time.Now().Add(talkPatience)); err != nil {
		return err
	}
	if network == "udp" {
		if _, err := conn.Write([]byte("?")); err != nil {
			return err
		}
	}
	b := make([]byte, 100)
	n, err := conn.Read(b)
	if n == 0 {
		return fmt.Errorf("%s %s: no answer: %w", network, address, err)
	}
	_, err = fmt.Fprintf(out, "%s\n", b[:n])
	return err
}

// Mark sends a datagram to all who are on a device's network.
func Mark(device, mark string) error {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	if err := unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_BROADCAST, 1); err != nil {
		return err
	}
	if err := unix.BindToDevice(fd, device); err != nil {
		return fmt.Errorf("%s: %w", device, err)
	}
	all := &unix.SockaddrInet4{Addr: [4]byte{255, 255, 255, 255}, Port: discardPort}
	if err := unix.Sendto(fd, []byte(mark), 0, all); err != nil {
		return fmt.Errorf("%s: send to all: %w", device, err)
	}
	return nil
}

// discardPort is that of the discard protocol (RFC 863).
const discardPort = 9
