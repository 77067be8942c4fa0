package service

// A network as the switch makes it, in network namespaces of the test's own: a host with
// a bridge, guests on veth pairs, and nothing of the machine's.

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"

	"github.com/gureum/gureum/net/dump"
	"github.com/gureum/gureum/net/ipam"
)

const labBridge = "gur-test"

var bridgeMAC = net.HardwareAddr{0x02, 0, 0, 0, 0, 1}

// space is a network namespace that is gone with the test.
type space struct {
	t      testing.TB
	handle netns.NsHandle
	*netlink.Handle
}

func newSpace(t testing.TB) *space {
	t.Helper()
	s := &space{t: t}
	done := make(chan error)
	go func() {
		// The thread ends with its goroutine: it is in another namespace for good.
		runtime.LockOSThread()
		var err error
		s.handle, err = netns.New()
		done <- err
	}()
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	var err error
	if s.Handle, err = netlink.NewHandleAt(s.handle); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		s.Close()
		if err := s.handle.Close(); err != nil {
			t.Error(err)
		}
	})
	s.up("lo")
	return s
}

// do runs something in the namespace; sockets and processes that it makes are of it.
func (s *space) do(f func() error) error {
	done := make(chan error)
	go func() {
		runtime.LockOSThread()
		if err := netns.Set(s.handle); err != nil {
			done <- err
			return
		}
		done <- f()
	}()
	return <-done
}

func (s *space) must(what string, err error) {
	s.t.Helper()
	if err != nil {
		s.t.Fatalf("%s: %v", what, err)
	}
}

func (s *space) link(name string) netlink.Link {
	s.t.Helper()
	l, err := s.LinkByName(name)
	s.must(name, err)
	return l
}

func (s *space) up(name string) {
	s.t.Helper()
	s.must("up "+name, s.LinkSetUp(s.link(name)))
}

func (s *space) addr(name, addr string, flags int) {
	s.t.Helper()
	a, err := netlink.ParseAddr(addr)
	s.must(addr, err)
	a.Flags = flags
	s.must(addr, s.AddrAdd(s.link(name), a))
}

// lab is a host with a network.
type lab struct {
	t     testing.TB
	host  *space
	dir   string
	hosts string
	count int
}

func newLab(t testing.TB) *lab {
	t.Helper()
	before := links(t)
	t.Cleanup(func() {
		if after := links(t); after != before {
			t.Errorf("links %s, before %s", after, before)
		}
	})
	l := &lab{t: t, host: newSpace(t), dir: t.TempDir()}
	// Others may go through, as below the folder of a network's state, but see nothing.
	for d := l.dir; strings.HasPrefix(d, os.TempDir()+"/"); d = filepath.Dir(d) {
		if err := os.Chmod(d, 0o711); err != nil {
			t.Fatal(err)
		}
	}
	l.hosts = filepath.Join(l.dir, "net", "hosts.json")
	for _, d := range []string{"net", "root"} {
		if err := os.Mkdir(filepath.Join(l.dir, d), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	l.makeBridge()
	return l
}

func (l *lab) makeBridge() {
	l.t.Helper()
	attrs := netlink.NewLinkAttrs()
	attrs.Name, attrs.HardwareAddr = labBridge, bridgeMAC
	l.host.must("bridge", l.host.LinkAdd(&netlink.Bridge{LinkAttrs: attrs}))
	l.host.addr(labBridge, "10.88.3.1/24", 0)
	l.host.addr(labBridge, "fd12:3456:789a::1/64", unix.IFA_F_NODAD)
	l.host.up(labBridge)
}

// links names those of the namespace that the tests are in.
func links(t testing.TB) string {
	t.Helper()
	list, err := dump.Whole(netlink.LinkList)
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, l := range list {
		names = append(names, l.Attrs().Name)
	}
	return strings.Join(names, " ")
}

// guest adds a port with a guest behind it, whose interface is eth0. It is not up yet.
func (l *lab) guest(mac [6]byte) *space {
	l.t.Helper()
	g := newSpace(l.t)
	l.count++
	attrs := netlink.NewLinkAttrs()
	attrs.Name = fmt.Sprintf("gur-%d", l.count)
	veth := &netlink.Veth{LinkAttrs: attrs, PeerName: "eth0", PeerHardwareAddr: mac[:], PeerNamespace: netlink.NsFd(g.handle)}
	l.host.must("veth", l.host.LinkAdd(veth))
	port := l.host.link(attrs.Name)
	l.host.must("port", l.host.LinkSetMaster(port, l.host.link(labBridge)))
	l.host.up(attrs.Name)
	// As the switch does: who has the address is not learned.
	l.host.must("FDB", l.host.NeighSet(&netlink.Neigh{
		LinkIndex: port.Attrs().Index, Family: unix.AF_BRIDGE, State: netlink.NUD_NOARP, Flags: netlink.NTF_MASTER, HardwareAddr: mac[:],
	}))
	return g
}

// running is a service as a process without rights.
type running struct {
	t      testing.TB
	cmd    *exec.Cmd
	log    *lockedBuffer
	exited chan error
	over   bool
}

type lockedBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (b *lockedBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.Write(p)
}

func (b *lockedBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.String()
}

// serve runs the network's service until the end of the test.
func (l *lab) serve(cfg Config) *running {
	l.t.Helper()
	cfg.Bridge, cfg.Hosts = labBridge, l.hosts
	text, err := json.Marshal(childConfig{Config: cfg, Root: filepath.Join(l.dir, "root")})
	if err != nil {
		l.t.Fatal(err)
	}
	r := &running{t: l.t, cmd: exec.Command("/proc/self/exe"), log: &lockedBuffer{}, exited: make(chan error, 1)}
	r.cmd.Env = append(os.Environ(), childEnv+"="+string(text))
	r.cmd.Stderr = r.log
	out, err := r.cmd.StdoutPipe()
	if err != nil {
		l.t.Fatal(err)
	}
	if err := l.host.do(r.cmd.Start); err != nil {
		l.t.Fatal(err)
	}
	line, err := bufio.NewReader(out).ReadString('\n')
	go func() { r.exited <- r.cmd.Wait() }()
	l.t.Cleanup(r.stop)
	if err != nil || line != "ready\n" {
		l.t.Fatalf("the service does not start: %q, %v: %s", line, err, r.log)
	}
	return r
}

func (r *running) stop() {
	if r.over {
		return
	}
	_ = r.cmd.Process.Signal(syscall.SIGTERM)
	if err := r.wait(time.Minute); err != nil {
		r.t.Errorf("service: %v: %s", err, r.log)
	}
}

func (r *running) wait(limit time.Duration) error {
	r.over = true
	select {
	case err := <-r.exited:
		return err
	case <-time.After(limit):
		return errors.Join(errors.New("does not end"), r.cmd.Process.Kill(), <-r.exited)
	}
}

// labHosts are two guests of the test's.
func labHosts() []Host {
	hosts := testHosts()
	hosts[1].IP6 = ipam.EUI64(subnet6, dbMAC)
	return hosts
}

// eventually waits for what takes the kernel or another process its time.
func eventually(t testing.TB, what string, ok func() bool) {
	t.Helper()
	for deadline := time.Now().Add(time.Minute); !ok(); {
		if time.Now().After(deadline) {
			t.Fatalf("%s: not in a minute", what)
		}
		time.Sleep(50 * time.Millisecond)
	}
}
