package lab

import (
	"fmt"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// mount is one line of L1's mount table.
type mount struct {
	source, target, fstype string
	flags                  uintptr
	data                   string
}

// hostMounts are what an ordinary host has; /proc, /sys, /dev, /run and the
// root file system are there already.
var hostMounts = []mount{
	{"devpts", "/dev/pts", "devpts", 0, "mode=620,gid=5,ptmxmode=666"},
	{"shm", "/dev/shm", "tmpfs", unix.MS_NOSUID | unix.MS_NODEV, "mode=1777"},
	{"mqueue", "/dev/mqueue", "mqueue", 0, ""},
	{"hugetlbfs", "/dev/hugepages", "hugetlbfs", 0, ""},
	{"cgroup2", "/sys/fs/cgroup", "cgroup2", 0, "nsdelegate"},
	{"debugfs", "/sys/kernel/debug", "debugfs", 0, ""},
	{"tracefs", "/sys/kernel/tracing", "tracefs", 0, ""},
}

// deviceNodes load their module when first opened (modules.devname).
var deviceNodes = []struct {
	path         string
	major, minor uint32
}{
	{"/dev/net/tun", 10, 200},
	{"/dev/vhost-net", 10, 238},
	{"/dev/vhost-vsock", 10, 241},
	{"/dev/fuse", 10, 229},
	{"/dev/loop-control", 10, 237},
}

// setUp makes L1 look like the host that a command expects.
func setUp(c command) error {
	for _, m := range hostMounts {
		if err := os.MkdirAll(m.target, 0o755); err != nil {
			return err
		}
		if err := unix.Mount(m.source, m.target, m.fstype, m.flags, m.data); err != nil {
			return fmt.Errorf("mount %s: %w", m.target, err)
		}
	}
	for _, d := range deviceNodes {
		_ = os.MkdirAll(filepath.Dir(d.path), 0o755)
		err := unix.Mknod(d.path, unix.S_IFCHR|0o666, int(unix.Mkdev(d.major, d.minor)))
		if err != nil && err != unix.EEXIST {
			return fmt.Errorf("mknod %s: %w", d.path, err)
		}
	}
	for name, target := range map[string]string{"fd": "/proc/self/fd", "stdin": "/proc/self/fd/0", "stdout": "/proc/self/fd/1", "stderr": "/proc/self/fd/2"} {
		_ = os.Symlink(target, "/dev/"+name)
	}
	modules := filepath.Join("/lib/modules", filepath.Base(c.Modules))
	if err := os.MkdirAll(modules, 0o755); err != nil {
		return err
	}
	if err := unix.Mount(c.Modules, modules, "", unix.MS_BIND, ""); err != nil {
		return fmt.Errorf("bind %s: %w", modules, err)
	}
	for i, dir := range c.Shares {
		opts := "trans=virtio,version=9p2000.L,msize=512000,cache=mmap"
		if err := os.MkdirAll(dir, 0o755); err != nil {
			return err
		}
		if err := unix.Mount(shareTag(i), dir, "9p", 0, opts); err != nil {
			return fmt.Errorf("mount share %s: %w", dir, err)
		}
	}
	if err := unix.Sethostname([]byte("lab")); err != nil {
		return fmt.Errorf("set the host name: %w", err)
	}
	return linkUp("lo")
}

// linkUp brings a network interface up.
func linkUp(name string) error {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("link %s up: %w", name, err)
	}
	defer unix.Close(fd)
	req, err := unix.NewIfreq(name)
	if err != nil {
		return err
	}
	req.SetUint16(unix.IFF_UP | unix.IFF_RUNNING)
	if err := unix.IoctlIfreq(fd, unix.SIOCSIFFLAGS, req); err != nil {
		return fmt.Errorf("link %s up: %w", name, err)
	}
	return nil
}
