package vswitch

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// Netlink multicast groups (linux/netfilter/nfnetlink.h, linux/rtnetlink.h).
const (
	groupNFTables = 7
	groupLink     = 1
)

// settle is how long Watch lets changes gather before it calls back.
const settle = 200 * time.Millisecond

// poll is how often Watch looks whether it shall end.
const poll = 500 * time.Millisecond

// Watch calls back when somebody else took something of ours away: deleted rules, as a
// flush of the firewall does, or an interface. What a program of our own name does to the
// rules is not told. It returns when ctx ends, without an error.
func Watch(ctx context.Context, changed func()) error {
	rules, err := subscribe(unix.NETLINK_NETFILTER, groupNFTables)
	if err != nil {
		return err
	}
	defer unix.Close(rules)
	interfaces, err := subscribe(unix.NETLINK_ROUTE, groupLink)
	if err != nil {
		return err
	}
	defer unix.Close(interfaces)
	self, err := os.ReadFile("/proc/self/comm")
	if err != nil {
		return fmt.Errorf("watch: %w", err)
	}
	w := watcher{self: bytes.TrimSpace(self), buffer: make([]byte, 1<<16)}
	for ctx.Err() == nil {
		fds := []unix.PollFd{{Fd: int32(rules), Events: unix.POLLIN}, {Fd: int32(interfaces), Events: unix.POLLIN}}
		wait := poll
		if w.dirty {
			wait = settle
		}
		n, err := unix.Poll(fds, int(wait.Milliseconds()))
		if err != nil && !errors.Is(err, unix.EINTR) {
			return fmt.Errorf("watch: %w", err)
		}
		if n <= 0 {
			if w.dirty && ctx.Err() == nil {
				w.dirty = false
				changed()
			}
			continue
		}
		for i, f := range fds {
			if f.Revents == 0 {
				continue
			}
			if err := w.read(int(f.Fd), i == 0); err != nil {
				return err
			}
		}
	}
	return nil
}

func subscribe(protocol, group int) (int, error) {
	fd, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, protocol)
	if err != nil {
		return -1, fmt.Errorf("watch: open a netlink socket: %w", err)
	}
	if err := unix.Bind(fd, &unix.SockaddrNetlink{Family: unix.AF_NETLINK, Groups: 1 << (group - 1)}); err != nil {
		return -1, errors.Join(fmt.Errorf("watch: join a netlink group: %w", err), unix.Close(fd))
	}
	return fd, nil
}

type watcher struct {
	self    []byte
	buffer  []byte
	pending bool // rules of ours went, and it is not known yet by whom
	dirty   bool
}

// read takes what a socket has.
func (w *watcher) read(fd int, rules bool) error {
	n, _, err := unix.Recvfrom(fd, w.buffer, 0)
	switch {
	case errors.Is(err, unix.ENOBUFS):
		w.dirty = true // something was missed
		return nil
	case errors.Is(err, unix.EAGAIN), errors.Is(err, unix.EINTR):
		return nil
	case err != nil:
		return fmt.Errorf("watch: %w", err)
	}
	for b := w.buffer[:n]; len(b) >= unix.NLMSG_HDRLEN; {
		length := int(binary.NativeEndian.Uint32(b))
		if length < unix.NLMSG_HDRLEN || length > len(b) {
			break
		}
		kind, body := binary.NativeEndian.Uint16(b[4:]), b[unix.NLMSG_HDRLEN:length]
		if rules {
			w.rule(kind, body)
		} else if kind == unix.RTM_DELLINK || kind == unix.RTM_NEWLINK {
			w.link(kind, body)
		}
		b = b[min(len(b), (length+3)&^3):]
	}
	return nil
}

// rule looks at one message of a transaction. The last one says who made it.
func (w *watcher) rule(kind uint16, body []byte) {
	if kind>>8 != unix.NFNL_SUBSYS_NFTABLES || len(body) < 4 {
		return
	}
	switch kind & 0xff {
	case unix.NFT_MSG_DELTABLE, unix.NFT_MSG_DELCHAIN, unix.NFT_MSG_DELRULE, unix.NFT_MSG_DELSET, unix.NFT_MSG_DELSETELEM, unix.NFT_MSG_NEWRULE:
		// The first attribute of each is the table's name.
		if string(attribute(body[4:], 1)) == tableName {
			w.pending = true
		}
	case unix.NFT_MSG_NEWGEN:
		if w.pending && !bytes.Equal(attribute(body[4:], unix.NFTA_GEN_PROC_NAME), w.self) {
			w.dirty = true
		}
		w.pending = false
	}
}

// link looks at an interface. Ours that go are told, whoever removes them: it is cheap
// to find out that all is well.
func (w *watcher) link(kind uint16, body []byte) {
	if len(body) < unix.SizeofIfInfomsg {
		return
	}
	// A bridge also tells of ports that leave it, in its own family.
	name := string(attribute(body[unix.SizeofIfInfomsg:], unix.IFLA_IFNAME))
	flags, change := binary.NativeEndian.Uint32(body[8:]), binary.NativeEndian.Uint32(body[12:])
	down := change != ^uint32(0) && change&unix.IFF_UP != 0 && flags&unix.IFF_UP == 0 // one that is new has all bits changed
	if strings.HasPrefix(name, Prefix) && (kind == unix.RTM_DELLINK || down) {
		w.dirty = true
	}
}

// attribute finds one in a list, without the zero that ends a string.
func attribute(b []byte, kind uint16) []byte {
	for len(b) >= unix.SizeofRtAttr {
		length := int(binary.NativeEndian.Uint16(b))
		if length < unix.SizeofRtAttr || length > len(b) {
			return nil
		}
		if binary.NativeEndian.Uint16(b[2:])&^(unix.NLA_F_NESTED|unix.NLA_F_NET_BYTEORDER) == kind {
			return bytes.TrimRight(b[unix.SizeofRtAttr:length], "\x00")
		}
		b = b[min(len(b), (length+3)&^3):]
	}
	return nil
}
