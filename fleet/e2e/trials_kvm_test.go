package e2e

import (
	"encoding/hex"
	"encoding/json"
	"net"
	"net/netip"
	"os"
	"slices"
	"strings"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/gureum/gureum/net/ipam"
	"github.com/gureum/gureum/net/vswitch/trial"
)

// trialsCommand writes the frames that one machine tries on another of its network, one a
// line, in hexadecimal:
//
//	trials NETWORK ATTACKER VICTIM FILE
func trialsCommand(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 4 {
		ts.Fatalf("usage: trials NETWORK ATTACKER VICTIM FILE")
	}
	list := trialsOf(ts, args[0], args[1], args[2])
	var text strings.Builder
	for _, x := range list {
		text.WriteString(hex.EncodeToString(x.Frame) + "\n")
	}
	file := ts.MkAbs(args[3])
	ts.Check(os.WriteFile(file, []byte(text.String()), 0o600))
	kept, err := json.Marshal(list)
	ts.Check(err)
	ts.Check(os.WriteFile(file+".json", kept, 0o600))
}

func trialsOf(ts *testscript.TestScript, network, attacker, victim string) []trial.Trial {
	var n []struct {
		ID              string
		Subnet, Subnet6 netip.Prefix
	}
	ask(ts, &n, "network", "inspect", network)
	bridge, err := net.InterfaceByName("gur-" + n[0].ID)
	ts.Check(err)
	return trial.All(trial.Network{Subnet: n[0].Subnet, Subnet6: n[0].Subnet6, Bridge: [6]byte(bridge.HardwareAddr)},
		trialPort(ts, attacker), trialPort(ts, victim))
}

func trialPort(ts *testscript.TestScript, name string) trial.Port {
	var m []struct {
		Ports []struct {
			MAC     string
			IP, IP6 netip.Addr
		}
	}
	ask(ts, &m, "inspect", name)
	mac, err := ipam.ParseMAC(m[0].Ports[0].MAC)
	ts.Check(err)
	return trial.Port{MAC: mac, IP: m[0].Ports[0].IP, IP6: m[0].Ports[0].IP6}
}

// ask takes what gureum prints as JSON.
func ask(ts *testscript.TestScript, v any, args ...string) {
	ts.Check(ts.Exec("gureum", args...))
	ts.Check(json.Unmarshal([]byte(ts.ReadFile("stdout")), v))
}

// judgeCommand looks which of the frames of trials came out elsewhere:
//
//	judge FILE HEARD honest|flooded|nothing
//
// All that are honest, and no other; only honest ones, some to all on the network; or none.
func judgeCommand(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 3 {
		ts.Fatalf("usage: judge FILE HEARD honest|flooded|nothing")
	}
	var list []trial.Trial
	ts.Check(json.Unmarshal([]byte(ts.ReadFile(args[0]+".json")), &list))
	heard := strings.Fields(ts.ReadFile(args[1]))
	if !strings.Contains(ts.ReadFile(args[1]), hex.EncodeToString([]byte("the-end-of-it"))) {
		ts.Fatalf("%s: it did not listen to the end", args[1])
	}
	came, wrong := 0, false
	for _, x := range list {
		got := slices.Contains(heard, hex.EncodeToString(x.Frame))
		if got {
			came++
		}
		want := x.May && args[2] != "nothing"
		if got && !want || !got && want && args[2] == "honest" {
			wrong = true
			ts.Logf("%s: comes through: %v", x.What, got)
		}
	}
	ts.Logf("%d of %d frames came through", came, len(list))
	if wrong || args[2] == "flooded" && came == 0 {
		ts.Fatalf("%s: not what is promised", args[1])
	}
}
