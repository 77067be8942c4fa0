package lab

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"
)

// mount is one line of L1's mount table.
type mount struct {
	source, target, fstype string
	flags                  uintptr
	data                   string
}

// hostMounts is what an ordinary host has; /proc, /sys, /dev, /run and the
// root file system are there already.
func hostMounts() []mount {
	const safe = unix.MS_NOSUID | unix.MS_NODEV | unix.MS_NOEXEC
	return []mount{
		{"devpts", "/dev/pts", "devpts", unix.MS_NOSUID | unix.MS_NOEXEC, "mode=620,gid=5,ptmxmode=666"},
		{"shm", "/dev/shm", "tmpfs", unix.MS_NOSUID | unix.MS_NODEV, "mode=1777"},
		{"mqueue", "/dev/mqueue", "mqueue", safe, ""},
		{"hugetlbfs", "/dev/hugepages", "hugetlbfs", unix.MS_NOSUID | unix.MS_NODEV, ""},
		{"cgroup2", "/sys/fs/cgroup", "cgroup2", safe, "nsdelegate"},
		{"debugfs", "/sys/kernel/debug", "debugfs", safe, ""},
		{"tracefs", "/sys/kernel/tracing", "tracefs", safe, ""},
		{"securityfs", "/sys/kernel/security", "securityfs", safe, ""},
		{"bpf", "/sys/fs/bpf", "bpf", safe, "mode=700"},
	}
}

// deviceNode is a device whose module is loaded when it is first opened.
type deviceNode struct {
	path         string
	mode         uint32
	major, minor uint32
}

// deviceNodes are those of modules.devname that a VMM asks for.
func deviceNodes() []deviceNode {
	return []deviceNode{
		{"/dev/net/tun", 0o666, 10, 200},
		{"/dev/vhost-net", 0o660, 10, 238},
		{"/dev/vhost-vsock", 0o660, 10, 241},
		{"/dev/fuse", 0o666, 10, 229},
		{"/dev/loop-control", 0o660, 10, 237},
	}
}

// apply makes L1 look like the host that a command expects.
func (s setup) apply() error {
	for _, m := range hostMounts() {
		if err := m.do(); err != nil {
			return err
		}
	}
	for _, d := range deviceNodes() {
		if err := d.make(); err != nil {
			return err
		}
	}
	for i, name := range []string{"stdin", "stdout", "stderr"} {
		_ = os.Symlink(fmt.Sprintf("/proc/self/fd/%d", i), "/dev/"+name)
	}
	_ = os.Symlink("/proc/self/fd", "/dev/fd")
	if err := s.bindMachineFolders(); err != nil {
		return err
	}
	for i, dir := range s.shares {
		m := mount{shareTag(i), dir, "9p", 0, "trans=virtio,version=9p2000.L,msize=512000,cache=mmap"}
		if err := m.do(); err != nil {
			return err
		}
	}
	// As systemd has it: few by default, many for who asks.
	files := unix.Rlimit{Cur: 1024, Max: 512 << 10}
	if err := unix.Setrlimit(unix.RLIMIT_NOFILE, &files); err != nil {
		return fmt.Errorf("set the limit of open files: %w", err)
	}
	if err := unix.Sethostname([]byte("lab")); err != nil {
		return fmt.Errorf("set the host name: %w", err)
	}
	return linkUp("lo")
}

// bindMachineFolders brings the kernel's modules to their place, and the
// working directory where L1's own mounts hide it.
func (s setup) bindMachineFolders() error {
	if s.modules != "" {
		m := mount{machineRoot + s.modules, filepath.Join("/lib/modules", filepath.Base(s.modules)), "", unix.MS_BIND, ""}
		if err := m.do(); err != nil {
			return err
		}
	}
	for _, top := range []string{"/run/", "/dev/shm/"} {
		if strings.HasPrefix(s.dir, top) {
			m := mount{machineRoot + s.dir, s.dir, "", unix.MS_BIND, ""}
			return m.do()
		}
	}
	return nil
}

// do makes the mount point and mounts. A kernel without the file system type
// goes without it.
func (m mount) do() error {
	if err := os.MkdirAll(m.target, 0o755); err != nil {
		if strings.HasPrefix(m.target, "/sys/") {
			return nil // sysfs offers the mount points that this kernel has
		}
		return err
	}
	err := unix.Mount(m.source, m.target, m.fstype, m.flags, m.data)
	if err == nil || errors.Is(err, unix.ENODEV) && m.fstype != "" {
		return nil
	}
	return fmt.Errorf("mount %s on %s: %w", m.source, m.target, err)
}

// make makes the node, unless the driver was quicker.
func (d deviceNode) make() error {
	if err := os.MkdirAll(filepath.Dir(d.path), 0o755); err != nil {
		return err
	}
	err := unix.Mknod(d.path, unix.S_IFCHR|d.mode, int(unix.Mkdev(d.major, d.minor)))
	if err != nil && !errors.Is(err, unix.EEXIST) {
		return fmt.Errorf("mknod %s: %w", d.path, err)
	}
	return os.Chmod(d.path, os.FileMode(d.mode))
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
