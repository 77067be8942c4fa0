package lab

import (
	"os"
	"strings"
)

// HostHasKVM says whether this machine itself can run guests: its CPU has svm
// or vmx, and /dev/kvm opens. A /dev/kvm on a CPU without either is a software
// KVM, which runs no Linux.
func HostHasKVM() bool {
	info, err := os.ReadFile("/proc/cpuinfo")
	if err != nil || !virtualizes(string(info)) {
		return false
	}
	f, err := os.OpenFile("/dev/kvm", os.O_RDWR, 0)
	if err != nil {
		return false
	}
	f.Close()
	return true
}

// virtualizes looks for svm or vmx among the flags in /proc/cpuinfo.
func virtualizes(cpuinfo string) bool {
	for line := range strings.Lines(cpuinfo) {
		key, value, _ := strings.Cut(line, ":")
		if strings.TrimSpace(key) != "flags" {
			continue
		}
		for flag := range strings.FieldsSeq(value) {
			if flag == "svm" || flag == "vmx" {
				return true
			}
		}
		return false
	}
	return false
}
