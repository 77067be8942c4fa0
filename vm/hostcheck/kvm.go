package hostcheck

import (
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"strings"

	"github.com/gureum/gureum/kvm"
)

// required are the capabilities that no machine can do without.
var required = []kvm.Cap{
	kvm.CapIRQChip, kvm.CapUserMemory, kvm.CapIRQFD, kvm.CapIOEventFD, kvm.CapImmediateExit,
	kvm.CapSetTSSAddr, kvm.CapPIT2, kvm.CapIRQRouting,
}

// checkKVM opens the device and asks for what machines need.
func (h Host) checkKVM(hardware bool) Finding {
	f := Finding{Check: "kvm", Status: Failed}
	system, err := kvm.Open(filepath.Join(h.Root, h.Device))
	if err != nil {
		f.Detail = err.Error()
		f.Fix = "modprobe kvm_intel or modprobe kvm_amd"
		if errors.Is(err, fs.ErrPermission) {
			f.Fix = "add yourself to the group kvm: usermod -aG kvm $USER, and log in again"
		}
		return f
	}
	defer func() { _ = system.Close() }()
	if !hardware {
		f.Detail = h.Device + " opens, but it is a software KVM: it emulates the kernel's instructions one by one, " +
			"lacks some, and cannot run Linux"
		f.Fix = "see cpu above"
		return f
	}
	if missing := missingCaps(system); len(missing) > 0 {
		f.Detail = h.Device + " lacks " + strings.Join(missing, ", ")
		f.Fix = "use Linux 5.10 or newer"
		return f
	}
	f.Status = OK
	f.Detail = fmt.Sprintf("%s opens%s", h.Device, maxCPUs(system))
	return f
}

func missingCaps(system *kvm.System) []string {
	var missing []string
	for _, c := range required {
		if n, err := system.CheckExtension(c); err != nil || n == 0 {
			missing = append(missing, c.String())
		}
	}
	return missing
}

func maxCPUs(system *kvm.System) string {
	n, err := system.CheckExtension(kvm.CapMaxVCPUs)
	if err != nil {
		return ""
	}
	return fmt.Sprintf(", up to %d virtual CPUs a machine", n)
}
