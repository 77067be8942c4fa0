package e2e

import (
	"bytes"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/google/nftables"
)

// process is a process of the fleet that no command waits for.
type process struct {
	pid  int
	role string // vmm, netd or supervise
	id   string // of the machine or network
}

func (p process) String() string { return p.role + " " + p.id }

// processes are all of the fleet whose run folder is given.
func processes(run string) []process {
	var out []process
	lines, _ := filepath.Glob("/proc/[0-9]*/cmdline")
	for _, path := range lines {
		text, err := os.ReadFile(path)
		if err != nil {
			continue // it has ended
		}
		args := strings.Split(strings.TrimRight(string(text), "\x00"), "\x00")
		if len(args) < 2 || filepath.Base(args[0]) != "gureum" {
			continue
		}
		env, err := os.ReadFile(filepath.Join(filepath.Dir(path), "environ"))
		if err != nil || !bytes.Contains(env, []byte("GUREUM_RUN="+run+"\x00")) {
			continue
		}
		pid, _ := strconv.Atoi(filepath.Base(filepath.Dir(path)))
		p := process{pid: pid, role: args[1]}
		if len(args) > 2 {
			p.id = args[2]
		}
		out = append(out, p)
	}
	return out
}

// portrait is all of a host that a fleet may have changed: a line for each thing.
func portrait(folders ...string) ([]string, error) {
	var out []string
	add := func(format string, args ...any) { out = append(out, fmt.Sprintf(format, args...)) }
	links, err := os.ReadDir("/sys/class/net")
	if err != nil {
		return nil, err
	}
	for _, l := range links {
		add("link %s", l.Name())
	}
	groups, err := filepath.Glob("/sys/fs/cgroup/gureum/*")
	if err != nil {
		return nil, err
	}
	for _, g := range groups {
		if st, err := os.Stat(g); err == nil && st.IsDir() {
			add("cgroup %s", g)
		}
	}
	for _, file := range []string{"ipv4/ip_forward", "ipv6/conf/all/forwarding"} {
		text, err := os.ReadFile("/proc/sys/net/" + file)
		if err != nil {
			return nil, err
		}
		add("%s %s", file, bytes.TrimSpace(text))
	}
	mounts, err := os.ReadFile("/proc/self/mounts")
	if err != nil {
		return nil, err
	}
	for line := range strings.Lines(string(mounts)) {
		add("mount %s", strings.TrimSpace(line))
	}
	for _, p := range processes(folders[0]) {
		add("process %s", p)
	}
	for _, folder := range folders {
		if out, err = files(out, folder); err != nil {
			return nil, err
		}
	}
	if out, err = rules(out); err != nil {
		return nil, err
	}
	slices.Sort(out)
	return out, nil
}

// files lists a folder, with what is in files of leases.
func files(out []string, folder string) ([]string, error) {
	err := filepath.WalkDir(folder, func(path string, _ fs.DirEntry, err error) error {
		switch filepath.Base(path) {
		case "output.log.1", "console.log.1", "process.log", "known_hosts":
			return nil // come when there is something to write
		case "hosts.json":
			text, _ := os.ReadFile(path)
			path += " " + strings.Join(strings.Fields(string(text)), "")
		}
		if os.IsNotExist(err) {
			return nil
		}
		out = append(out, "file "+path)
		return err
	})
	return out, err
}

// rules lists the host's tables, how many rules their chains have, and what their sets hold.
func rules(out []string) ([]string, error) {
	c, err := nftables.New()
	if err != nil {
		return nil, err
	}
	tables, err := c.ListTables()
	if err != nil {
		return nil, err
	}
	for _, table := range tables {
		name := fmt.Sprintf("table %d %s", table.Family, table.Name)
		out = append(out, name)
		sets, err := c.GetSets(table)
		if err != nil {
			return nil, err
		}
		for _, set := range sets {
			elements, err := c.GetSetElements(set)
			if err != nil {
				return nil, err
			}
			for _, e := range elements {
				out = append(out, fmt.Sprintf("%s set %s: %x %x %v", name, set.Name, e.Key, e.Val, e.IntervalEnd))
			}
		}
	}
	chains, err := c.ListChains()
	if err != nil {
		return nil, err
	}
	for _, chain := range chains {
		list, err := c.GetRules(chain.Table, chain)
		if err != nil {
			return nil, err
		}
		out = append(out, fmt.Sprintf("table %d %s chain %s: %d rules", chain.Table.Family, chain.Table.Name, chain.Name, len(list)))
	}
	return out, nil
}

// differences are the lines that only one of two portraits has.
func differences(before, after []string) (gone, left []string) {
	only := func(a, b []string) (out []string) {
		have := map[string]bool{}
		for _, line := range b {
			have[line] = true
		}
		for _, line := range a {
			if !have[line] {
				out = append(out, line)
			}
		}
		return out
	}
	return only(before, after), only(after, before)
}
