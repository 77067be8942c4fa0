// Package debian makes root file systems from Debian's package archive, with mmdebstrap,
// and fits them for a virtual machine: what a machine must have of its own (machine-id,
// ssh host keys) it makes at its first boot.
//
// Package image calls it. mmdebstrap and not debootstrap: it resolves and fetches with apt
// in one go, works without root (in a user namespace), writes a tar to a pipe, and the
// same packages give the same tar. Nothing is unpacked on the host but in mmdebstrap's own
// temporary folder.
package debian

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"time"
)

// Config says what to make.
type Config struct {
	Release  string    // "12", "bookworm", ...
	Packages []string  // besides the usual ones
	Time     time.Time // to which later times in the tar are set
	Progress func(msg string)
}

// Suite gives a release's name in the archive.
func Suite(release string) (string, error) {
	switch release {
	case "11", "bullseye":
		return "bullseye", nil
	case "12", "bookworm":
		return "bookworm", nil
	case "13", "trixie":
		return "trixie", nil
	}
	return "", fmt.Errorf("debian:%s: give 11, 12 or 13, or the release's name", release)
}

// packages are what every image has. udev, kmod and the RAM disk boot it; systemd-resolved
// and networkd (part of systemd) are its network.
var packages = []string{
	"systemd", "systemd-sysv", "systemd-resolved", "libpam-systemd", "dbus", "udev", "kmod", "initramfs-tools",
	"linux-image-cloud-amd64", "e2fsprogs", "openssh-server", "cloud-init", "cloud-guest-utils", "iproute2",
	"iputils-ping", "sudo", "ca-certificates", "netbase", "less", "procps",
}

// ErrTool is the error of a host that lacks a program.
var ErrTool = errors.New("a program is missing on this host")

// CheckTools looks for what Root needs on the host.
func CheckTools() error {
	if _, err := exec.LookPath("mmdebstrap"); err != nil {
		return fmt.Errorf("%w: mmdebstrap: install it (Debian: apt-get install mmdebstrap)", ErrTool)
	}
	return nil
}

// CheckPackage accepts names of Debian packages (Debian Policy, section 5.6.1), as they
// go to a program's command line.
func CheckPackage(name string) error {
	for i, r := range name {
		letter := r >= 'a' && r <= 'z' || r >= '0' && r <= '9'
		if !letter && (i == 0 || !strings.ContainsRune("+-.", r)) {
			return fmt.Errorf("package %q: give lower-case letters and digits, and + - . between them", name)
		}
	}
	if len(name) < 2 {
		return fmt.Errorf("package %q: give at least two characters", name)
	}
	return nil
}

// initramfs is what the RAM disk has: the drivers that our machines need and no others,
// which makes it a third as large, and the boot quicker.
const initramfs = `MODULES=list
COMPRESS=zstd
`

const modules = `virtio_pci
virtio_mmio
virtio_blk
virtio_net
virtio_console
virtio_rng
virtio_balloon
ext4
`

// arguments are those of mmdebstrap. Its output goes to a pipe.
func (c *Config) arguments(suite string, host hostAPT) ([]string, error) {
	include := append([]string{}, packages...)
	for _, name := range c.Packages {
		if err := CheckPackage(name); err != nil {
			return nil, err
		}
		include = append(include, name)
	}
	args := []string{
		"--variant=minbase", "--format=tar", "--include=" + strings.Join(include, ","),
		`--aptopt=APT::Install-Recommends "false"`, `--aptopt=Acquire::Retries "3"`,
		`--dpkgopt=path-exclude=/usr/share/man/*`,
		`--dpkgopt=path-exclude=/usr/share/doc/*`, `--dpkgopt=path-include=/usr/share/doc/*/copyright`,
		// Before the kernel is configured, which makes the RAM disk.
		`--essential-hook=` + writeFileHook("etc/initramfs-tools/conf.d", "gureum.conf", initramfs),
		`--essential-hook=` + writeFileHook("usr/share/initramfs-tools/modules.d", "gureum.conf", modules),
	}
	for _, option := range host.options {
		args = append(args, "--aptopt="+option)
	}
	args = append(args, suite, "-")
	return append(args, host.sources(suite)...), nil
}

// writeFileHook is a shell command that writes a file below mmdebstrap's root, its $1.
func writeFileHook(dir, name, content string) string {
	return fmt.Sprintf(`mkdir -p "$1/%s" && printf '%s' > "$1/%s/%s"`, dir, strings.ReplaceAll(content, "\n", `\n`), dir, name)
}

// Root runs mmdebstrap and has use read the root file system that it makes, as a tar.
func Root(ctx context.Context, c Config, use func(io.Reader) error) error {
	suite, err := Suite(c.Release)
	if err != nil {
		return err
	}
	if err := CheckTools(); err != nil {
		return err
	}
	host, err := readHostAPT(ctx)
	if err != nil {
		return err
	}
	args, err := c.arguments(suite, host)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	cmd := exec.CommandContext(ctx, "mmdebstrap", args...)
	// SIGINT lets it take its temporary folder away.
	cmd.Cancel = func() error { return cmd.Process.Signal(os.Interrupt) }
	cmd.WaitDelay = 20 * time.Second
	cmd.Env = append(cmd.Environ(), "LC_ALL=C.UTF-8", "SOURCE_DATE_EPOCH="+strconv.FormatInt(c.Time.Unix(), 10))
	out, err := cmd.StdoutPipe()
	if err != nil {
		return err
	}
	messages, err := cmd.StderrPipe()
	if err != nil {
		return err
	}
	if err := cmd.Start(); err != nil {
		return err
	}
	last := make(chan []string, 1)
	go func() { last <- relay(messages, c.Progress) }()
	used := use(out)
	if used != nil {
		cancel() // it may be writing still
	}
	lines := <-last
	if err := cmd.Wait(); err != nil && used == nil {
		return fmt.Errorf("mmdebstrap: %w:\n%s", err, strings.Join(lines, "\n"))
	}
	return used
}

// keptLines is how much of mmdebstrap's last words an error has.
const keptLines = 15

// relay passes on mmdebstrap's messages of progress and gives back its last lines.
func relay(r io.Reader, progress func(string)) []string {
	var last []string
	lines := bufio.NewScanner(r)
	lines.Split(scanLines)
	for lines.Scan() {
		line := strings.TrimRight(lines.Text(), " ")
		if step, ok := strings.CutPrefix(line, "I: "); ok && progress != nil {
			progress(step)
		}
		if line != "" {
			last = append(last, line)
			last = last[max(0, len(last)-keptLines):]
		}
	}
	_, _ = io.Copy(io.Discard, r) // a line that is too long must not block the writer
	return last
}

// scanLines ends a line at a carriage return too, as progress bars do.
func scanLines(data []byte, atEOF bool) (advance int, token []byte, err error) {
	for i, b := range data {
		if b == '\n' || b == '\r' {
			return i + 1, data[:i], nil
		}
	}
	if atEOF && len(data) > 0 {
		return len(data), data, nil
	}
	return 0, nil, nil
}
