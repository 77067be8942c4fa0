package service

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"net/netip"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/gureum/gureum/net/ipam"
)

var (
	webMAC  = [6]byte{0x02, 0, 0, 0, 0, 0x10}
	dbMAC   = [6]byte{0x02, 0, 0, 0, 0, 0x11}
	subnet4 = netip.MustParsePrefix("10.88.3.0/24")
	subnet6 = netip.MustParsePrefix("fd12:3456:789a::/64")
)

func testHosts() []Host {
	return []Host{
		{Name: "Web", MAC: webMAC, IP: netip.MustParseAddr("10.88.3.2"), IP6: ipam.EUI64(subnet6, webMAC)},
		{Name: "db.prod", MAC: dbMAC, IP: netip.MustParseAddr("10.88.3.3")},
	}
}

func testConfig() Config {
	return Config{Bridge: "gur-test", Network: "Lan", Subnet: subnet4, Subnet6: subnet6, MTU: 1500, Upstreams: []netip.AddrPort{netip.MustParseAddrPort("127.0.0.1:9")}}
}

// newTest makes a service without sockets that knows testHosts.
func newTest(t testing.TB, cfg Config) *Service {
	t.Helper()
	cfg.Hosts = filepath.Join(t.TempDir(), "hosts.json")
	if err := WriteHosts(cfg.Hosts, testHosts()); err != nil {
		t.Fatal(err)
	}
	s := newService(cfg)
	s.mac = [6]byte{0x02, 0, 0, 0, 0, 1}
	s.linkLocal = ipam.LinkLocal(s.mac)
	var err error
	if s.hosts, err = openHosts(cfg.Hosts, s.log); err != nil {
		t.Fatal(err)
	}
	s.sockets = &sockets{}
	return s
}

// newClosed makes one that the test does not run.
func newClosed(t testing.TB, cfg Config) *Service {
	t.Helper()
	s := newTest(t, cfg)
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return s
}

// wire is a link whose other end is the test.
type wire struct {
	in   chan frame
	out  chan frame
	done chan struct{}
	once sync.Once
}

type frame struct {
	mac    [6]byte
	packet []byte
}

func newWire() *wire {
	return &wire{in: make(chan frame), out: make(chan frame, 64), done: make(chan struct{})}
}

func (w *wire) read(buf []byte) (int, [6]byte, error) {
	select {
	case f := <-w.in:
		return copy(buf, f.packet), f.mac, nil
	case <-w.done:
		return 0, [6]byte{}, net.ErrClosed
	}
}

func (w *wire) write(packet []byte, to [6]byte) error {
	select {
	case w.out <- frame{to, packet}:
		return nil
	default:
		return errors.New("full")
	}
}

func (w *wire) end() { w.once.Do(func() { close(w.done) }) }

func TestRunAnswersAndEnds(t *testing.T) {
	s := newTest(t, testConfig())
	w4, w6 := newWire(), newWire()
	s.link4, s.link6 = w4, w6
	ctx, cancel := context.WithCancel(t.Context())
	result := make(chan error)
	go func() { result <- s.Run(ctx) }()
	if f := <-w6.out; f.mac != allNodesMAC {
		t.Errorf("first advertisement to %x", f.mac)
	}
	w4.in <- frame{webMAC, discover(t, webMAC)}
	if f := <-w4.out; f.mac != webMAC {
		t.Errorf("offer to %x", f.mac)
	}
	w6.in <- frame{webMAC, solicitation("::", nil)}
	if f := <-w6.out; f.mac != webMAC {
		t.Errorf("advertisement to %x", f.mac)
	}
	cancel()
	w4.end()
	w6.end()
	if err := <-result; err != nil {
		t.Error(err)
	}
	if err := s.Close(); err != nil {
		t.Errorf("closed twice: %v", err)
	}
}

// TestRunFails holds that one part that cannot go on ends the whole, with its error.
func TestRunFails(t *testing.T) {
	s := newTest(t, testConfig())
	w4, w6 := newWire(), newWire()
	s.link4, s.link6 = w4, w6
	w4.end()
	go func() {
		<-w6.out
		time.Sleep(10 * time.Millisecond)
		w6.end()
	}()
	err := s.Run(t.Context())
	if !errors.Is(err, net.ErrClosed) || !strings.Contains(err.Error(), "Lan") {
		t.Errorf("%v", err)
	}
}

// TestGuard holds that a fault in a parser does not end the service.
func TestGuard(t *testing.T) {
	var log strings.Builder
	cfg := testConfig()
	cfg.Log = slog.New(slog.NewTextHandler(&log, nil))
	s := newClosed(t, cfg)
	w := newWire()
	result := make(chan error)
	go func() {
		result <- s.serve(t.Context(), w, func([]byte, [6]byte, time.Time) []byte { panic("a fault") })
	}()
	for range 3 * logBurst {
		w.in <- frame{webMAC, nil}
	}
	w.end()
	if err := <-result; !errors.Is(err, net.ErrClosed) {
		t.Error(err)
	}
	if n := strings.Count(log.String(), "fault=\"a fault\""); n != logBurst {
		t.Errorf("%d lines: %s", n, log.String())
	}
}

func TestValidate(t *testing.T) {
	for _, c := range []struct {
		change func(*Config)
		err    string
	}{
		{func(*Config) {}, ""},
		{func(c *Config) { c.Subnet6 = netip.Prefix{}; c.MTU = 576 }, ""},
		{func(c *Config) { c.Subnet = netip.Prefix{} }, ""},
		{func(c *Config) { c.Bridge = "" }, "no bridge"},
		{func(c *Config) { c.Hosts = "" }, "no hosts file"},
		{func(c *Config) { c.Network = "a.b" }, "no dots"},
		{func(c *Config) { c.Network = "a b" }, "not a letter"},
		{func(c *Config) { c.Subnet, c.Subnet6 = netip.Prefix{}, netip.Prefix{} }, "no subnet"},
		{func(c *Config) { c.Subnet = subnet6 }, "not IPv4"},
		{func(c *Config) { c.Subnet6 = netip.MustParsePrefix("fd00::/60") }, "64 bits"},
		{func(c *Config) { c.MTU = 1279 }, "MTU 1279"},
		{func(c *Config) { c.MTU = 65536 }, "MTU 65536"},
	} {
		cfg := testConfig()
		cfg.Hosts = "/run/hosts.json"
		c.change(&cfg)
		err := cfg.Validate()
		if c.err == "" && err != nil || c.err != "" && (err == nil || !strings.Contains(err.Error(), c.err)) {
			t.Errorf("%+v: %v, want %q", cfg, err, c.err)
		}
	}
	if _, err := Open(Config{}); err == nil {
		t.Error("Open takes anything")
	}
}

func TestLimiter(t *testing.T) {
	l := newLimiter[int](10, 3, 2)
	now := time.Unix(1000, 0)
	count := func(client int) (n int) {
		for l.allow(client, now) {
			n++
		}
		return n
	}
	if a, b := count(1), count(2); a != 3 || b != 3 {
		t.Errorf("at once: %d, %d", a, b)
	}
	if l.allow(3, now) {
		t.Error("more clients than there is room for")
	}
	now = now.Add(200 * time.Millisecond)
	if n := count(1); n != 2 {
		t.Errorf("after 0.2 s: %d", n)
	}
	now = now.Add(time.Hour)
	if !l.allow(3, now) || len(l.clients) > 2 {
		t.Errorf("clients that are idle are kept: %d", len(l.clients))
	}
}

func TestGate(t *testing.T) {
	g := newGate[string](2, 3)
	enter := func(client string, want bool) {
		t.Helper()
		if g.enter(client) != want {
			t.Errorf("%s: %v", client, !want)
		}
	}
	enter("a", true)
	enter("a", true)
	enter("a", false)
	enter("b", true)
	enter("b", false)
	g.leave("a")
	enter("b", true)
	g.leave("a")
	g.leave("b")
	g.leave("b")
	if len(g.now) != 0 || g.total != 0 {
		t.Errorf("%+v", g.now)
	}
}

// TestFair holds that lines are bounded and move by turns.
func TestFair(t *testing.T) {
	f := newFair[string, int](3, 5)
	var put []bool
	for i, client := range []string{"a", "a", "a", "a", "b", "c", "d"} {
		put = append(put, f.put(client, i))
	}
	if want := []bool{true, true, true, false, true, true, false}; !slices.Equal(put, want) {
		t.Errorf("taken: %v, want %v", put, want)
	}
	var got []int
	for range 5 {
		v, ok := f.get(t.Context())
		if !ok {
			t.Fatal("nothing")
		}
		got = append(got, v)
		if v == 0 && !f.put("e", 7) {
			t.Error("no room after one is gone")
		}
	}
	if want := []int{0, 4, 5, 1, 7}; !slices.Equal(got, want) {
		t.Errorf("%v, want %v", got, want)
	}
	if v, ok := f.next(); v != 2 || !ok || f.total != 0 || len(f.lines) != 0 {
		t.Errorf("%d, %v; left %+v", v, ok, f.lines)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan bool)
	go func() {
		_, ok := f.get(ctx)
		done <- ok
		_, ok = f.get(ctx)
		done <- ok
	}()
	f.put("a", 9)
	if !<-done {
		t.Error("what comes later is not got")
	}
	cancel()
	if <-done {
		t.Error("something after the end")
	}
}
