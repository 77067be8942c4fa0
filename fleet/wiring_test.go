package fleet

import (
	"context"
	"encoding/json"
	"errors"
	"math/rand/v2"
	"net/http"
	"net/netip"
	"os"
	"reflect"
	"slices"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/gureum/gureum/fleet/api"
	"github.com/gureum/gureum/fleet/spec"
	"github.com/gureum/gureum/fleet/state"
	"github.com/gureum/gureum/net/ipam"
	"github.com/gureum/gureum/net/service"
	"github.com/gureum/gureum/vm"
)

// wired is a fleet with networks and a machine that does not run.
func wired(t *testing.T, net ...string) (*Fleet, *state.VM) {
	t.Helper()
	f := testFleet(t)
	ctx := context.Background()
	for _, n := range []NetworkSpec{
		{Name: "red", Subnet: "10.210.1.0/24", Subnet6: "fd00:0:0:1::/64"},
		{Name: "blue", Subnet: "10.210.2.0/24", Subnet6: "none"},
		{Name: "inside", Subnet: "10.210.3.0/24", Internal: true},
	} {
		if _, err := f.CreateNetwork(ctx, n); err != nil {
			t.Fatal(err)
		}
	}
	return f, makeOn(t, f, "web", net...)
}

func makeOn(t *testing.T, f *Fleet, name string, net ...string) *state.VM {
	t.Helper()
	record, err := f.Create(context.Background(), spec.Spec{Name: name, CPUs: 1, Memory: "64M", Net: net})
	if err != nil {
		t.Fatal(err)
	}
	return record
}

func networkID(t *testing.T, f *Fleet, name string) string {
	t.Helper()
	n, err := f.Dirs.FindNetwork(name)
	if err != nil {
		t.Fatal(err)
	}
	return n.ID
}

func TestConnectMachineThatDoesNotRun(t *testing.T) {
	f, made := wired(t, "user", "red,bps=1M", "blue")
	ctx := context.Background()
	port, err := f.ConnectNetwork(ctx, "inside", "web", Address{IP: "10.210.3.77"})
	if err != nil || port.IP.String() != "10.210.3.77" || port.NIC != 3 || port.Network != networkID(t, f, "inside") {
		t.Fatalf("%+v, %v", port, err)
	}
	got, err := f.Get("web")
	if err != nil {
		t.Fatal(err)
	}
	if want := []string{"user", "red,bps=1M", "blue", "inside,ip=10.210.3.77"}; !slices.Equal(got.Spec.Net, want) {
		t.Errorf("%q, want %q", got.Spec.Net, want)
	}
	if !slices.Equal(got.Ports, append(slices.Clone(made.Ports), port)) {
		t.Errorf("%+v became %+v", made.Ports, got.Ports)
	}
	// The others keep their addresses, and have the numbers of the definition.
	if err := f.DisconnectNetwork(ctx, "red", "web"); err != nil {
		t.Fatal(err)
	}
	if got, err = f.Get("web"); err != nil {
		t.Fatal(err)
	}
	blue, inside := made.Ports[1], port
	blue.NIC, blue.Tap = 1, tapName(made.ID, 1)
	inside.NIC, inside.Tap = 2, tapName(made.ID, 2)
	if want := []state.Port{blue, inside}; !slices.Equal(got.Ports, want) || strings.Join(got.Spec.Net, " ") != "user blue inside,ip=10.210.3.77" {
		t.Errorf("%q, %+v, want %+v", got.Spec.Net, got.Ports, want)
	}
	// What it has no more is free for others.
	if other := makeOn(t, f, "db", "red"); other.Ports[0].IP != made.Ports[0].IP {
		t.Errorf("%s", other.Ports[0].IP)
	}
	// And a new one collides with none of its own that it kept.
	port, err = f.ConnectNetwork(ctx, "red", "web", Address{})
	if err != nil || port.MAC == blue.MAC || port.MAC == inside.MAC || port.IP6 != ipam.EUI64(netip.MustParsePrefix("fd00:0:0:1::/64"), mustMAC(t, port.MAC)) {
		t.Errorf("%+v, %v", port, err)
	}
	for _, n := range []string{"red", "blue", "inside"} {
		if err := f.DisconnectNetwork(ctx, n, "web"); err != nil {
			t.Error(err)
		}
	}
	if got, _ = f.Get("web"); len(got.Ports) != 0 || !slices.Equal(got.Spec.Net, []string{"user"}) {
		t.Errorf("%+v", got.VM)
	}
}

func mustMAC(t *testing.T, text string) [6]byte {
	t.Helper()
	mac, err := ipam.ParseMAC(text)
	if err != nil {
		t.Fatal(err)
	}
	return mac
}

func TestConnectRefuses(t *testing.T) {
	f, web := wired(t, "red")
	makeOn(t, f, "db", "blue,mac=02:00:00:00:00:07,ip=10.210.2.7")
	for _, c := range []struct {
		network string
		a       Address
		want    string
	}{
		{"red", Address{}, "is on network red already"},
		{"green", Address{}, `no such network: "green"`},
		{"blue", Address{IP: "10.210.2.7"}, "taken"},
		{"blue", Address{IP: "10.210.2.1"}, "10.210.2.1"},
		{"blue", Address{IP: "10.210.1.9"}, "10.210.1.9"},
		{"blue", Address{IP: "fd00::1"}, "no IPv4 address"},
		{"blue", Address{MAC: "02:00:00:00:00:07"}, "machine db has it"},
		{"blue", Address{MAC: "03:00:00:00:00:07"}, "03:00:00:00:00:07"},
		{"blue", Address{MAC: "x"}, `"x"`},
		{"blue", Address{IP6: "fd00:0:0:1:67:ff:fe00:7"}, "no IPv6 subnet"},
		{"inside", Address{IP6: "fd00:0:0:1:67:ff:fe00:7"}, "is not in"},
		{"inside", Address{IP6: "10.210.3.9"}, "no IPv6 address"},
		{"inside", Address{IP6: "fe"}, "no IPv6 address"},
	} {
		_, err := f.ConnectNetwork(context.Background(), c.network, "web", c.a)
		var input *vm.InputError
		if !errors.As(err, &input) || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s %+v: %v, want %q", c.network, c.a, err, c.want)
		}
	}
	if _, err := f.ConnectNetwork(context.Background(), "blue", "ghost", Address{}); !errors.Is(err, state.ErrNotFound) {
		t.Error(err)
	}
	if err := f.DisconnectNetwork(context.Background(), "blue", "web"); err == nil || !strings.Contains(err.Error(), "is not on network blue") {
		t.Error(err)
	}
	if got, err := f.Get("web"); err != nil || !reflect.DeepEqual(got.VM, web) {
		t.Errorf("%+v became %+v, %v", web, got.VM, err)
	}
}

// TestAddressOfIPv6 has a wish for an IPv6 address be one for the MAC address that it
// follows from.
func TestAddressOfIPv6(t *testing.T) {
	f, _ := wired(t)
	const ip6, mac = "fd00:0:0:1:67:ff:fe00:7", "02:67:00:00:00:07"
	for _, wrong := range []Address{{IP6: "fd00:0:0:1::7"}, {IP6: ip6, MAC: "02:67:00:00:00:08"}} {
		if _, err := f.ConnectNetwork(context.Background(), "red", "web", wrong); err == nil || !strings.Contains(err.Error(), "does not follow") {
			t.Errorf("%+v: %v", wrong, err)
		}
	}
	port, err := f.ConnectNetwork(context.Background(), "red", "web", Address{IP6: ip6, MAC: mac})
	if err != nil || port.MAC != mac || port.IP6 != netip.MustParseAddr(ip6) {
		t.Errorf("%+v, %v", port, err)
	}
}

// TestConnectMachineThatRuns is all that cannot be done to one.
func TestConnectMachineThatRuns(t *testing.T) {
	f, web := wired(t, "red")
	pulled := makeOn(t, f, "db", "red", "blue")
	pulled.Unplugged = detach(pulled, networkID(t, f, "blue"))
	if err := f.Dirs.PutVM(pulled); err != nil {
		t.Fatal(err)
	}
	for _, record := range []*state.VM{web, pulled} {
		if err := os.MkdirAll(f.Dirs.VMRoot(record.ID), 0o700); err != nil {
			t.Fatal(err)
		}
		startFake(t, f, record.ID)
	}
	for _, c := range []struct {
		ref, network string
		a            Address
		want         string
	}{
		{"web", "blue", Address{}, "stop it first, or give the network when the machine is made (--net blue)"},
		{"db", "inside", Address{}, "has no interface that was disconnected from network inside"},
		{"db", "blue", Address{IP: "10.210.2.99"}, "has 10.210.2.2"},
		{"db", "blue", Address{MAC: "02:00:00:00:00:99"}, "stop it first to give it others"},
	} {
		_, err := f.ConnectNetwork(context.Background(), c.network, c.ref, c.a)
		var input *vm.InputError
		if !errors.Is(err, ErrRunning) || errors.As(err, &input) || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s %s %+v: %v, want %q", c.ref, c.network, c.a, err, c.want)
		}
	}
	// What was unplugged is nobody else's while the guest still takes it for its own.
	if other := makeOn(t, f, "other", "blue"); other.Ports[0].IP == pulled.Unplugged[0].IP {
		t.Errorf("%s is given away", other.Ports[0].IP)
	}
	_, err := f.Create(context.Background(), spec.Spec{Name: "third", CPUs: 1, Memory: "64M", Net: []string{"blue,mac=" + pulled.Unplugged[0].MAC}})
	if err == nil || !strings.Contains(err.Error(), "machine db has it") {
		t.Error(err)
	}
}

// TestConnectAfterOneThatWasKilled has a machine on a network whose guest was never told.
func TestConnectAfterOneThatWasKilled(t *testing.T) {
	f, web := wired(t, "user", "red")
	if err := os.MkdirAll(f.Dirs.VMRoot(web.ID), 0o700); err != nil {
		t.Fatal(err)
	}
	var up atomic.Bool
	holdAlive(t, f, web.ID, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method == http.MethodGet {
			_ = json.NewEncoder(w).Encode(api.Info{NICs: []api.NIC{{Up: true}, {Up: up.Load()}}})
			return
		}
		var u api.Update
		if err := json.NewDecoder(r.Body).Decode(&u); err != nil || !reflect.DeepEqual(u.Links, []api.Link{{NIC: 1, Up: true}}) {
			t.Errorf("%s %+v, %v", r.Method, u, err)
		}
		up.Store(true)
		w.WriteHeader(http.StatusNoContent)
	}))
	port, err := f.ConnectNetwork(context.Background(), "red", "web", Address{})
	if err != nil || port != web.Ports[0] || !up.Load() {
		t.Errorf("%+v, %v", port, err)
	}
	if _, err := f.ConnectNetwork(context.Background(), "red", "web", Address{}); err == nil || !strings.Contains(err.Error(), "already") {
		t.Error(err)
	}
}

// TestCablesComeBackWhereTheyWere pulls and plugs in at random, and then all.
func TestCablesComeBackWhereTheyWere(t *testing.T) {
	f, web := wired(t, "tap:a", "red", "user", "blue,bps=1M", "inside", "tap:b")
	random := rand.New(rand.NewPCG(1, 2))
	var networks []*state.Network
	for _, name := range []string{"red", "blue", "inside"} {
		n, err := f.Dirs.FindNetwork(name)
		if err != nil {
			t.Fatal(err)
		}
		networks = append(networks, n)
	}
	record := *web
	toggle := func(n *state.Network) {
		if onNetwork(record.Ports, n.ID) >= 0 {
			record.Unplugged = append(record.Unplugged, detach(&record, n.ID)...)
			return
		}
		if _, err := reattach(&record, n, wish{}); err != nil {
			t.Fatal(err)
		}
	}
	for range 200 {
		toggle(networks[random.IntN(len(networks))])
		if _, err := planned(&record); err != nil {
			t.Fatal(err)
		}
		var on []string // by the definition, and by the ports
		for _, text := range record.Spec.Net {
			if spec.OnNetwork(text) {
				name, _, _ := strings.Cut(text, ",")
				on = append(on, networkID(t, f, name))
			}
		}
		for i, p := range record.Ports {
			if i >= len(on) || on[i] != p.Network || !slices.Contains(web.Ports, p) {
				t.Fatalf("%q with %+v", record.Spec.Net, record.Ports)
			}
		}
	}
	for _, n := range networks {
		if onNetwork(record.Ports, n.ID) < 0 {
			toggle(n)
		}
	}
	record.Unplugged = nil
	if !reflect.DeepEqual(&record, web) {
		t.Errorf("%+v became %+v", *web, record)
	}
}

func TestPublisher(t *testing.T) {
	f, web := wired(t, "inside", "red", "blue")
	for _, c := range []struct {
		off  string
		want int
	}{{"", 1}, {"red", 1}, {"inside", 0}, {"blue", -1}} {
		if c.off != "" {
			detach(web, networkID(t, f, c.off))
		}
		if got, err := f.publisher(web); err != nil || got != c.want {
			t.Errorf("%q: %d, %v, want %d", web.Spec.Net, got, err, c.want)
		}
	}
	_, err := f.Create(context.Background(), spec.Spec{Name: "shut", CPUs: 1, Memory: "64M", Net: []string{"inside"}, Publish: []string{"8080:80"}})
	if err == nil || !strings.Contains(err.Error(), "all networks of the machine are internal") {
		t.Error(err)
	}
}

// TestWhoMayAskOfWhom is what networks' services are told of one another.
func TestWhoMayAskOfWhom(t *testing.T) {
	f, web := wired(t, "red", "blue")
	db, alone := makeOn(t, f, "db", "blue"), makeOn(t, f, "alone", "inside")
	networks, err := f.Dirs.Networks()
	if err != nil {
		t.Fatal(err)
	}
	h, err := hostsOf([]*state.VM{web, db, alone})
	if err != nil {
		t.Fatal(err)
	}
	host := func(vm *state.VM, port int) service.Host {
		p := vm.Ports[port]
		return service.Host{Name: vm.Name, MAC: mustMAC(t, p.MAC), IP: p.IP, IP6: p.IP6}
	}
	red, blue := networks[0], networks[1]
	for _, c := range []struct {
		network *state.Network
		on      []service.Host
		others  []service.Other
	}{
		{red, []service.Host{host(web, 0)}, []service.Other{{
			Name: "blue", Subnet: blue.Subnet, Hosts: []service.Host{host(web, 1), host(db, 0)}, Askers: [][6]byte{host(web, 0).MAC},
		}}},
		{blue, []service.Host{host(web, 1), host(db, 0)}, []service.Other{{
			Name: "red", Subnet: red.Subnet, Subnet6: red.Subnet6, Hosts: []service.Host{host(web, 0)}, Askers: [][6]byte{host(web, 1).MAC},
		}}},
		{networks[2], []service.Host{host(alone, 0)}, nil},
	} {
		if got := h.on[c.network.ID]; !reflect.DeepEqual(got, c.on) {
			t.Errorf("%s: %+v, want %+v", c.network.Name, got, c.on)
		}
		if got := h.others(c.network.ID, networks); !reflect.DeepEqual(got, c.others) {
			t.Errorf("%s: %+v, want %+v", c.network.Name, got, c.others)
		}
	}
}
