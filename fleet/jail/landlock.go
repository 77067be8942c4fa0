package jail

import (
	"errors"
	"fmt"
	"log/slog"

	"golang.org/x/sys/unix"
)

// Rights of Landlock's first version, which Linux 5.13 has, and those that came later.
const (
	fsFirst    = unix.LANDLOCK_ACCESS_FS_MAKE_SYM<<1 - 1
	fsReadOnly = unix.LANDLOCK_ACCESS_FS_READ_FILE | unix.LANDLOCK_ACCESS_FS_READ_DIR
	// fsMachine is what a machine does in its own folder: logs and sockets.
	fsMachine = fsReadOnly | unix.LANDLOCK_ACCESS_FS_WRITE_FILE | unix.LANDLOCK_ACCESS_FS_REMOVE_FILE |
		unix.LANDLOCK_ACCESS_FS_MAKE_REG | unix.LANDLOCK_ACCESS_FS_TRUNCATE
)

// Sizes of struct landlock_ruleset_attr as it grew.
const (
	sizeFS    = 8
	sizeNet   = 16
	sizeScope = 24
)

// landlock makes the ruleset, while the names of the folders are still those of the host;
// it is -1 if the kernel has none.
func (c Config) landlock() (int, error) {
	version := landlockVersion()
	if version < 1 {
		slog.Debug("jail: this kernel has no Landlock")
		return -1, nil
	}
	attr := unix.LandlockRulesetAttr{Handled_access_fs: fsFirst}
	size := uintptr(sizeFS)
	if version >= 2 {
		attr.Handled_access_fs |= unix.LANDLOCK_ACCESS_FS_REFER
	}
	if version >= 3 {
		attr.Handled_access_fs |= unix.LANDLOCK_ACCESS_FS_TRUNCATE
	}
	if version >= 4 && !c.UserNet {
		attr.Handled_access_net = unix.LANDLOCK_ACCESS_NET_BIND_TCP | unix.LANDLOCK_ACCESS_NET_CONNECT_TCP
		size = sizeNet
	}
	if version >= 6 {
		attr.Scoped = unix.LANDLOCK_SCOPE_ABSTRACT_UNIX_SOCKET | unix.LANDLOCK_SCOPE_SIGNAL
		size = sizeScope
	}
	rules, err := newRuleset(&attr, size)
	if err != nil {
		return -1, fmt.Errorf("make a Landlock ruleset: %w", err)
	}
	if err := allow(rules, c.Root, fsMachine&attr.Handled_access_fs); err != nil {
		return -1, errors.Join(err, unix.Close(rules))
	}
	for _, f := range c.Shares {
		rights := attr.Handled_access_fs &^ unix.LANDLOCK_ACCESS_FS_EXECUTE
		if f.ReadOnly {
			rights = fsReadOnly
		}
		if err := allow(rules, f.Path, rights); err != nil {
			return -1, errors.Join(err, unix.Close(rules))
		}
	}
	return rules, nil
}

func allow(rules int, path string, rights uint64) error {
	fd, err := unix.Open(path, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("open %s for the jail: %w", path, err)
	}
	defer unix.Close(fd)
	if err := addRule(rules, &unix.LandlockPathBeneathAttr{Allowed_access: rights, Parent_fd: int32(fd)}); err != nil {
		return fmt.Errorf("allow %s in the jail: %w", path, err)
	}
	return nil
}

// restrict puts the rules on all threads.
func restrict(rules int) error {
	if rules < 0 {
		return nil
	}
	err := onAllThreads(unix.SYS_LANDLOCK_RESTRICT_SELF, uintptr(rules), 0, 0, 0, 0)
	if errors.Is(err, unix.ENOTSUP) {
		return withCgo("no Landlock")
	}
	if err != nil {
		return fmt.Errorf("restrict by Landlock: %w", err)
	}
	return nil
}
