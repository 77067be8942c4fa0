package e2e

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/nftables"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/gureum/gureum/net/dump"
)

// refused runs a command that is to fail, and say all of the words.
func (c *crash) refused(args []string, words ...string) (stdout string) {
	c.Helper()
	out, errs, err := c.try(soon, args...)
	if err == nil {
		c.Errorf("gureum %s: no error, want %q", strings.Join(args, " "), words)
	}
	for _, word := range words {
		if !strings.Contains(errs, word) {
			c.Errorf("gureum %s says %q, want %q", strings.Join(args, " "), errs, word)
		}
	}
	return out
}

// reboot takes away all that a reboot of the host does.
func (c *crash) reboot() {
	c.Helper()
	c.eventually(soon, func() error {
		left := processes(c.run)
		for _, p := range left {
			_ = unix.Kill(p.pid, unix.SIGKILL)
		}
		if len(left) > 0 {
			return errors.New("processes live")
		}
		return nil
	})
	links, err := dump.Whole(netlink.LinkList)
	if err != nil {
		c.Fatal(err)
	}
	for _, l := range links {
		if strings.HasPrefix(l.Attrs().Name, "gur-") {
			if err := netlink.LinkDel(l); err != nil {
				c.Fatal(err)
			}
		}
	}
	rules, err := nftables.New()
	if err != nil {
		c.Fatal(err)
	}
	rules.FlushRuleset()
	if err := rules.Flush(); err != nil {
		c.Fatal(err)
	}
	groups, _ := filepath.Glob("/sys/fs/cgroup/gureum/*-*")
	more, _ := filepath.Glob("/sys/fs/cgroup/gureum/[0-9a-f]*")
	for _, g := range append(groups, more...) {
		if st, err := os.Stat(g); err == nil && st.IsDir() {
			c.eventually(soon, func() error { return unix.Rmdir(g) })
		}
	}
	for _, dir := range []string{c.run, "/run/gureum"} {
		if err := os.RemoveAll(dir); err != nil {
			c.Fatal(err)
		}
	}
}

// TestKVMHostReboot has machines be lost with their host, and start again.
func TestKVMHostReboot(t *testing.T) {
	c := newCrash(t)
	c.must("network", "create", "yard")
	id := c.must("run", "-d", "--name", "v", "--memory", "64M", "--net", "yard", "--publish", "127.0.0.1:8081:80", "--wait-for", "agent")
	where := "go-template={{(index .ports 0).ip}} {{(index .ports 0).mac}}"
	before := c.must("inspect", "-o", where, "v")
	c.reboot()
	if list := c.ps(); len(list) != 1 || list[0].Phase != "lost" {
		t.Errorf("after a reboot ps tells %v", list)
	}
	if text := c.must("prune", "--dry-run"); !strings.Contains(text, "machine "+id) {
		t.Errorf("prune offers %q", text)
	}
	c.must("start", "--wait-for", "agent", "v")
	if after := c.must("inspect", "-o", where, "v"); after != before {
		t.Errorf("its addresses were %s and are %s", before, after)
	}
	c.reboot()
	c.must("prune", "--force")
	if list := c.ps(); len(list) > 0 {
		t.Errorf("after prune ps tells %v", list)
	}
	c.must("network", "rm", "yard")
}

// TestKVMKeepersKilled has prune bring back what looks after a machine and its network.
func TestKVMKeepersKilled(t *testing.T) {
	c := newCrash(t)
	c.must("network", "create", "yard")
	c.must("run", "-d", "--name", "v", "--memory", "64M", "--net", "yard")
	up := func() error {
		found := map[string]bool{}
		for _, p := range processes(c.run) {
			found[p.role] = true
		}
		if !found["supervise"] || !found["netd"] || !found["vmm"] {
			return fmt.Errorf("processes: %v", found)
		}
		return nil
	}
	c.eventually(soon, up)
	for _, role := range []string{"supervise", "netd"} { // in this order: the former would start the latter
		for _, p := range processes(c.run) {
			if p.role == role {
				if err := unix.Kill(p.pid, unix.SIGKILL); err != nil {
					t.Fatal(err)
				}
			}
		}
	}
	c.must("prune", "--force")
	c.eventually(soon, up)
	c.must("rm", "-f", "v")
	c.must("network", "rm", "yard")
	c.idle()
}

// TestKVMHalfARecord cuts records of machines, one that runs and one that does not.
func TestKVMHalfARecord(t *testing.T) {
	c := newCrash(t)
	c.must("network", "create", "yard")
	start := c.portrait()
	whole := c.must("run", "-d", "--name", "whole", "--memory", "64M", "--net", "yard")
	cut := c.must("create", "--name", "cut", "--memory", "64M", "--net", "yard")
	half := func(id string) {
		path := filepath.Join(c.state, "vms", id, "vm.json")
		if err := os.Truncate(path, 100); err != nil {
			t.Fatal(err)
		}
	}
	half(cut)
	advice := "gureum rm -f " + cut
	if out := c.refused([]string{"ps", "-a"}, advice); !strings.Contains(out, "whole") {
		t.Errorf("ps shows %q", out)
	}
	c.refused([]string{"prune", "--force"}, advice)
	c.must("kill", "whole")
	c.must("start", "whole")
	c.must("rm", "-f", cut)
	if list := c.ps(); len(list) != 1 {
		t.Errorf("ps tells %v", list)
	}
	half(whole)
	c.refused([]string{"prune", "--force"}, "gureum rm -f "+whole)
	c.must("rm", "-f", whole)
	c.must("prune", "--force")
	c.idle()
	_, left := differences(start, c.portrait())
	for _, line := range left {
		if strings.HasPrefix(line, "link ") || strings.HasPrefix(line, "table ") || strings.HasPrefix(line, "cgroup ") || strings.Contains(line, "/vms/") {
			t.Errorf("left: %s", line)
		}
	}
}

// TestKVMDiskFull writes records to a disk that has no room.
func TestKVMDiskFull(t *testing.T) {
	c := newCrash(t)
	if err := os.Mkdir(c.state, 0o711); err != nil {
		t.Fatal(err)
	}
	if err := unix.Mount("tmpfs", c.state, "tmpfs", 0, "size=1M"); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = unix.Unmount(c.state, unix.MNT_DETACH) })
	id := c.must("run", "-d", "--name", "v", "--memory", "64M")
	filler, err := os.Create(c.state + "/filler")
	if err != nil {
		t.Fatal(err)
	}
	for err == nil {
		_, err = filler.Write(make([]byte, 4096))
	}
	if !errors.Is(err, unix.ENOSPC) {
		t.Fatal(err)
	}
	c.eventually(soon, func() error { // the supervisor is up
		_, err := os.Stat(c.run + "/supervisor.lock")
		return err
	})
	before := c.portrait()
	c.refused([]string{"create", "--name", "w", "--memory", "64M"}, "no space left on device")
	c.refused([]string{"run", "-d", "--name", "w", "--memory", "64M"}, "no space left on device")
	c.refused([]string{"network", "create", "field"}, "no space left on device")
	if list := c.ps(); len(list) != 1 || list[0].ID != id || list[0].Phase != "running" {
		t.Errorf("ps tells %v", list)
	}
	c.same(before)
	c.refused([]string{"kill", "v"}, "it has ended", "no space left on device")
	if list := c.ps(); len(list) != 1 || list[0].Phase == "running" {
		t.Errorf("after kill ps tells %v", list)
	}
	c.must("rm", "-f", "v") // needs no room
	if err := errors.Join(filler.Close(), os.Remove(filler.Name())); err != nil {
		t.Fatal(err)
	}
	c.must("create", "--name", "w", "--memory", "64M")
	c.must("network", "create", "field")
	c.must("rm", "w")
}
