package main

import (
	"errors"
	"os"
	"strings"

	"golang.org/x/sys/unix"
)

// mount is one file system that the kernel offers.
type mount struct {
	kind, dir, data string
	flags           uintptr
}

const (
	noExec = unix.MS_NOSUID | unix.MS_NODEV | unix.MS_NOEXEC
	noDev  = unix.MS_NOSUID | unix.MS_NODEV
)

// firstMounts are what it takes to find and open the agent port.
var firstMounts = []mount{
	{kind: "proc", dir: "/proc", flags: noExec},
	{kind: "devtmpfs", dir: "/dev", flags: unix.MS_NOSUID, data: "mode=0755"},
}

// otherMounts are what programs expect.
var otherMounts = []mount{
	{kind: "devpts", dir: "/dev/pts", flags: unix.MS_NOSUID | unix.MS_NOEXEC, data: "mode=0620,gid=5,ptmxmode=0666"},
	{kind: "sysfs", dir: "/sys", flags: noExec},
	{kind: "cgroup2", dir: "/sys/fs/cgroup", flags: noExec, data: "nsdelegate"},
	{kind: "tmpfs", dir: "/dev/shm", flags: noDev, data: "mode=1777"},
	{kind: "tmpfs", dir: "/run", flags: noDev, data: "mode=0755"},
	{kind: "tmpfs", dir: "/tmp", flags: noDev, data: "mode=1777"},
}

// devLinks are names in /dev that programs use and devtmpfs does not have.
var devLinks = [][2]string{
	{"/proc/self/fd", "/dev/fd"},
	{"/proc/self/fd/0", "/dev/stdin"},
	{"/proc/self/fd/1", "/dev/stdout"},
	{"/proc/self/fd/2", "/dev/stderr"},
}

// mountAll mounts what the kernel has; what it lacks is left out in silence.
func mountAll(list []mount) {
	for _, m := range list {
		err := unix.Mount(m.kind, m.dir, m.kind, m.flags, m.data)
		if err == unix.ENOENT {
			_ = unix.Mkdir(m.dir, 0o755) // mount says what is wrong
			err = unix.Mount(m.kind, m.dir, m.kind, m.flags, m.data)
		}
		switch err {
		case nil, unix.EBUSY, unix.ENODEV, unix.ENOENT:
		default:
			complain("mount "+m.dir, err)
		}
	}
}

// prepare completes the system. It runs beside the handshake with the host and
// has ended before any program starts.
func (g *guest) prepare() {
	unix.Umask(0o022)
	try("mode of /", unix.Chmod("/", 0o755)) // the kernel makes it like /tmp
	mountAll(otherMounts)
	mountShares(g.cfg.shares)
	for _, l := range devLinks {
		try("link "+l[1], unix.Symlink(l[0], l[1]))
	}
	try("make "+home, unix.Mkdir(home, 0o700))
	try("host name", unix.Sethostname([]byte(g.cfg.hostname)))
	loopbackUp()
	setUpNetworks(g.cfg.networks)
	letIdle()
	// From here on Ctrl-Alt-Del is a signal to us and not an instant reset.
	try("Ctrl-Alt-Del", unix.Reboot(unix.LINUX_REBOOT_CMD_CAD_OFF))
	g.watchButtons()
}

// letIdle keeps the kernel from waking twice a second to see whether memory should be
// compacted ahead of need, which counts where there are hundreds of guests. By the command
// line it would cost a tenth of the boot.
func letIdle() {
	err := os.WriteFile("/proc/sys/vm/compaction_proactiveness", []byte("0"), 0)
	if !errors.Is(err, os.ErrNotExist) { // before Linux 5.9
		try("proactive compaction", err)
	}
}

// mountShares mounts folders of the host (virtiofs).
func mountShares(list string) {
	for item := range strings.SplitSeq(list, ",") {
		tag, mode, _ := strings.Cut(item, ":")
		if tag == "" {
			continue
		}
		var flags uintptr = noDev
		if mode == "ro" {
			flags |= unix.MS_RDONLY
		}
		dir := "/mnt/" + tag
		_ = unix.Mkdir("/mnt", 0o755)
		_ = unix.Mkdir(dir, 0o755) // mount says what is wrong
		try("mount share "+tag, unix.Mount(tag, dir, "virtiofs", flags, ""))
	}
}

// try reports a failure, unless it is only that something is there already.
func try(what string, err error) {
	if err != nil && !errors.Is(err, unix.EEXIST) {
		complain(what, err)
	}
}

// loopbackUp sets the loopback interface up; kernels without a network have
// none, which is fine.
func loopbackUp() {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return
	}
	defer unix.Close(fd)
	ifr, err := unix.NewIfreq("lo")
	if err != nil {
		return
	}
	ifr.SetUint16(unix.IFF_UP | unix.IFF_RUNNING)
	if err := unix.IoctlIfreq(fd, unix.SIOCSIFFLAGS, ifr); err != nil && err != unix.ENODEV {
		complain("loopback interface", err)
	}
}
