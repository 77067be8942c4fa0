// Package hostcheck looks at what a host offers for running machines, and says
// for each lack how to mend it. The doctor command prints its findings. It
// changes nothing on the host, and never creates a machine.
package hostcheck

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// Status grades a finding.
type Status string

// The grades: Failed keeps machines from running at all, Warning takes a
// feature or speed away.
const (
	OK      Status = "ok"
	Warning Status = "warning"
	Failed  Status = "failed"
)

// Finding is what one check found.
type Finding struct {
	Check  string `json:"check"`
	Status Status `json:"status"`
	Detail string `json:"detail"`
	Fix    string `json:"fix,omitempty"`
}

// Host is the host as the checks see it. Root is "/" but for tests.
type Host struct {
	Root   string
	Device string // the KVM device, "/dev/kvm" as a rule
}

// Run makes all checks, in the order in which a machine would need things.
func (h Host) Run() []Finding {
	cpu := h.checkCPU()
	findings := []Finding{cpu, h.checkKVM(cpu.Status == OK)}
	findings = append(findings, h.checkDevice("tun", "dev/net/tun", "tun", "guest networks"))
	findings = append(findings, h.checkModule("bridge", "bridge", "the virtual switch"))
	findings = append(findings, h.checkModule("nftables", "nf_tables", "firewall and NAT"))
	findings = append(findings, h.checkDevice("vhost-net", "dev/vhost-net", "vhost_net", "faster guest networks"))
	findings = append(findings, h.checkDevice("vhost-vsock", "dev/vhost-vsock", "vhost_vsock", "faster host-guest sockets"))
	return append(findings, h.checkHugePages(), h.checkTHP(), h.checkOvercommit(), checkFiles())
}

// Worst is the gravest status among findings.
func Worst(findings []Finding) Status {
	worst := OK
	for _, f := range findings {
		if f.Status == Failed || f.Status == Warning && worst == OK {
			worst = f.Status
		}
	}
	return worst
}

// read gives a small file's trimmed content, or "".
func (h Host) read(name string) string {
	b, err := os.ReadFile(filepath.Join(h.Root, name))
	if err != nil {
		return ""
	}
	return strings.TrimSpace(string(b))
}

// cpuField is a field of the first processor in /proc/cpuinfo.
func (h Host) cpuField(name string) string {
	for line := range strings.SplitSeq(h.read("proc/cpuinfo"), "\n") {
		key, value, _ := strings.Cut(line, ":")
		if strings.TrimSpace(key) == name {
			return strings.TrimSpace(value)
		}
	}
	return ""
}

// checkCPU looks for the virtualization extensions and nested paging.
func (h Host) checkCPU() Finding {
	f := Finding{Check: "cpu", Status: OK}
	flags := " " + h.cpuField("flags") + " "
	has := func(flag string) bool { return strings.Contains(flags, " "+flag+" ") }
	f.Detail = h.cpuField("model name")
	switch {
	case has("vmx") && has("ept"), has("svm") && has("npt"):
		f.Detail += ", with " + pick(has("vmx"), "VT-x and EPT", "AMD-V and nested paging")
	case has("vmx"), has("svm"):
		f.Status = Warning
		f.Detail += ", with virtualization but without nested paging: guests are slow"
		f.Fix = "on an outer machine, switch its nested paging on"
	default:
		f.Status = Failed
		f.Detail += ", without virtualization (neither vmx nor svm)"
		f.Fix = "switch VT-x or AMD-V on in the firmware, or nested virtualization in the outer machine's settings; " +
			"for trying things out: bin/lab -- gureum run"
	}
	return f
}

func pick(first bool, a, b string) string {
	if first {
		return a
	}
	return b
}

// checkDevice looks whether a device node opens.
func (h Host) checkDevice(check, path, module, use string) Finding {
	f := Finding{Check: check, Status: OK, Detail: "/" + path + " opens"}
	fd, err := unix.Open(filepath.Join(h.Root, path), unix.O_RDWR|unix.O_CLOEXEC, 0)
	if err == nil {
		_ = unix.Close(fd)
		return f
	}
	f.Status = Warning
	f.Detail = fmt.Sprintf("/%s: %v: no %s", path, err, use)
	f.Fix = "modprobe " + module
	if err == unix.EACCES || err == unix.EPERM {
		f.Fix = fmt.Sprintf("add yourself to the group that owns /%s", path)
	}
	return f
}

// checkModule looks whether a part of the kernel is there, or can be loaded.
func (h Host) checkModule(check, module, use string) Finding {
	f := Finding{Check: check, Status: OK, Detail: "loaded"}
	if _, err := os.Stat(filepath.Join(h.Root, "sys/module", module)); err == nil {
		return f
	}
	release := h.read("proc/sys/kernel/osrelease")
	dir := filepath.Join("lib/modules", release)
	for _, list := range []string{"modules.builtin", "modules.dep"} {
		if strings.Contains(h.read(filepath.Join(dir, list)), "/"+module+".ko") {
			f.Detail = pick(list == "modules.dep", "not loaded yet", "built in")
			return f
		}
	}
	f.Status = Warning
	if h.read(filepath.Join(dir, "modules.builtin")) == "" {
		f.Detail = fmt.Sprintf("cannot be told: the kernel %s came without a list of its modules in /%s", release, dir)
		return f
	}
	f.Detail = fmt.Sprintf("the kernel %s has no module %s: no %s", release, module, use)
	f.Fix = "install your distribution's full kernel package"
	return f
}

func (h Host) checkHugePages() Finding {
	n, _ := strconv.Atoi(h.read("sys/kernel/mm/hugepages/hugepages-2048kB/nr_hugepages"))
	f := Finding{Check: "hugepages", Status: OK, Detail: fmt.Sprintf("%d of 2 MiB reserved", n)}
	if n == 0 {
		f.Detail += ", which only --hugepages needs"
		f.Fix = "sysctl vm.nr_hugepages=N"
	}
	return f
}

func (h Host) checkTHP() Finding {
	mode := h.read("sys/kernel/mm/transparent_hugepage/enabled")
	_, chosen, _ := strings.Cut(mode, "[")
	chosen, _, _ = strings.Cut(chosen, "]")
	f := Finding{Check: "thp", Status: OK, Detail: "transparent huge pages: " + chosen}
	if chosen == "" || chosen == "never" {
		f.Status = Warning
		f.Detail = "transparent huge pages are off: guests take more faults"
		f.Fix = "echo madvise > /sys/kernel/mm/transparent_hugepage/enabled"
	}
	return f
}

// checkOvercommit looks at vm.overcommit_memory: guest RAM is reserved, not
// taken, and the strict policy counts it in full
// (Documentation/mm/overcommit-accounting.rst).
func (h Host) checkOvercommit() Finding {
	f := Finding{Check: "overcommit", Status: OK, Detail: "vm.overcommit_memory=" + h.read("proc/sys/vm/overcommit_memory")}
	if strings.HasSuffix(f.Detail, "=2") {
		f.Status = Warning
		f.Detail += ": each guest's memory counts in full"
		f.Fix = "sysctl vm.overcommit_memory=0"
	}
	return f
}

// wantFiles is what a machine with many devices, vCPUs and queues may open.
const wantFiles = 4096

func checkFiles() Finding {
	var limit unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &limit); err != nil {
		return Finding{Check: "limits", Status: Warning, Detail: err.Error()}
	}
	f := Finding{Check: "limits", Status: OK, Detail: fmt.Sprintf("%d open files", limit.Max)}
	if limit.Max < wantFiles {
		f.Status = Warning
		f.Fix = fmt.Sprintf("ulimit -n %d", wantFiles)
	}
	return f
}
