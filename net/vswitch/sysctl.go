package vswitch

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/google/nftables"
	"golang.org/x/sys/unix"
)

// sysctlRoot is of the network namespace of the thread that looks.
const sysctlRoot = "/proc/sys/net"

// readSysctl gives "" for one that the host does not have.
func readSysctl(name string) (string, error) {
	text, err := os.ReadFile(filepath.Join(sysctlRoot, name))
	if errors.Is(err, fs.ErrNotExist) {
		return "", nil
	}
	return strings.TrimSpace(string(text)), err
}

// writeSysctl leaves alone what is right already, so that it works where /proc/sys
// cannot be written and need not be.
func writeSysctl(name, value string) error {
	old, err := readSysctl(name)
	if err == nil && old == value {
		return nil
	}
	if err == nil {
		err = os.WriteFile(filepath.Join(sysctlRoot, name), []byte(value), 0)
	}
	if err != nil {
		return fmt.Errorf("set net.%s to %s: %w", strings.ReplaceAll(name, "/", "."), value, err)
	}
	step("sysctl")
	return nil
}

func hasIPv6() bool {
	_, err := os.Stat(sysctlRoot + "/ipv6")
	return err == nil
}

// quiet keeps the host's stack off a port.
func quiet(tap string) error {
	if !hasIPv6() {
		return nil
	}
	return writeSysctl("ipv6/conf/"+tap+"/disable_ipv6", "1")
}

// sysctls are a bridge's, in the order in which they are set.
func (n Network) sysctls() [][2]string {
	br := BridgeName(n.ID)
	v4, v6 := "ipv4/conf/"+br+"/", "ipv6/conf/"+br+"/"
	list := [][2]string{
		{v4 + "forwarding", "1"},
		{v4 + "rp_filter", "1"},
		{v4 + "accept_redirects", "0"},
		{v4 + "send_redirects", "0"},
		{v4 + "arp_ignore", "1"},     // no answers about addresses of other interfaces
		{v4 + "arp_announce", "2"},   // nor questions from them
		{v4 + "route_localnet", "1"}, // for what is published on 127.0.0.1; rules keep the rest out
	}
	if n.Internal {
		list[0][1] = "0"
	}
	if !hasIPv6() {
		return list
	}
	if !n.Subnet6.IsValid() {
		return append(list, [2]string{v6 + "disable_ipv6", "1"})
	}
	return append(list, [][2]string{
		{v6 + "accept_ra", "0"},
		{v6 + "autoconf", "0"},
		{v6 + "accept_redirects", "0"},
		{v6 + "accept_dad", "0"},
		{v6 + "addr_gen_mode", "0"}, // EUI-64: the rules know the address
		{v6 + "forwarding", "1"},
		{v6 + "disable_ipv6", "0"},
	}...)
}

// runDir is where the host's switch leaves what the kernel cannot keep. It is gone at
// reboot, as the settings are.
var runDir = "/run/gureum"

// recordPath is that of a network namespace.
func recordPath() (string, error) {
	var st unix.Stat_t
	if err := unix.Stat("/proc/thread-self/ns/net", &st); err != nil {
		return "", fmt.Errorf("look at the network namespace: %w", err)
	}
	return filepath.Join(runDir, fmt.Sprintf("forwarding-%d.json", st.Ino)), nil
}

const (
	forward4 = "ipv4/ip_forward"
	forward6 = "ipv6/conf/all/forwarding"
)

// forwarding makes the host a router, and notes what it was.
func forwarding(with6 bool) error {
	var missing bool
	for _, name := range wantForwarding(with6) {
		value, err := readSysctl(name)
		if err != nil {
			return fmt.Errorf("read net.%s: %w", name, err)
		}
		missing = missing || value != "1"
	}
	if !missing {
		return nil
	}
	before, err := snapshot()
	if err != nil {
		return err
	}
	if err := note(before); err != nil {
		return err
	}
	if err := writeSysctl(forward4, "1"); err != nil || !with6 {
		return err
	}
	return forwardIPv6(before)
}

func wantForwarding(with6 bool) []string {
	if with6 && hasIPv6() {
		return []string{forward4, forward6}
	}
	return []string{forward4}
}

// forwardIPv6 switches forwarding on for the host as a whole, which is what the kernel
// asks for (ip6_forward), and leaves each interface the host's that it was: otherwise
// those that learn from router advertisements would lose their addresses and routes.
func forwardIPv6(before map[string]string) error {
	if before[forward6] == "" || before[forward6] == "1" {
		return nil
	}
	var hosts []string // folders of interfaces that were no router's
	for name, value := range before {
		dir := filepath.Dir(name)
		if strings.HasPrefix(name, "ipv6/") && filepath.Base(name) == "forwarding" && value == "0" &&
			filepath.Base(dir) != "all" && !strings.HasPrefix(filepath.Base(dir), Prefix) {
			hosts = append(hosts, dir)
		}
	}
	slices.Sort(hosts)
	var errs []error
	for _, dir := range hosts {
		if before[dir+"/accept_ra"] == "1" { // 2 is: also as a router
			errs = append(errs, writeSysctl(dir+"/accept_ra", "2"))
		}
	}
	errs = append(errs, writeSysctl(forward6, "1"))
	for _, dir := range hosts {
		errs = append(errs, writeSysctl(dir+"/forwarding", "0"))
		if before[dir+"/accept_ra"] == "1" {
			errs = append(errs, writeSysctl(dir+"/accept_ra", "1"))
		}
	}
	return errors.Join(errs...)
}

// snapshot reads what forwarding changes, but for our own interfaces.
func snapshot() (map[string]string, error) {
	out := map[string]string{}
	for _, pattern := range []string{forward4, "ipv4/conf/*/forwarding", "ipv6/conf/*/forwarding", "ipv6/conf/*/accept_ra"} {
		names, err := filepath.Glob(filepath.Join(sysctlRoot, pattern))
		if err != nil {
			return nil, err
		}
		for _, path := range names {
			name := strings.TrimPrefix(path, sysctlRoot+"/")
			if strings.HasPrefix(filepath.Base(filepath.Dir(name)), Prefix) {
				continue
			}
			if out[name], err = readSysctl(name); err != nil {
				return nil, fmt.Errorf("read net.%s: %w", name, err)
			}
		}
	}
	return out, nil
}

// note keeps the first snapshot: that is how the host was.
func note(before map[string]string) error {
	path, err := recordPath()
	if err != nil {
		return err
	}
	if _, err := os.Stat(path); err == nil {
		return nil
	}
	text, err := json.Marshal(before)
	if err != nil {
		return err
	}
	if err := os.WriteFile(path+".new", text, 0o600); err != nil {
		return fmt.Errorf("note the host's forwarding: %w", err)
	}
	step("forwarding noted")
	return os.Rename(path+".new", path)
}

// restoreForwarding makes the host what it was before our first network. If something
// else forwards by now, as docker does, it is left alone: there is no telling who
// relies on it.
func restoreForwarding(f *firewall) error {
	path, err := recordPath()
	if err != nil {
		return err
	}
	text, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	var before map[string]string
	if err == nil {
		err = json.Unmarshal(text, &before)
	}
	if err != nil {
		return fmt.Errorf("read how the host was: %w", err)
	}
	others, err := f.othersForward()
	if err != nil || others {
		return err
	}
	// The hosts' own settings follow those for all.
	names := []string{forward4, "ipv4/conf/all/forwarding", forward6, "ipv4/conf/default/forwarding", "ipv6/conf/default/forwarding"}
	for name := range before {
		if !slices.Contains(names, name) {
			names = append(names, name)
		}
	}
	for _, name := range names {
		if before[name] == "" {
			continue
		}
		if err := writeSysctl(name, before[name]); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err // an interface that is gone is none
		}
	}
	return os.Remove(path)
}

// othersForward tells whether somebody else has rules for packets that are forwarded.
func (f *firewall) othersForward() (bool, error) {
	chains, err := f.conn.ListChains()
	if err != nil {
		return false, fmt.Errorf("nftables: list the chains: %w", err)
	}
	for _, c := range chains {
		if c.Table.Name != tableName && c.Table.Family != nftables.TableFamilyBridge && c.Hooknum != nil && *c.Hooknum == *nftables.ChainHookForward {
			return true, nil
		}
	}
	text, err := os.ReadFile("/proc/thread-self/net/ip_tables_names") // of iptables without nftables
	return err == nil && strings.Contains(string(text), "filter"), nil
}
