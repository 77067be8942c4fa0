package jail

import (
	"errors"
	"fmt"
	"os"
	"runtime"
	"syscall"

	"golang.org/x/sys/unix"
)

// Owner is who owns a folder on the host.
type Owner struct{ UID, GID uint32 }

// OwnerOf tells who owns a folder.
func OwnerOf(path string) (Owner, error) {
	var st unix.Stat_t
	if err := unix.Stat(path, &st); err != nil {
		return Owner{}, &os.PathError{Op: "stat", Path: path, Err: err}
	}
	return Owner{st.Uid, st.Gid}, nil
}

// OpenShare opens a folder for a process that becomes another user: by a mount of its own
// on which files of the folder's owner and group are those of the jail's (mount_setattr(2),
// "ID-mapped mounts"). So the process has the owner's rights there and nowhere else, and
// nobody's beyond those: what belongs to others is open to it as far as it is to all.
// The folder is an open mount that no name leads to. The caller is root.
func (c Config) OpenShare(f Folder) (*os.File, error) {
	owner, err := OwnerOf(f.Path)
	if err != nil {
		return nil, err
	}
	users, err := c.usersFor(owner)
	if err != nil {
		return nil, fmt.Errorf("make a user namespace for share %s: %w", f.Path, err)
	}
	defer users.Close()
	fd, err := unix.OpenTree(unix.AT_FDCWD, f.Path, unix.OPEN_TREE_CLONE|unix.OPEN_TREE_CLOEXEC)
	if err != nil {
		return nil, &os.PathError{Op: "open_tree", Path: f.Path, Err: err}
	}
	file := os.NewFile(uintptr(fd), f.Path)
	attr := &unix.MountAttr{
		Attr_set:  unix.MOUNT_ATTR_IDMAP | unix.MOUNT_ATTR_NOSUID | unix.MOUNT_ATTR_NODEV | unix.MOUNT_ATTR_NOEXEC,
		Userns_fd: uint64(users.Fd()),
	}
	if f.ReadOnly {
		attr.Attr_set |= unix.MOUNT_ATTR_RDONLY
	}
	if err := unix.MountSetattr(fd, "", unix.AT_EMPTY_PATH, attr); err != nil {
		err = fmt.Errorf("share %s: its owner's files cannot be made the machine's: %w%s", f.Path, err, whyNoMap(err))
		return nil, errors.Join(err, file.Close())
	}
	return file, nil
}

// whyNoMap is what is behind an error of mount_setattr.
func whyNoMap(err error) string {
	switch {
	case errors.Is(err, unix.EINVAL):
		return ": its file system has no ID-mapped mounts on this kernel" +
			" (ext4, XFS, Btrfs, F2FS do, tmpfs from Linux 6.3): share one on another, or run the machine in the foreground"
	case errors.Is(err, unix.ENOSYS):
		return ": ID-mapped mounts need Linux 5.12: run the machine in the foreground"
	}
	return ""
}

// usersFor is a user namespace that maps an owner to the jail's user and group. A mount
// takes the mapping of one, and a namespace comes only with a process: one that is stopped
// at its first instruction, and killed.
func (c Config) usersFor(owner Owner) (users *os.File, err error) {
	runtime.LockOSThread() // only the thread that traces it can let it end
	defer runtime.UnlockOSThread()
	pid, err := syscall.ForkExec("/proc/self/exe", []string{"gureum"}, &syscall.ProcAttr{Sys: &syscall.SysProcAttr{
		Cloneflags:  unix.CLONE_NEWUSER,
		UidMappings: []syscall.SysProcIDMap{{ContainerID: int(owner.UID), HostID: c.UID, Size: 1}},
		GidMappings: []syscall.SysProcIDMap{{ContainerID: int(owner.GID), HostID: c.GID, Size: 1}},
		Ptrace:      true,
		Pdeathsig:   unix.SIGKILL,
	}})
	if err != nil {
		return nil, err
	}
	defer func() {
		_ = unix.Kill(pid, unix.SIGKILL)
		_, waitErr := unix.Wait4(pid, nil, unix.WALL, nil)
		// The first report may be of the stop.
		for waitErr == nil || errors.Is(waitErr, unix.EINTR) {
			_, waitErr = unix.Wait4(pid, nil, unix.WALL, nil)
		}
	}()
	return os.Open(fmt.Sprintf("/proc/%d/ns/user", pid))
}
