package hostcheck

import (
	"strings"
	"testing"
)

func TestKVMIsFound(t *testing.T) {
	h := Host{Root: "/", Device: "/dev/kvm"}
	if f := h.checkKVM(true); f.Status != OK || !strings.Contains(f.Detail, "virtual CPUs a machine") {
		t.Errorf("%+v", f)
	}
	// The same device counts as a software KVM where the CPU has no virtualization.
	if f := h.checkKVM(false); f.Status != Failed || !strings.Contains(f.Detail, "software KVM") {
		t.Errorf("%+v", f)
	}
	if f := find(t, h.Run(), "cpu"); f.Status != OK {
		t.Errorf("%+v", f)
	}
}
