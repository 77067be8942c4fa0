package bench

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"github.com/gureum/gureum/bench/payload"
	"github.com/gureum/gureum/guest/initramfs"
)

// The files that Prepare makes.
const (
	kernelFile   = "vmlinux"
	initrdFile   = "initrd"
	ioInitrdFile = "initrd-io"
)

// guestMemory is what each contestant's guest gets, in MiB.
const guestMemory = 256

// initScript is the init of a boot measurement: it shows the guest's clock and
// switches off, or resets where the VMM has no way to switch off.
const initScript = `#!/bin/sh
/bin/busybox mount -t proc proc /proc
read -r up idle < /proc/uptime
echo "gureum-bench up $up"
read -r line < /proc/cmdline
case "$line" in *bench-reset*) exec /bin/busybox reboot -f ;; esac
exec /bin/busybox poweroff -f
`

// Prepare writes the embedded kernel, unpacked, and an initial RAM disk into dir,
// which all contestants boot.
func Prepare(dir string) error {
	return errors.Join(
		payload.WriteKernel(filepath.Join(dir, kernelFile)),
		payload.WriteInitrd(filepath.Join(dir, initrdFile), &initramfs.Archive{}, map[string][]byte{"bench-init": []byte(initScript)}))
}

// PrepareIO writes what the guests of MeasureIO boot beside the kernel: a RAM disk
// with the rows to make, the load program, which is at the given path, and the
// tools, if wanted.
func PrepareIO(dir, loadProgram string, rows []IORow, tools bool) error {
	program, err := os.ReadFile(loadProgram)
	if err != nil {
		return err
	}
	var archive initramfs.Archive
	if tools {
		if err := addTools(&archive); err != nil {
			return err
		}
	}
	programs := map[string][]byte{"bench-io": []byte(initScriptFor(rows)), "load": program}
	return payload.WriteInitrd(filepath.Join(dir, ioInitrdFile), &archive, programs)
}

// bootCmdline is the command line of a boot measurement. The first serial port is
// the only device that all VMMs have.
const bootCmdline = "console=ttyS0 quiet panic=-1 rdinit=/bench-init"

// BootContestants are Gureum and the peers that are installed.
func (s *Stage) BootContestants() []Contestant {
	contestants := []Contestant{
		{Name: "gureum", Args: []string{
			s.Gureum, "run", "--kernel", s.kernel, "--initrd", s.initrd,
			"--memory", fmt.Sprintf("%dM", guestMemory), "--append", "quiet rdinit=/bench-init",
		}},
		{Name: "gureum run -- CMD", Args: []string{
			s.Gureum, "run", "--memory", fmt.Sprintf("%dM", guestMemory),
			"--", "sh", "-c", `read -r up idle < /proc/uptime; echo "gureum-bench up $up"`,
		}},
	}
	if qemu, err := exec.LookPath("qemu-system-x86_64"); err == nil {
		contestants = append(contestants, Contestant{Name: "QEMU microvm", Peer: true, Args: []string{
			qemu, "-M", "microvm", "-accel", "kvm", "-cpu", "host", "-m", fmt.Sprint(guestMemory),
			"-nodefaults", "-no-user-config", "-display", "none", "-no-reboot", "-serial", "stdio",
			"-kernel", s.kernel, "-initrd", s.initrd, "-append", bootCmdline,
		}})
	}
	if s.gokvm != "" {
		contestants = append(contestants, Contestant{Name: "gokvm", Peer: true, AnyStatus: true, Args: []string{
			s.gokvm, "boot", "-k", s.kernel, "-i", s.initrd, "-m", fmt.Sprintf("%dM", guestMemory),
			"-p", strings.Join([]string{bootCmdline, "reboot=t bench-reset"}, " "),
		}})
	}
	return contestants
}
