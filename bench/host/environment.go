// Package host tells what a measurement was made on, and what else that host did meanwhile,
// and prepares the disk and the tap of its guests.
package host

import (
	"bufio"
	"bytes"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/gureum/gureum/bench/result"
)

// Root is where the host's /proc and /sys are.
type Root string

// Environment reads what the kernel tells of the host. What it does not tell is left empty.
func (r Root) Environment() result.Environment {
	cpu := r.cpuinfo()
	e := result.Environment{
		CPU: cpu["model name"], CPUs: runtime.NumCPU(), Kernel: release(),
		MemoryBytes: r.memory(), Mitigations: r.mitigations(),
		Governor:    r.word("sys/devices/system/cpu/cpu0/cpufreq/scaling_governor"),
		SMT:         r.word("sys/devices/system/cpu/smt/control"),
		THP:         chosen(r.word("sys/kernel/mm/transparent_hugepage/enabled")),
		Clocksource: r.word("sys/devices/system/clocksource/clocksource0/current_clocksource"),
		KVM:         r.kvm(),
	}
	if slices.Contains(strings.Fields(cpu["flags"]), "hypervisor") {
		e.Virtual = strings.TrimSpace(r.word("sys/class/dmi/id/sys_vendor") + " " + r.word("sys/class/dmi/id/product_name"))
		if e.Virtual == "" {
			e.Virtual = "a hypervisor"
		}
	}
	return e
}

func (r Root) path(name string) string { return filepath.Join(string(r), name) }

// word is the text of a small file.
func (r Root) word(name string) string {
	text, err := os.ReadFile(r.path(name))
	if err != nil {
		return ""
	}
	return strings.TrimSpace(string(text))
}

// cpuinfo is what /proc/cpuinfo tells of the first CPU.
func (r Root) cpuinfo() map[string]string {
	fields := map[string]string{}
	text, _ := os.ReadFile(r.path("proc/cpuinfo"))
	lines := bufio.NewScanner(bytes.NewReader(text))
	for lines.Scan() && lines.Text() != "" {
		name, value, _ := strings.Cut(lines.Text(), ":")
		fields[strings.TrimSpace(name)] = strings.TrimSpace(value)
	}
	return fields
}

// memory is the size of the host's in bytes.
func (r Root) memory() uint64 {
	text, _ := os.ReadFile(r.path("proc/meminfo"))
	for line := range strings.Lines(string(text)) {
		if f := strings.Fields(line); len(f) == 3 && f[0] == "MemTotal:" {
			n, _ := strconv.ParseUint(f[1], 10, 64)
			return n << 10
		}
	}
	return 0
}

// mitigations are those in force, as "spectre_v2: Mitigation: ...".
func (r Root) mitigations() []string {
	var out []string
	files, _ := filepath.Glob(r.path("sys/devices/system/cpu/vulnerabilities/*"))
	for _, f := range files {
		text, err := os.ReadFile(f)
		if state := strings.TrimSpace(string(text)); err == nil && state != "Not affected" {
			out = append(out, filepath.Base(f)+": "+state)
		}
	}
	return out
}

// kvm names the module, with what decides on its speed.
func (r Root) kvm() string {
	for _, vendor := range []string{"intel", "amd"} {
		module := "kvm_" + vendor
		if _, err := os.Stat(r.path("sys/module/" + module)); err != nil {
			continue
		}
		for _, name := range []string{"ept", "npt", "avic", "enable_apicv"} {
			if value := r.word("sys/module/" + module + "/parameters/" + name); value != "" {
				module += " " + name + "=" + value
			}
		}
		return module
	}
	return "no module known: built in, or another kind of KVM"
}

// chosen is the word in brackets of a choice, as in "always [madvise] never".
func chosen(text string) string {
	_, rest, _ := strings.Cut(text, "[")
	word, _, _ := strings.Cut(rest, "]")
	return word
}

func release() string {
	var u unix.Utsname
	if unix.Uname(&u) != nil {
		return ""
	}
	return unix.ByteSliceToString(u.Sysname[:]) + " " + unix.ByteSliceToString(u.Release[:]) + " " + unix.ByteSliceToString(u.Version[:])
}
