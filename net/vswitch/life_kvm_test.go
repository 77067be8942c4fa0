package vswitch

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/nftables"
	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"

	"github.com/gureum/gureum/net/tap"
)

func flushRuleset(t testing.TB) {
	t.Helper()
	c, err := nftables.New()
	must(t, err)
	c.FlushRuleset()
	must(t, c.Flush())
}

// check expects the state to be as it shall.
func check(t testing.TB, s State) {
	t.Helper()
	found, err := Check(s)
	must(t, err)
	if len(found) > 0 {
		t.Errorf("not as it shall be: %s", strings.Join(found, "; "))
	}
}

// TestKVMTapForItsOwner attaches with virtio-net headers, without privilege, to what
// songgao/water made.
func TestKVMTapForItsOwner(t *testing.T) {
	ns := isolate(t)
	n := testNetwork(1)
	one, four := testPort(n, 1), testPort(n, 2)
	four.Queues = 4
	must(t, Apply(State{Networks: []Network{n}, Ports: []Port{one, four}}))
	as := func(uid, gid int, p Port) error {
		return elsewhere(ns, func() error {
			seeInterfaces(t)
			// Of this thread only, which ends.
			for call, id := range map[uintptr]int{unix.SYS_SETGROUPS: 0, unix.SYS_SETRESGID: gid} {
				if _, _, errno := unix.RawSyscall(call, uintptr(id), uintptr(id), uintptr(id)); errno != 0 {
					return errno
				}
			}
			if _, _, errno := unix.RawSyscall(unix.SYS_SETRESUID, uintptr(uid), uintptr(uid), uintptr(uid)); errno != 0 {
				return errno
			}
			w, err := tap.Open(tap.Config{Name: p.Tap, Queues: max(1, p.Queues)})
			if err != nil {
				return err
			}
			if w.Made() || w.Offloads()&unix.TUN_F_TSO4 == 0 || w.Pairs() != max(1, p.Queues) {
				err = fmt.Errorf("made %v, offloads %#x, %d queues", w.Made(), w.Offloads(), w.Pairs())
			}
			return errors.Join(err, w.Close())
		})
	}
	for _, p := range []Port{one, four} {
		if err := as(p.UID, p.GID, p); err != nil {
			t.Errorf("the owner of %s: %v", p.Tap, err)
		}
		if err := as(p.UID+1, p.GID, p); !errors.Is(err, unix.EPERM) {
			t.Errorf("another user attaches to %s: %v", p.Tap, err)
		}
	}
	if err := as(one.UID, one.GID, testPort(n, 9)); !errors.Is(err, unix.EPERM) {
		t.Errorf("the owner makes another tap: %v", err)
	}
}

// TestKVMFlush shows that Apply brings rules and interfaces back while guests stay
// attached, and that Watch tells when it is time.
func TestKVMFlush(t *testing.T) {
	isolate(t)
	n := testNetwork(1)
	a, b := testPort(n, 1), testPort(n, 2)
	s := State{Networks: []Network{n}, Ports: []Port{a, b}}
	must(t, Apply(s))
	check(t, s)
	must(t, Apply(s))
	check(t, s)
	from, to := a.wire(t), b.wire(t)
	spoofed := a.eth(b.MAC, 0x0800, ip4(addr("10.88.1.77"), b.IP, unix.IPPROTO_UDP, 0, udp(1, 2, []byte("x"))))
	if from.reaches(to, spoofed) {
		t.Error("a spoofed frame comes through")
	}
	ctx, cancel := context.WithCancel(context.Background())
	var calls atomic.Int32
	watch := watcherOf(t, ctx, &calls)
	must(t, Apply(s)) // ours: not told
	time.Sleep(3 * settle)
	if k := calls.Load(); k != 0 {
		t.Errorf("Watch told %d times of what we did ourselves", k)
	}
	flushAsAnother(t)
	for end := time.Now().Add(10 * time.Second); calls.Load() == 0 && time.Now().Before(end); {
		time.Sleep(10 * time.Millisecond)
	}
	if calls.Load() == 0 {
		t.Error("Watch did not tell of a flush")
	}
	cancel()
	must(t, <-watch)
	if found, err := Check(s); err != nil || len(found) == 0 {
		t.Errorf("Check after a flush: %v, %v", found, err)
	}
	if !from.reaches(to, spoofed) {
		t.Error("after a flush nothing comes through: the trial shows nothing")
	}
	must(t, Apply(s))
	check(t, s)
	if from.reaches(to, spoofed) {
		t.Error("a spoofed frame comes through after Apply")
	}
	// Interfaces are mended as well.
	l, err := netlink.LinkByName(b.Tap)
	must(t, err)
	must(t, netlink.LinkSetNoMaster(l))
	bridge, err := netlink.LinkByName(BridgeName(n.ID))
	must(t, err)
	must(t, netlink.LinkSetDown(bridge))
	if found, err := Check(s); err != nil || len(found) != 3 { // IPv6 addresses go when an interface is switched off
		t.Errorf("Check: %v, %v", found, err)
	}
	must(t, Apply(s))
	check(t, s)
}

func watcherOf(t testing.TB, ctx context.Context, calls *atomic.Int32) chan error {
	t.Helper()
	ns, err := netns.Get()
	must(t, err)
	done := make(chan error, 1)
	go func() {
		done <- elsewhere(ns, func() error { return Watch(ctx, func() { calls.Add(1) }) })
		_ = ns.Close()
	}()
	time.Sleep(100 * time.Millisecond)
	return done
}

// flushAsAnother does it in a thread with another name, as nft would.
func flushAsAnother(t testing.TB) {
	t.Helper()
	self, err := os.ReadFile("/proc/thread-self/comm")
	must(t, err)
	must(t, os.WriteFile("/proc/thread-self/comm", []byte("nft"), 0))
	flushRuleset(t)
	must(t, os.WriteFile("/proc/thread-self/comm", self, 0))
}

// TestKVMOthersRules leaves what is not ours as it is.
func TestKVMOthersRules(t *testing.T) {
	isolate(t)
	c, err := nftables.New()
	must(t, err)
	policy := nftables.ChainPolicyDrop
	docker := c.AddTable(&nftables.Table{Name: "filter", Family: nftables.TableFamilyIPv4})
	c.AddChain(&nftables.Chain{
		Name: "FORWARD", Table: docker, Type: nftables.ChainTypeFilter, Policy: &policy,
		Hooknum: nftables.ChainHookForward, Priority: nftables.ChainPriorityFilter,
	})
	must(t, c.Flush())
	must(t, os.WriteFile(sysctlRoot+"/ipv4/ip_forward", []byte("0"), 0))
	n := testNetwork(1)
	must(t, AddNetwork(n))
	found, err := Advice()
	must(t, err)
	if len(found) != 1 || !strings.Contains(found[0].String(), "DOCKER-USER") {
		t.Errorf("advice: %q", found)
	}
	must(t, RemoveNetwork(n.ID))
	tables, err := c.ListTables()
	must(t, err)
	if len(tables) != 1 || tables[0].Name != "filter" {
		t.Errorf("tables: %v", tables)
	}
	if v, _ := readSysctl(forward4); v != "1" {
		t.Error("forwarding was switched off though somebody else forwards")
	}
}

// TestKVMOneByOne makes and removes what Apply would.
func TestKVMOneByOne(t *testing.T) {
	isolate(t)
	before := portrait(t)
	n, m := testNetwork(1), testNetwork(2)
	a, b := testPort(n, 1), testPort(m, 2)
	a.Publish = []Publish{{HostPort: 8080, GuestPort: 80}}
	must(t, errors.Join(AddNetwork(n), AddNetwork(m), AddNetwork(n), AddPort(n, a), AddPort(m, b), AddPort(n, a)))
	check(t, State{Networks: []Network{n, m}, Ports: []Port{a, b}})
	// The same host port again: refused, and nothing is left of it.
	c := testPort(m, 3)
	c.Publish = []Publish{{HostPort: 8080, GuestPort: 80}}
	if err := AddPort(m, c); err == nil || !strings.Contains(err.Error(), "published already") {
		t.Errorf("publish twice: %v", err)
	}
	check(t, State{Networks: []Network{n, m}, Ports: []Port{a, b}})
	// Another address and owner for the same tap.
	a.IP, a.IP6, a.Publish, a.UID = addr("10.88.1.50"), addr("fd00:0:0:1::50"), nil, 5000
	must(t, AddPort(n, a))
	check(t, State{Networks: []Network{n, m}, Ports: []Port{a, b}})
	must(t, RemovePort(a.Tap))
	must(t, RemovePort(a.Tap))
	must(t, RemovePort("gur-ffffffff-7"))
	check(t, State{Networks: []Network{n, m}, Ports: []Port{b}})
	must(t, RemoveNetwork(m.ID)) // with its port
	check(t, State{Networks: []Network{n}})
	must(t, errors.Join(RemoveNetwork(n.ID), RemoveNetwork(n.ID)))
	if found, err := Leftovers(); err != nil || len(found) > 0 {
		t.Errorf("left over: %v, %v", found, err)
	}
	same(t, before)
}

func same(t testing.TB, before string) {
	t.Helper()
	if after := portrait(t); after != before {
		old := strings.Split(before, "\n")
		for _, line := range strings.Split(after, "\n") {
			if !strings.Contains(before, line+"\n") {
				t.Errorf("new: %s", line)
			}
		}
		for _, line := range old {
			if !strings.Contains(after, line) {
				t.Errorf("gone: %s", line)
			}
		}
		t.Errorf("the host is not as it was")
	}
}

// killEnv makes a child run a scene in its parent's network namespace, and die at a step.
const killEnv = "GUREUM_TEST_KILL"

func scene(name string) error {
	n, m := testNetwork(1), testNetwork(2)
	a, b := testPort(n, 1), testPort(m, 2)
	a.Publish = []Publish{{HostPort: 8080, GuestPort: 80}}
	switch name {
	case "apply":
		return Apply(State{Networks: []Network{n, m}, Ports: []Port{a, b}})
	case "add":
		return errors.Join(AddNetwork(n), AddPort(n, a))
	case "remove":
		return errors.Join(RemovePort(a.Tap), RemoveNetwork(n.ID), RemoveNetwork(m.ID))
	case "nothing":
		return Apply(State{})
	}
	return fmt.Errorf("no scene %q", name)
}

func TestMain(m *testing.M) {
	if v := os.Getenv(killEnv); v != "" {
		f := strings.Split(v, ",")
		last, _ := strconv.Atoi(f[1])
		runDir = f[2]
		count := 0
		step = func(string) {
			if count++; count == last {
				_ = unix.Kill(unix.Getpid(), unix.SIGKILL)
				select {}
			}
		}
		if err := scene(f[0]); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	os.Exit(m.Run())
}

// killedAt runs a scene until the given step. It tells whether there is no such step.
func killedAt(t testing.TB, name string, last int) (over bool) {
	t.Helper()
	runtime.LockOSThread() // a child gets the namespace of the thread that starts it
	cmd := exec.Command("/proc/self/exe")
	cmd.Env = append(os.Environ(), fmt.Sprintf("%s=%s,%d,%s", killEnv, name, last, runDir))
	out, err := cmd.CombinedOutput()
	if err == nil {
		return true
	}
	var exit *exec.ExitError
	if !errors.As(err, &exit) || exit.Success() || exit.Exited() {
		t.Fatalf("%s, step %d: %v: %s", name, last, err, out)
	}
	return false
}

// Whatever changes the kernel is killed after each change. Then the state is reached from
// there, and nothing is.
func TestKVMKilledApply(t *testing.T)   { killed(t, "apply", false) }
func TestKVMKilledAdd(t *testing.T)     { killed(t, "add", false) }
func TestKVMKilledRemove(t *testing.T)  { killed(t, "remove", true) }
func TestKVMKilledNothing(t *testing.T) { killed(t, "nothing", true) }

func killed(t *testing.T, name string, fromFull bool) {
	isolate(t)
	must(t, AddNetwork(testNetwork(9))) // what modules the kernel loads is there now
	must(t, Apply(State{}))
	before := portrait(t)
	n, m := testNetwork(1), testNetwork(2)
	a, b := testPort(n, 1), testPort(m, 2)
	a.Publish = []Publish{{HostPort: 8080, GuestPort: 80}}
	full := State{Networks: []Network{n, m}, Ports: []Port{a, b}}
	last := 1
	for over := false; !over; last++ {
		if fromFull {
			must(t, Apply(full))
		}
		over = killedAt(t, name, last)
		if last%3 == 0 { // on to all of it, before nothing
			must(t, Apply(full))
			check(t, full)
		}
		must(t, Apply(State{}))
		same(t, before)
		if t.Failed() {
			t.Fatalf("step %d", last)
		}
	}
	t.Logf("killed %d times", last-2)
	if last < 7 {
		t.Errorf("only %d steps: are there fault points at all?", last-2)
	}
}

// TestKVMManyPorts measures.
func TestKVMManyPorts(t *testing.T) {
	isolate(t)
	n := testNetwork(1)
	s := State{Networks: []Network{n}}
	must(t, AddNetwork(n))
	const ports = 200
	var first, last time.Duration
	for i := range ports {
		p := testPort(n, i+1)
		s.Ports = append(s.Ports, p)
		start := time.Now()
		must(t, AddPort(n, p))
		switch took := time.Since(start); {
		case i < 20:
			first += took / 20
		case i >= ports-20:
			last += took / 20
		}
	}
	start := time.Now()
	check(t, s)
	checked := time.Since(start)
	start = time.Now()
	must(t, Apply(s))
	again := time.Since(start)
	check(t, s)
	f, err := openFirewall()
	must(t, err)
	for _, e := range [][]element{n.elements(), s.Ports[0].elements(n)} {
		f.messages = 0
		must(t, f.queue(e, f.conn.SetAddElements))
		t.Logf("%d elements in %d messages of one batch", len(e), f.messages)
	}
	must(t, f.close())
	start = time.Now()
	must(t, RemovePort(s.Ports[0].Tap))
	removed := time.Since(start)
	start = time.Now()
	must(t, Apply(State{}))
	t.Logf("AddPort: %v each for the first 20, %v for the last 20 of %d; Check %v, Apply again %v, RemovePort %v, Apply(nothing) %v",
		first, last, ports, checked, again, removed, time.Since(start))
}
