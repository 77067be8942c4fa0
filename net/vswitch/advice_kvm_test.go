package vswitch

import (
	"os"
	"strings"
	"testing"

	"github.com/google/nftables"
	"github.com/google/nftables/expr"
	"golang.org/x/sys/unix"
)

// TestKVMAdvice puts things in the way, one after the other.
func TestKVMAdvice(t *testing.T) {
	isolate(t)
	n, inside := testNetwork(1), testNetwork(2)
	inside.Internal = true
	expect := func(what string, words ...string) {
		t.Helper()
		found, err := Advice()
		must(t, err)
		if len(found) != len(words) {
			t.Errorf("%s: %q", what, found)
			return
		}
		for i, word := range words {
			if !strings.Contains(found[i].What, word) || found[i].Mend == "" {
				t.Errorf("%s: %q, want %q", what, found[i], word)
			}
		}
	}
	expect("an empty host")
	must(t, AddNetwork(inside))
	must(t, os.WriteFile(sysctlRoot+"/ipv4/ip_forward", []byte("0"), 0))
	expect("an internal network, and no forwarding")
	must(t, AddNetwork(n))
	expect("a network")
	must(t, os.WriteFile(sysctlRoot+"/ipv4/ip_forward", []byte("0"), 0))
	expect("no forwarding", "ip_forward is 0")
	must(t, os.WriteFile(sysctlRoot+"/ipv4/ip_forward", []byte("1"), 0))

	c, err := nftables.New()
	must(t, err)
	wall := c.AddTable(&nftables.Table{Name: "firewalld", Family: nftables.TableFamilyINet})
	chain := func(name string, hook *nftables.ChainHook) *nftables.Chain {
		return c.AddChain(&nftables.Chain{Name: name, Table: wall, Type: nftables.ChainTypeFilter, Hooknum: hook, Priority: nftables.ChainPriorityFilter})
	}
	input, forward, output := chain("IN", nftables.ChainHookInput), chain("FWD", nftables.ChainHookForward), chain("OUT", nftables.ChainHookOutput)
	// One that drops something, one that accepts the rest, and one of another direction.
	c.AddRule(&nftables.Rule{Table: wall, Chain: input, Exprs: proto(unix.IPPROTO_SCTP).and(drop())})
	c.AddRule(&nftables.Rule{Table: wall, Chain: forward, Exprs: accept()})
	c.AddRule(&nftables.Rule{Table: wall, Chain: output, Exprs: drop()})
	must(t, c.Flush())
	expect("a firewall that lets guests through")
	c.AddRule(&nftables.Rule{Table: wall, Chain: input, Exprs: []expr.Any{&expr.Counter{}, &expr.Verdict{Kind: expr.VerdictDrop}}})
	c.AddRule(&nftables.Rule{Table: wall, Chain: forward, Exprs: []expr.Any{&expr.Reject{Type: unix.NFT_REJECT_ICMPX_UNREACH, Code: unix.NFT_REJECT_ICMPX_ADMIN_PROHIBITED}}})
	must(t, c.Flush())
	expect("a firewall", "table firewalld drops what is for this host", "table firewalld drops what is forwarded")
}
