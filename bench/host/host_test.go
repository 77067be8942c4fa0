package host

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

// fake is a host of files.
func fake(t *testing.T, files map[string]string) Root {
	t.Helper()
	dir := t.TempDir()
	for name, text := range files {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return Root(dir)
}

func TestEnvironment(t *testing.T) {
	e := fake(t, map[string]string{
		"proc/cpuinfo": "processor\t: 0\nmodel name\t: A CPU\nflags\t\t: fpu hypervisor svm\n\nprocessor\t: 1\nmodel name\t: Another\n",
		"proc/meminfo": "MemTotal:       2048 kB\nMemFree: 1 kB\n",
		"sys/devices/system/cpu/vulnerabilities/meltdown":   "Not affected\n",
		"sys/devices/system/cpu/vulnerabilities/spectre_v2": "Mitigation: Retpolines\n",
		"sys/kernel/mm/transparent_hugepage/enabled":        "always [madvise] never\n",
		"sys/module/kvm_amd/parameters/npt":                 "Y\n",
		"sys/class/dmi/id/sys_vendor":                       "QEMU\n",
	}).Environment()
	if e.CPU != "A CPU" || e.MemoryBytes != 2<<20 || !slices.Equal(e.Mitigations, []string{"spectre_v2: Mitigation: Retpolines"}) ||
		e.THP != "madvise" || e.KVM != "kvm_amd npt=Y" || e.Virtual != "QEMU" || e.Governor != "" || !strings.HasPrefix(e.Kernel, "Linux ") || e.CPUs < 1 {
		t.Errorf("%+v", e)
	}
	if e := fake(t, nil).Environment(); e.CPU != "" || e.Virtual != "" || e.THP != "" {
		t.Errorf("a host that tells nothing: %+v", e)
	}
	if e := Root("/").Environment(); e.CPU == "" || e.MemoryBytes == 0 {
		t.Errorf("this host: %+v", e)
	}
}

func TestNoise(t *testing.T) {
	now := time.Now()
	quiet := fake(t, map[string]string{"proc/stat": "cpu  1 2 3 4 5 6 7 100 0 0\ncpu0 1\ncpu1 1\nintr 5\n"}).Noise()
	if quiet.CPUs != 2 || quiet.Steal != time.Second {
		t.Errorf("%+v", quiet)
	}
	quiet.At = now
	later := fake(t, map[string]string{
		"proc/stat":    "cpu  1 2 3 4 5 6 7 200 0 0\ncpu0 1\ncpu1 1\n",
		"proc/loadavg": "1.50 0.75 0.25 1/100 7\n",
		"sys/devices/system/cpu/cpu0/thermal_throttle/core_throttle_count": "3\n",
	}).Noise()
	later.At = now.Add(10 * time.Second)
	words := strings.Join(later.Since(quiet), "\n")
	if !strings.Contains(words, "5.0%") || !strings.Contains(words, "3 times") {
		t.Errorf("%q", words)
	}
	if later.Load != 1.5 {
		t.Errorf("load %v", later.Load)
	}
	quiet.Load = 0.5
	if r := later.Report(quiet); r.Steal != 0.05 || r.Throttled != 3 || r.Load != 0.5 {
		t.Errorf("%+v", r)
	}
	if r := quiet.Report(later); r.Steal != 0 || r.Throttled != 0 {
		t.Errorf("counters that went back: %+v", r)
	}
	later.Steal, later.Throttled = quiet.Steal, 0
	if words := later.Since(quiet); words != nil {
		t.Errorf("nothing happened: %q", words)
	}
}
