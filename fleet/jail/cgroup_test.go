package jail

import (
	"os"
	"path/filepath"
	"testing"
)

// TestSettings checks the words of both versions of control groups.
func TestSettings(t *testing.T) {
	l := CgroupLimits{CPU: 1.5, Memory: 1 << 20, Pids: 9, Disks: []IOLimit{{Device: "8:0", ReadBPS: 5}}}
	var g Cgroup
	for _, c := range []struct {
		got  []setting
		want map[string]string
	}{
		{g.settingsV2(l), map[string]string{"cpu.max": "150000 100000", "memory.max": "1048576", "pids.max": "9", "io.max": "8:0 rbps=5 wbps=max riops=max wiops=max"}},
		{g.settingsV2(CgroupLimits{}), map[string]string{"cpu.max": "max 100000", "memory.max": "max", "pids.max": "max"}},
		{g.settingsV1(l), map[string]string{
			"cpu.cfs_period_us": "100000", "cpu.cfs_quota_us": "150000", "memory.limit_in_bytes": "1048576", "pids.max": "9",
			"blkio.throttle.read_bps_device": "8:0 5", "blkio.throttle.write_bps_device": "8:0 0",
			"blkio.throttle.read_iops_device": "8:0 0", "blkio.throttle.write_iops_device": "8:0 0",
		}},
	} {
		if len(c.got) != len(c.want) {
			t.Errorf("%v, want %v", c.got, c.want)
		}
		for _, s := range c.got {
			if c.want[s.file] != s.value {
				t.Errorf("%s: %q, want %q", s.file, s.value, c.want[s.file])
			}
		}
	}
}

// TestCgroupV1Folders lays a version 1 host's folders out and has a group made there.
func TestCgroupV1Folders(t *testing.T) {
	g := Cgroup{ID: "x", Mount: t.TempDir()}
	if err := g.Create(CgroupLimits{}); err == nil {
		t.Error("a group was made on a host without any")
	}
	for _, c := range []string{"memory", "cpu"} {
		if err := os.Mkdir(filepath.Join(g.Mount, c), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	if err := g.Create(CgroupLimits{Memory: 5}); err == nil {
		t.Error("a limit without its file was set")
	}
	if _, err := os.Stat(g.dir("memory")); err == nil {
		t.Error("a group stays after a failure")
	}
}
