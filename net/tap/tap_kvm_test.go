package tap

// The tests here need root and /dev/net/tun, so they run in the lab.

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

func TestKVMOpenRefuses(t *testing.T) {
	for _, cfg := range []Config{
		{Name: "a/b"},
		{Name: "gurtest", Queues: -1},
		{Name: "gurtest", Queues: MaxQueues + 1},
		{Name: "lo"},
		{Name: "gurtest", MTU: 100000},
	} {
		tap, err := Open(cfg)
		if err == nil {
			t.Errorf("%+v: no error", cfg)
			_ = tap.Close()
		}
		if exists("gurtest") {
			t.Errorf("%+v: left behind", cfg)
		}
	}
}

// open makes a tap of a name of its own.
func open(t testing.TB, queues, mtu int) *Tap {
	t.Helper()
	tap, err := Open(Config{Name: "gurt%d", Queues: queues, MTU: mtu})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := tap.Close(); err != nil {
			t.Error(err)
		}
		if exists(tap.Name()) {
			t.Errorf("%s is left behind", tap.Name())
		}
	})
	return tap
}

// wire is the host's end of a tap: a packet socket on the interface.
type wire struct {
	t     testing.TB
	fd    int
	index int
}

const etherType = 0x88b5 // for experiments (IEEE 802)

func newWire(t testing.TB, tap *Tap) *wire {
	t.Helper()
	fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, int(htons(etherType)))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = unix.Close(fd) })
	var index int
	text, err := os.ReadFile("/sys/class/net/" + tap.Name() + "/ifindex")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := fmt.Sscan(string(text), &index); err != nil {
		t.Fatal(err)
	}
	if err := unix.Bind(fd, &unix.SockaddrLinklayer{Protocol: htons(etherType), Ifindex: index}); err != nil {
		t.Fatal(err)
	}
	tv := unix.Timeval{Sec: 5}
	if err := unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &tv); err != nil {
		t.Fatal(err)
	}
	return &wire{t, fd, index}
}

func htons(v uint16) uint16 { return v<<8 | v>>8 }

func (w *wire) send(frame []byte) {
	w.t.Helper()
	if err := unix.Sendto(w.fd, frame, 0, &unix.SockaddrLinklayer{Ifindex: w.index, Protocol: htons(etherType)}); err != nil {
		w.t.Fatal(err)
	}
}

func (w *wire) receive() []byte {
	w.t.Helper()
	buf := make([]byte, 2000)
	n, err := unix.Read(w.fd, buf)
	if err != nil {
		w.t.Fatal(err)
	}
	return buf[:n]
}

var broadcast = [6]byte{0xff, 0xff, 0xff, 0xff, 0xff, 0xff}

func frame(to [6]byte, n int, fill byte) []byte {
	f := append(append([]byte{}, to[:]...), 2, 0, 0, 0, 0, 9)
	f = binary.BigEndian.AppendUint16(f, etherType)
	return append(f, bytes.Repeat([]byte{fill}, n)...)
}

// next reads frames until one is of our kind: the host's own, of IPv6, come too.
func next(t testing.TB, tap *Tap, pair int) []byte {
	t.Helper()
	for {
		head, body := make([]byte, headerSize+3), make([]byte, 3000)
		n, err := tap.Readv(pair, [][]byte{head, body}, true)
		if err != nil {
			t.Fatal(err)
		}
		if n == 0 {
			return nil
		}
		f := append(head[headerSize:], body...)[:n-headerSize]
		if binary.BigEndian.Uint16(f[12:]) == etherType {
			return f
		}
	}
}

func TestKVMFramesBothWays(t *testing.T) {
	tap := open(t, 1, 1400)
	w := newWire(t, tap)
	mtu, err := os.ReadFile("/sys/class/net/" + tap.Name() + "/mtu")
	if err != nil || strings.TrimSpace(string(mtu)) != "1400" {
		t.Errorf("MTU %q, %v", mtu, err)
	}
	want := frame(broadcast, 500, 1)
	w.send(want)
	if got := next(t, tap, 0); !bytes.Equal(got, want) {
		t.Errorf("received % x", got)
	}
	out := frame(broadcast, 600, 2)
	n, err := tap.Writev(0, [][]byte{make([]byte, headerSize), out[:100], out[100:]}, false)
	if err != nil || n != headerSize+len(out) {
		t.Fatalf("%d, %v", n, err)
	}
	if got := w.receive(); !bytes.Equal(got, out) {
		t.Errorf("sent % x", got)
	}
	if tap.Offloads()&unix.TUN_F_TSO4 == 0 || !tap.Made() {
		t.Errorf("offloads %#x, made %v", tap.Offloads(), tap.Made())
	}
	if _, err := tap.Writev(0, [][]byte{make([]byte, headerSize), {1, 2, 3}}, false); err == nil {
		t.Error("a frame of 3 bytes was sent")
	}
}

func TestKVMWake(t *testing.T) {
	tap := open(t, 1, 0)
	for range 3 {
		done := make(chan error, 1)
		go func() {
			for {
				n, err := tap.Readv(0, [][]byte{make([]byte, 2000)}, true)
				if n == 0 {
					done <- err
					return
				}
			}
		}()
		time.Sleep(5 * time.Millisecond)
		tap.Wake(0)
		if err := <-done; err != nil {
			t.Fatal(err)
		}
	}
	w := newWire(t, tap)
	w.send(frame(broadcast, 60, 3)) // a wake-up is used up by one call
	if next(t, tap, 0) == nil {
		t.Error("woken again")
	}
}

func TestKVMFilter(t *testing.T) {
	tap := open(t, 1, 0)
	w := newWire(t, tap)
	mine, other := [6]byte{2, 0, 0, 0, 0, 1}, [6]byte{2, 0, 0, 0, 0, 2}
	if err := tap.SetFilter(Filter{Addresses: [][6]byte{mine, broadcast}}); err != nil {
		t.Fatal(err)
	}
	w.send(frame(other, 60, 1))
	w.send(frame(mine, 60, 2))
	if got := next(t, tap, 0); got[20] != 2 {
		t.Errorf("got % x", got)
	}
	if err := tap.SetFilter(Filter{All: true}); err != nil {
		t.Fatal(err)
	}
	w.send(frame(other, 60, 3))
	if got := next(t, tap, 0); got[20] != 3 {
		t.Errorf("got % x", got)
	}
}

func TestKVMCarrier(t *testing.T) {
	tap := open(t, 1, 0)
	for _, up := range []bool{false, true} {
		if err := tap.SetCarrier(up); err != nil {
			t.Fatal(err)
		}
		text, err := os.ReadFile("/sys/class/net/" + tap.Name() + "/carrier")
		if err != nil || strings.TrimSpace(string(text)) == "1" != up {
			t.Errorf("carrier %q, %v", text, err)
		}
	}
}

func TestKVMQueues(t *testing.T) {
	tap := open(t, 3, 0)
	w := newWire(t, tap)
	for _, n := range []int{1, 3, 2, 1, 3} {
		if err := tap.SetPairs(n); err != nil {
			t.Fatal(err)
		}
	}
	if err := tap.SetPairs(1); err != nil {
		t.Fatal(err)
	}
	for i := range 20 { // whatever the kernel hashes, there is one queue only
		f := frame(broadcast, 60, byte(i))
		f[11] = byte(i)
		w.send(f)
		if got := next(t, tap, 0); got[20] != byte(i) {
			t.Fatalf("frame %d: % x", i, got)
		}
	}
	if n, err := tap.Readv(2, [][]byte{make([]byte, 2000)}, false); n != 0 || err != nil {
		t.Errorf("a queue that is off got %d bytes, %v", n, err)
	}
}

func TestKVMPersistentIsLeft(t *testing.T) {
	for _, multi := range []bool{false, true} {
		first, err := Open(Config{Name: "gurp%d", Queues: map[bool]int{false: 1, true: 2}[multi]})
		if err != nil {
			t.Fatal(err)
		}
		if err := unix.IoctlSetInt(first.FD(0), unix.TUNSETPERSIST, 1); err != nil {
			t.Fatal(err)
		}
		if err := first.Close(); err != nil {
			t.Fatal(err)
		}
		second, err := Open(Config{Name: first.Name()})
		if err != nil {
			t.Fatal(err)
		}
		if second.Made() {
			t.Error("an interface that was there is said to be made")
		}
		if !multi {
			if _, err := Open(Config{Name: first.Name()}); !errors.Is(err, unix.EBUSY) {
				t.Errorf("opened twice: %v", err)
			}
		}
		if err := unix.IoctlSetInt(second.FD(0), unix.TUNSETPERSIST, 0); err != nil {
			t.Fatal(err)
		}
		if err := second.Close(); err != nil {
			t.Fatal(err)
		}
		if exists(first.Name()) {
			t.Error("left behind")
		}
	}
}

func TestKVMNoAllocation(t *testing.T) {
	tap := open(t, 1, 0)
	iov := [][]byte{make([]byte, headerSize), frame(broadcast, 1000, 1)}
	buf := [][]byte{make([]byte, 3000)}
	allocs := testing.AllocsPerRun(200, func() {
		if _, err := tap.Writev(0, iov, false); err != nil {
			t.Error(err)
		}
		if _, err := tap.Readv(0, buf, false); err != nil {
			t.Error(err)
		}
	})
	if allocs != 0 {
		t.Errorf("%v allocations a frame", allocs)
	}
	w := newWire(t, tap)
	f := frame(broadcast, 1000, 1)
	to := &unix.SockaddrLinklayer{Ifindex: w.index, Protocol: htons(etherType)}
	allocs = testing.AllocsPerRun(200, func() {
		if err := unix.Sendto(w.fd, f, 0, to); err != nil {
			t.Error(err)
		}
		if _, err := tap.Readv(0, buf, true); err != nil {
			t.Error(err)
		}
	})
	if allocs != 0 {
		t.Errorf("%v allocations a frame that is waited for", allocs)
	}
}

// A queue whose frames vhost-net moves must not wake the process up for them.
func TestKVMOnlyWhoWaitsIsPolled(t *testing.T) {
	tap := open(t, 1, 0)
	w := newWire(t, tap)
	polled := func() bool {
		t.Helper()
		infos, err := filepath.Glob("/proc/self/fdinfo/*")
		if err != nil {
			t.Fatal(err)
		}
		for _, info := range infos {
			text, err := os.ReadFile(info)
			if err != nil {
				continue // closed in the meantime
			}
			for line := range strings.Lines(string(text)) {
				var fd int
				if n, _ := fmt.Sscanf(line, "tfd: %d", &fd); n == 1 && sameFile(t, fd, tap.FD(0)) {
					return true
				}
			}
		}
		return false
	}
	w.send(frame(broadcast, 50, 1))
	buf := [][]byte{make([]byte, 3000)}
	if n, err := tap.Readv(0, buf, false); n == 0 || err != nil || polled() {
		t.Errorf("without a wait: %d bytes, %v, polled %v", n, err, polled())
	}
	tap.Wake(0)
	for range 100 { // the host's own frames come too
		n, err := tap.Readv(0, buf, true)
		if err != nil {
			t.Fatal(err)
		}
		if n == 0 {
			break
		}
	}
	if !polled() {
		t.Error("the test finds no queue that is polled")
	}
}

// sameFile tells whether two descriptors are of one open file.
func sameFile(t testing.TB, a, b int) bool {
	t.Helper()
	const kcmpFile = 0
	pid := uintptr(os.Getpid())
	r, _, errno := unix.Syscall6(unix.SYS_KCMP, pid, pid, kcmpFile, uintptr(a), uintptr(b), 0)
	return errno == 0 && r == 0
}
