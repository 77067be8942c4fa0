package jail

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

// Config says what a jail is like. Parent and child must be given the same.
type Config struct {
	// Root is the folder that becomes /. It must be UID's own.
	Root string
	// UID and GID are who the process becomes. Rootless ignores them.
	UID, GID int
	// NewNet gives the process a network of its own without any interface. A machine
	// with a user-mode network needs the host's.
	NewNet bool
	// UserNet lets through what a user-mode network needs: Internet sockets.
	UserNet bool
	// Shares are the folders that the machine serves to its guest, as absolute names.
	Shares []Folder
	// Rootless is for a caller without privileges: the process stays the caller's.
	Rootless bool
	// NoUserNS leaves out, without privileges, the user namespace and all namespaces
	// that need it: some hosts forbid it, and Start of the process then gives EPERM.
	NoUserNS bool
	// Limits are on what the process may use.
	Limits Limits
}

// Folder is one that is shared with the guest.
type Folder struct {
	Path     string
	ReadOnly bool
}

// Limits are on the process itself; see Cgroup for those on the machine. Zero means the
// default.
type Limits struct {
	Files    uint64 // descriptors; default 4096
	FileSize uint64 // bytes of the largest file that it may write; default no limit
}

const defaultFiles = 4096

var errRoot = errors.New("the root is not an absolute path")

// Attr puts the namespaces into the attributes of a process that is to be started.
func (c Config) Attr(a *syscall.SysProcAttr) {
	if c.Rootless && c.NoUserNS {
		return
	}
	a.Cloneflags |= unix.CLONE_NEWNS | unix.CLONE_NEWPID | unix.CLONE_NEWIPC | unix.CLONE_NEWUTS
	if c.NewNet {
		a.Cloneflags |= unix.CLONE_NEWNET
	}
	if !c.Rootless {
		return
	}
	uid, gid := os.Geteuid(), os.Getegid()
	a.Cloneflags |= unix.CLONE_NEWUSER
	a.UidMappings = []syscall.SysProcIDMap{{ContainerID: uid, HostID: uid, Size: 1}}
	a.GidMappings = []syscall.SysProcIDMap{{ContainerID: gid, HostID: gid, Size: 1}}
	// It changes its root, and so keeps that right over exec, until Enter.
	a.AmbientCaps = append(a.AmbientCaps, unix.CAP_SYS_ADMIN)
}

// HostPID is the process's number as the host sees it: inside, it is 1. It works until
// Enter.
func HostPID() (int, error) {
	target, err := os.Readlink("/proc/self")
	if err != nil {
		return 0, err
	}
	return strconv.Atoi(target)
}

// CloseInherited closes all descriptors from first up that came from the parent. It is
// for the child's beginning. What the child opened itself is spared: that is not
// inherited by a program that it would start, as Go sees to.
func CloseInherited(first int) error {
	names, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		return err
	}
	for _, name := range names {
		fd, err := strconv.Atoi(name.Name())
		if err != nil || fd < first {
			continue
		}
		flags, err := unix.FcntlInt(uintptr(fd), unix.F_GETFD, 0)
		if err == nil && flags&unix.FD_CLOEXEC == 0 {
			if err := unix.Close(fd); err != nil {
				return fmt.Errorf("close inherited descriptor %d: %w", fd, err)
			}
		}
	}
	return nil
}

func (c Config) check() error {
	if !filepath.IsAbs(c.Root) || filepath.Clean(c.Root) == "/" {
		return fmt.Errorf("jail in %q: %w other than /", c.Root, errRoot)
	}
	if !c.Rootless && (c.UID <= 0 || c.GID <= 0) {
		return fmt.Errorf("jail as user %d, group %d: that is no unprivileged user", c.UID, c.GID)
	}
	return nil
}

func (l Limits) apply() error {
	files := l.Files
	if files == 0 {
		files = defaultFiles
	}
	size := l.FileSize
	if size == 0 {
		size = unix.RLIM_INFINITY
	}
	for what, n := range map[int]uint64{unix.RLIMIT_CORE: 0, unix.RLIMIT_NOFILE: files, unix.RLIMIT_FSIZE: size, unix.RLIMIT_MSGQUEUE: 0} {
		if err := syscall.Setrlimit(what, &syscall.Rlimit{Cur: n, Max: n}); err != nil {
			return fmt.Errorf("set resource limit %d to %d: %w", what, n, err)
		}
	}
	return nil
}

// UserNamespaces tells whether this host lets users without privileges have namespaces of
// users, as far as its settings say (namespaces(7); Debian's unprivileged_userns_clone,
// Ubuntu's restriction by AppArmor).
func UserNamespaces() bool {
	for setting, forbidden := range map[string]string{
		"/proc/sys/user/max_user_namespaces":                     "0",
		"/proc/sys/kernel/unprivileged_userns_clone":             "0",
		"/proc/sys/kernel/apparmor_restrict_unprivileged_userns": "1",
	} {
		text, err := os.ReadFile(setting)
		if err == nil && strings.TrimSpace(string(text)) == forbidden {
			return false
		}
	}
	return true
}
