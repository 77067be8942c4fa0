package hostcheck

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// fakeHost writes files below a new root; a name that ends in / is a folder.
func fakeHost(t *testing.T, files map[string]string) Host {
	t.Helper()
	root := t.TempDir()
	for name, content := range files {
		path := filepath.Join(root, name)
		dir := filepath.Dir(path)
		if strings.HasSuffix(name, "/") {
			dir = path
		}
		if err := os.MkdirAll(dir, 0o755); err != nil {
			t.Fatal(err)
		}
		if dir == path {
			continue
		}
		if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return Host{Root: root, Device: "/dev/kvm"}
}

func find(t *testing.T, findings []Finding, check string) Finding {
	t.Helper()
	for _, f := range findings {
		if f.Check == check {
			return f
		}
	}
	t.Fatalf("no check %q", check)
	return Finding{}
}

func TestCPU(t *testing.T) {
	for _, c := range []struct {
		name, cpuinfo string
		status        Status
		detail        string
	}{
		{"Intel", "processor\t: 0\nmodel name\t: Xeon\nflags\t\t: fpu vmx ept\n", OK, "Xeon, with VT-x and EPT"},
		{"AMD", "model name\t: EPYC\nflags\t\t: svm npt\n", OK, "EPYC, with AMD-V and nested paging"},
		{"no nested paging", "flags\t\t: svm\n", Warning, "without nested paging"},
		{"none", "flags\t\t: fpu\n", Failed, "neither vmx nor svm"},
		{"no file", "", Failed, "neither vmx nor svm"},
	} {
		f := fakeHost(t, map[string]string{"proc/cpuinfo": c.cpuinfo}).checkCPU()
		if f.Status != c.status || !strings.Contains(f.Detail, c.detail) {
			t.Errorf("%s: %+v", c.name, f)
		}
		if (f.Fix == "") != (f.Status == OK) {
			t.Errorf("%s: status %s with fix %q", c.name, f.Status, f.Fix)
		}
	}
}

// TestDevicesThatAreNoKVM gives paths that are no KVM device.
func TestDevicesThatAreNoKVM(t *testing.T) {
	missing := fakeHost(t, nil).checkKVM(true)
	if missing.Status != Failed || !strings.Contains(missing.Fix, "modprobe") {
		t.Errorf("missing: %+v", missing)
	}
	wrong := fakeHost(t, map[string]string{"dev/kvm": ""}).checkKVM(true)
	if wrong.Status != Failed || wrong.Fix == "" {
		t.Errorf("a plain file: %+v", wrong)
	}
}

func TestModules(t *testing.T) {
	for _, c := range []struct {
		name, file, content string
		status              Status
		detail              string
	}{
		{"loaded", "sys/module/bridge/", "", OK, "loaded"},
		{"built in", "lib/modules/6.1/modules.builtin", "kernel/net/bridge/bridge.ko\n", OK, "built in"},
		{"loadable", "lib/modules/6.1/modules.dep", "kernel/net/bridge/bridge.ko.xz: kernel/net/llc/llc.ko.xz\n", OK, "not loaded yet"},
		{"absent", "lib/modules/6.1/modules.builtin", "kernel/net/bridge/br_netfilter.ko\n", Warning, "no module bridge"},
		{"no list", "lib/modules/6.1/modules.dep", "", Warning, "cannot be told"},
	} {
		h := fakeHost(t, map[string]string{"proc/sys/kernel/osrelease": "6.1\n", c.file: c.content})
		f := find(t, h.Run(), "bridge")
		if f.Status != c.status || !strings.Contains(f.Detail, c.detail) {
			t.Errorf("%s: %+v", c.name, f)
		}
	}
}

func TestSettings(t *testing.T) {
	h := fakeHost(t, map[string]string{
		"sys/kernel/mm/hugepages/hugepages-2048kB/nr_hugepages": "512\n",
		"sys/kernel/mm/transparent_hugepage/enabled":            "always madvise [never]\n",
		"proc/sys/vm/overcommit_memory":                         "2\n",
		"dev/net/tun":                                           "",
	})
	findings := h.Run()
	for check, want := range map[string]struct {
		status Status
		detail string
	}{
		"hugepages":  {OK, "512 of 2 MiB"},
		"thp":        {Warning, "are off"},
		"overcommit": {Warning, "counts in full"},
		"tun":        {OK, "opens"},
		"vhost-net":  {Warning, "no faster guest networks"},
	} {
		if f := find(t, findings, check); f.Status != want.status || !strings.Contains(f.Detail, want.detail) {
			t.Errorf("%s: %+v", check, f)
		}
	}
	if Worst(findings) != Failed {
		t.Errorf("worst is %s", Worst(findings))
	}
}

func TestWorst(t *testing.T) {
	for _, c := range []struct {
		in   []Status
		want Status
	}{
		{nil, OK},
		{[]Status{OK, Warning, OK}, Warning},
		{[]Status{Warning, Failed, OK}, Failed},
	} {
		var findings []Finding
		for _, s := range c.in {
			findings = append(findings, Finding{Status: s})
		}
		if got := Worst(findings); got != c.want {
			t.Errorf("%v: %s", c.in, got)
		}
	}
}
