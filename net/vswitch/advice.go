package vswitch

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"

	"github.com/google/nftables"
	"github.com/google/nftables/expr"
)

// Obstacle is something of the host, and not of ours, that keeps networks from working.
type Obstacle struct {
	// What is in the way, and Mend what to do about it.
	What, Mend string
}

// String says both to people.
func (o Obstacle) String() string { return o.What + ": " + o.Mend }

// Advice finds what is in the way on the host. We do not mend it: those settings and rules
// are other programs'.
func Advice() ([]Obstacle, error) {
	found, err := adviceOnRules()
	for _, name := range []string{"iptables", "ip6tables"} {
		if value, err := readSysctl("bridge/bridge-nf-call-" + name); err == nil && value == "1" {
			found = append(found, Obstacle{
				fmt.Sprintf("net.bridge.bridge-nf-call-%[1]s is 1, so the host's %[1]s rules see what guests of one network send to one another, and may drop it", name),
				fmt.Sprintf("set it to 0, or let %s+ through", Prefix),
			})
		}
	}
	found = append(found, adviceOnLegacy()...)
	slices.SortFunc(found, func(a, b Obstacle) int { return strings.Compare(a.What, b.What) })
	return slices.Compact(found), err
}

// adviceOnRules waits for nobody: what it reads may be about to change.
func adviceOnRules() (found []Obstacle, err error) {
	f, err := openFirewall()
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, f.close()) }()
	chains, err := f.conn.ListChains()
	if err != nil {
		return nil, fmt.Errorf("nftables: list the chains: %w", err)
	}
	for _, c := range chains {
		o, err := f.adviceOn(c)
		if err != nil {
			return found, err
		}
		found = append(found, o...)
	}
	o, err := f.adviceOnForwarding()
	return append(found, o...), err
}

// adviceOn is about a chain of somebody else's that drops what it has no rule for.
func (f *firewall) adviceOn(c *nftables.Chain) ([]Obstacle, error) {
	if c.Table.Name == tableName || c.Hooknum == nil || c.Table.Family == nftables.TableFamilyBridge || c.Table.Family == nftables.TableFamilyNetdev {
		return nil, nil
	}
	forward := *c.Hooknum == *nftables.ChainHookForward
	if !forward && *c.Hooknum != *nftables.ChainHookInput {
		return nil, nil
	}
	drops, err := f.dropsTheRest(c)
	if err != nil || !drops {
		return nil, err
	}
	if forward {
		return []Obstacle{{
			fmt.Sprintf("table %s drops what is forwarded and that it has no rule for, as docker and firewalls do, so guests reach nothing outside", c.Table.Name),
			fmt.Sprintf("let %[1]s+ through both ways, with docker by 'iptables -I DOCKER-USER -i %[1]s+ -j ACCEPT' and the same with -o, with firewalld by "+
				"'firewall-cmd --zone=trusted --add-interface=%[1]s+'", Prefix),
		}}, nil
	}
	return []Obstacle{{
		fmt.Sprintf("table %s drops what is for this host and that it has no rule for, so guests get no DNS, and with it no names", c.Table.Name),
		fmt.Sprintf("open port 53, TCP and UDP, to %s+", Prefix),
	}}, nil
}

// dropsTheRest tells whether a chain drops by its policy or by its last rule.
func (f *firewall) dropsTheRest(c *nftables.Chain) (bool, error) {
	if c.Policy != nil && *c.Policy == nftables.ChainPolicyDrop {
		return true, nil
	}
	rules, err := f.conn.GetRules(c.Table, c)
	if err != nil {
		return false, fmt.Errorf("nftables: list the rules of %s: %w", c.Name, err)
	}
	return len(rules) > 0 && dropsAll(rules[len(rules)-1].Exprs), nil
}

// dropsAll tells whether a rule drops or rejects without asking for anything.
func dropsAll(rule []expr.Any) bool {
	for i, e := range rule {
		last := i == len(rule)-1
		switch e := e.(type) {
		case *expr.Counter, *expr.Log:
		case *expr.Reject:
			return last
		case *expr.Verdict:
			return last && e.Kind == expr.VerdictDrop
		default:
			return false
		}
	}
	return false
}

// adviceOnForwarding is for when somebody else switched off what was switched on with the
// first network that leads outside.
func (f *firewall) adviceOnForwarding() ([]Obstacle, error) {
	there, err := f.exists()
	if err != nil || !there[1] {
		return nil, err
	}
	bridges, err := f.have(false, setBridges)
	if err != nil {
		return nil, err
	}
	internal, err := f.have(false, setInternal)
	if err != nil {
		return nil, err
	}
	leads := slices.ContainsFunc(bridges, func(b element) bool {
		return !slices.ContainsFunc(internal, func(i element) bool { return bytes.Equal(i.key, b.key) })
	})
	if !leads {
		return nil, nil
	}
	if value, err := readSysctl(forward4); err != nil || value == "1" {
		return nil, err
	}
	return []Obstacle{{
		"net.ipv4.ip_forward is 0, though a network leads outside: something switched it off since, so guests reach nothing outside",
		"set it to 1, also in /etc/sysctl.d",
	}}, nil
}

// adviceOnLegacy is about rules that nftables does not show.
func adviceOnLegacy() (found []Obstacle) {
	for _, name := range []string{"ip", "ip6"} {
		text, err := os.ReadFile("/proc/thread-self/net/" + name + "_tables_names")
		if err == nil && slices.Contains(strings.Fields(string(text)), "filter") {
			found = append(found, Obstacle{
				fmt.Sprintf("%stables-legacy has rules of its own, which cannot be looked at here and may drop what guests send", name),
				fmt.Sprintf("see '%stables-legacy -S', and let %s+ through", name, Prefix),
			})
		}
	}
	return found
}
