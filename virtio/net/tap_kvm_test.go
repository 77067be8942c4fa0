package net

import (
	"bytes"
	"encoding/binary"
	"os"
	"strconv"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/gureum/gureum/net/tap"
	"github.com/gureum/gureum/virtio"
	"github.com/gureum/gureum/virtio/virtiotest"
)

// The tests here need root, /dev/net/tun and /dev/vhost-net, so they run in the
// lab.

const etherType = 0x88b5 // for experiments (IEEE 802)

// wire is the host's end of a tap: a packet socket on the interface.
func wire(t *testing.T, name string) (fd int, to *unix.SockaddrLinklayer) {
	t.Helper()
	text, err := os.ReadFile("/sys/class/net/" + name + "/ifindex")
	if err != nil {
		t.Fatal(err)
	}
	index, err := strconv.Atoi(strings.TrimSpace(string(text)))
	if err != nil {
		t.Fatal(err)
	}
	proto := uint16(etherType>>8 | etherType&0xff<<8)
	fd, err = unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, int(proto))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = unix.Close(fd) })
	to = &unix.SockaddrLinklayer{Protocol: proto, Ifindex: index}
	if err := unix.Bind(fd, to); err != nil {
		t.Fatal(err)
	}
	if err := unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &unix.Timeval{Sec: 20}); err != nil {
		t.Fatal(err)
	}
	return fd, to
}

func etherFrame(n int, fill byte) []byte {
	f := append([]byte{0xff, 0xff, 0xff, 0xff, 0xff, 0xff}, testMAC[:]...)
	f = binary.BigEndian.AppendUint16(f, etherType)
	return append(f, bytes.Repeat([]byte{fill}, n)...)
}

// TestKVMTap sends and receives by a real tap, with the frames moved here and by
// the kernel: the driver sees the same.
func TestKVMTap(t *testing.T) {
	for name, mode := range map[string]VhostMode{"vhost off": VhostOff, "vhost on": VhostOn} {
		t.Run(name, func(t *testing.T) { tapBothWays(t, mode) })
	}
}

func tapBothWays(t *testing.T, mode VhostMode) {
	back, err := tap.Open(tap.Config{Name: "gurv%d", Queues: 2})
	if err != nil {
		t.Fatal(err)
	}
	dev, err := New(Config{Backend: back, MAC: testMAC, Vhost: mode})
	if err != nil {
		t.Fatal(err)
	}
	d := virtiotest.New(t, dev)
	fd, to := wire(t, back.Name())
	for round := range byte(3) { // with a reset between
		d.Start(virtiotest.AllFeatures)
		if dev.InKernel() != (mode == VhostOn) {
			t.Fatalf("in the kernel: %v", dev.InKernel())
		}
		if a := give(d, 4, classRX, cmdRXPromisc, []byte{1}); a != ackOK {
			t.Errorf("answer %d", a)
		}
		sendOut(t, d, fd, round)
		receiveIn(t, d, fd, to, round)
		for n := range 2 {
			d.Core.ResetQueue(n) // each ring alone
		}
		d.SetUpQueues()
		sendOut(t, d, fd, round+100)
		receiveIn(t, d, fd, to, round+100)
		if err := dev.SetLink(false); err != nil {
			t.Error(err)
		}
		if err := dev.SetLink(true); err != nil {
			t.Error(err)
		}
		receiveIn(t, d, fd, to, round+50)
		d.Reset()
	}
}

func sendOut(t *testing.T, d *virtiotest.Driver, fd int, fill byte) {
	t.Helper()
	out := etherFrame(1000, fill)
	d.Queue(1).Do([][]byte{make([]byte, HeaderSize), out[:20], out[20:]})
	buf := make([]byte, 2000)
	n, err := unix.Read(fd, buf)
	if err != nil || !bytes.Equal(buf[:n], out) {
		t.Fatalf("%d bytes, %v", n, err)
	}
}

// receiveIn sends a frame on the host's side until the guest has got it: the host's
// stack has frames of its own for the guest.
func receiveIn(t *testing.T, d *virtiotest.Driver, fd int, to *unix.SockaddrLinklayer, fill byte) {
	t.Helper()
	q := d.Queue(0)
	in := etherFrame(1400, fill)
	var reqs []*virtiotest.Request
	d.Eventually("a frame of the host's comes", func() bool {
		if len(reqs) < 100 {
			reqs = append(reqs, q.Submit(nil, 800), q.Submit(nil, 800)) // a frame needs two
			q.Kick()
		}
		if err := unix.Sendto(fd, in, 0, to); err != nil {
			t.Fatal(err)
		}
		for _, r := range reqs {
			if q.Done(r) && bytes.Contains(r.Writable(0), in[14:500]) {
				return true
			}
		}
		return false
	})
}

// TestKVMVhostBroken breaks a ring in the kernel's hands.
func TestKVMVhostBroken(t *testing.T) {
	back, err := tap.Open(tap.Config{Name: "gurv%d"})
	if err != nil {
		t.Fatal(err)
	}
	dev, err := New(Config{Backend: back, MAC: testMAC, Vhost: VhostOn})
	if err != nil {
		t.Fatal(err)
	}
	d := virtiotest.New(t, dev)
	d.Start(virtiotest.AllFeatures)
	d.Queue(1).Publish(60000)
	d.Queue(1).Kick()
	d.Eventually("the device needs a reset", func() bool { return d.Core.Status()&virtio.StatusNeedsReset != 0 })
	d.Start(virtiotest.AllFeatures)
}
