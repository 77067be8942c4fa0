package jail

import (
	"os"
	"os/exec"
	"slices"
	"syscall"
	"testing"
	"time"
)

// TestKVMCgroup has a process begin in a group, reach its limit, and leave nothing.
func TestKVMCgroup(t *testing.T) {
	g := Cgroup{ID: "jailtest"}
	if err := g.Create(CgroupLimits{CPU: 0.5, Memory: 64 << 20, Pids: 3}); err != nil {
		t.Fatal(err)
	}
	defer func() { _ = g.Remove() }()
	dir, err := g.Open()
	if err != nil || dir == nil {
		t.Fatalf("%v, %v: this host has cgroup v2", dir, err)
	}
	defer dir.Close()
	run := func(script string) error {
		cmd := exec.Command("/bin/sh", "-c", script)
		cmd.SysProcAttr = &syscall.SysProcAttr{UseCgroupFD: true, CgroupFD: int(dir.Fd())}
		return cmd.Run()
	}
	if err := run("grep -q gureum/jailtest /proc/self/cgroup"); err != nil {
		t.Errorf("a process is not in its group: %v", err)
	}
	if err := run("sleep 9 & sleep 9 & sleep 9 & kill $!; wait"); err == nil {
		t.Error("four processes were made where three are allowed")
	}
	u, err := g.Usage()
	if err != nil || u.CPU == 0 {
		t.Errorf("usage %+v, %v", u, err)
	}
	if ids, err := EmptyCgroups(); err != nil || slices.Contains(ids, g.ID) {
		t.Errorf("empty groups %v, %v: processes are left in it", ids, err)
	}
	if text, _ := os.ReadFile("/sys/fs/cgroup/gureum/jailtest/cgroup.procs"); len(text) != 0 {
		for _, pid := range slices.Backward(splitInts(string(text))) {
			_ = syscall.Kill(pid, syscall.SIGKILL)
		}
	}
	for end := time.Now().Add(time.Minute); ; {
		ids, err := EmptyCgroups()
		if err == nil && slices.Contains(ids, g.ID) {
			break
		}
		if time.Now().After(end) {
			t.Fatalf("empty groups %v, %v: the processes were killed", ids, err)
		}
	}
	if err := g.Remove(); err != nil || g.Exists() {
		t.Error(err)
	}
}
