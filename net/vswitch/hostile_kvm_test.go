package vswitch

import (
	"net/netip"
	"testing"

	"github.com/gureum/gureum/net/vswitch/trial"
)

func addr(s string) netip.Addr { return netip.MustParseAddr(s) }

// TestKVMHostileGuest writes raw frames into one port, and looks at another.
func TestKVMHostileGuest(t *testing.T) {
	isolate(t)
	n := testNetwork(1)
	a, b := testPort(n, 1), testPort(n, 2)
	must(t, Apply(State{Networks: []Network{n}, Ports: []Port{a, b}}))
	from, to := a.wire(t), b.wire(t)
	list := trial.All(trial.Network{Subnet: n.Subnet, Subnet6: n.Subnet6, Bridge: bridgeMAC(n.ID)},
		trial.Port{MAC: a.MAC, IP: a.IP, IP6: a.IP6}, trial.Port{MAC: b.MAC, IP: b.IP, IP6: b.IP6})
	yes, no := 0, 0
	for _, x := range list {
		if got := from.reaches(to, x.Frame); got != x.May {
			t.Errorf("%s: comes through: %v, want %v", x.What, got, x.May)
		}
		if x.May {
			yes++
		} else {
			no++
		}
	}
	t.Logf("%d honest frames and %d hostile ones", yes, no)
	// Without the rules, all of what is refused comes through but what the bridge itself
	// holds back: so the trials are no tests of a wire that is cut.
	f, err := openFirewall()
	must(t, err)
	must(t, f.remove())
	must(t, f.close())
	through := 0
	for _, x := range list {
		if !x.May && from.reaches(to, x.Frame) {
			through++
		}
	}
	t.Logf("without rules %d of the %d hostile ones come through", through, no)
	if through < no-3 {
		t.Errorf("%d of %d come through without rules: the trials would not notice", through, no)
	}
}
