package bench

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"github.com/pierrec/lz4/v4"

	"github.com/gureum/gureum/guest/initramfs"
	"github.com/gureum/gureum/guest/linux"
	"github.com/gureum/gureum/guest/userland"
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
		writeFile(filepath.Join(dir, kernelFile), writeKernel),
		writeFile(filepath.Join(dir, initrdFile), func(w io.Writer) error {
			return writeInitrd(w, &initramfs.Archive{}, map[string][]byte{"bench-init": []byte(initScript)})
		}))
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
	return writeFile(filepath.Join(dir, ioInitrdFile), func(w io.Writer) error {
		return writeInitrd(w, &archive, map[string][]byte{"bench-io": []byte(initScriptFor(rows)), "load": program})
	})
}

func writeFile(path string, write func(io.Writer) error) error {
	f, err := os.Create(path)
	if err != nil {
		return err
	}
	return errors.Join(write(f), f.Close())
}

func writeKernel(w io.Writer) error {
	blob, _ := linux.Image()
	_, err := io.Copy(w, lz4.NewReader(bytes.NewReader(blob)))
	return err
}

// writeInitrd writes the embedded user land with an archive and programs laid over it.
func writeInitrd(w io.Writer, archive *initramfs.Archive, programs map[string][]byte) error {
	if _, err := w.Write(userland.Archive()); err != nil {
		return err
	}
	for name, data := range programs {
		archive.File(name, initramfs.Attr{Mode: 0o755}, data)
	}
	_, err := archive.WriteTo(w)
	return err
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
