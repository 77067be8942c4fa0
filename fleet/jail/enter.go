package jail

import (
	"errors"
	"fmt"
	"log/slog"
	"os"
	"runtime"
	"syscall"

	"golang.org/x/sys/unix"
)

// errNotOurs guards the host: what Enter does to mounts would be done to all.
var errNotOurs = errors.New("the process has no namespaces of its own: start it with Config.Attr")

// Enter takes from the process, with all its threads, what it does not need. Everything
// that it works with is open by then; names that it uses later are below Root, which is
// its / and its working directory. After an error the process must end.
func Enter(c Config) error {
	if err := c.check(); err != nil {
		return err
	}
	spaces := !c.Rootless || holds(unix.CAP_SYS_ADMIN)
	if spaces && unix.Getpid() != 1 {
		return errNotOurs
	}
	rules, err := c.landlock()
	if err != nil {
		return err
	}
	if rules >= 0 {
		defer unix.Close(rules)
	}
	steps := []func() error{c.Limits.apply}
	if spaces {
		steps = append(steps, func() error { return changeRoot(c.Root) })
	} else {
		steps = append(steps, func() error { return os.Chdir(c.Root) })
	}
	steps = append(steps, dropBounding, c.becomeUser, dropCapabilities, undumpable, noNewPrivs,
		func() error { return restrict(rules) },
		func() error {
			return install(compile(c.kind(), unix.Getpid()), unix.SECCOMP_FILTER_FLAG_TSYNC|unix.SECCOMP_FILTER_FLAG_LOG)
		})
	for _, step := range steps {
		if err := step(); err != nil {
			return fmt.Errorf("enter the jail: %w", err)
		}
	}
	return nil
}

func (c Config) kind() Kind {
	kind := Other
	if len(c.Shares) > 0 {
		kind |= Share
	}
	if c.UserNet {
		kind |= Net
	}
	return kind
}

// EnterVCPU narrows the filter of the calling thread, which is locked to its goroutine and
// is to enter the guest. Enter came before.
func EnterVCPU() error {
	return install(compile(VCPU, unix.Getpid()), unix.SECCOMP_FILTER_FLAG_LOG)
}

// changeRoot makes root the process's /. pivot_root moves all threads that are at the old
// one (pivot_root(2)), and Go's share their root anyway.
func changeRoot(root string) error {
	const flags = unix.MS_BIND | unix.MS_REMOUNT | unix.MS_NOSUID | unix.MS_NODEV | unix.MS_NOEXEC
	for _, step := range []struct {
		what string
		do   func() error
	}{
		{"make mounts private", func() error { return unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, "") }},
		{"bind " + root, func() error { return unix.Mount(root, root, "", unix.MS_BIND, "") }},
		{"remount " + root, func() error { return unix.Mount("", root, "", flags, "") }},
		{"enter " + root, func() error { return unix.Chdir(root) }},
		{"pivot_root to " + root, func() error { return unix.PivotRoot(".", ".") }},
		{"detach the old root", func() error { return unix.Unmount(".", unix.MNT_DETACH) }},
		{"enter the new root", func() error { return unix.Chdir("/") }},
	} {
		if err := step.do(); err != nil {
			return fmt.Errorf("%s: %w", step.what, err)
		}
	}
	return nil
}

// dropBounding takes the capabilities that a program started later could get.
func dropBounding() error {
	if !holds(unix.CAP_SETPCAP) {
		return nil
	}
	for c := range uintptr(unix.CAP_LAST_CAP + 1) {
		err := onAllThreads(unix.SYS_PRCTL, unix.PR_CAPBSET_DROP, c, 0, 0, 0)
		switch {
		case errors.Is(err, unix.EINVAL): // the kernel knows no more
			return nil
		case errors.Is(err, unix.ENOTSUP):
			return withCgo("the bounding set stays")
		case err != nil:
			return fmt.Errorf("drop capability %d: %w", c, err)
		}
	}
	return nil
}

// becomeUser changes all threads; package syscall sees to that.
func (c Config) becomeUser() error {
	if c.Rootless {
		return nil
	}
	if err := syscall.Setgroups(nil); err != nil {
		return os.NewSyscallError("setgroups", err)
	}
	if err := syscall.Setresgid(c.GID, c.GID, c.GID); err != nil {
		return os.NewSyscallError("setresgid", err)
	}
	return os.NewSyscallError("setresuid", syscall.Setresuid(c.UID, c.UID, c.UID))
}

// dropCapabilities is for the rights in a user namespace: those of root went with the user.
func dropCapabilities() error {
	if !holds(unix.CAP_SYS_ADMIN) {
		return nil
	}
	err := emptyCapabilities()
	if errors.Is(err, unix.ENOTSUP) {
		return withCgo("the rights in the user namespace stay")
	}
	return err
}

// withCgo refuses a jail with a part left out, which is all that a program with cgo can
// have. The race detector needs cgo: its programs go without, under no_new_privs and the
// filter, so that all else can be tested with it.
func withCgo(missing string) error {
	if raceBuild {
		slog.Debug("jail: " + missing + ", as this program was built with cgo")
		return nil
	}
	return errors.New("this program was built with cgo and cannot change all its threads: build it with CGO_ENABLED=0")
}

// undumpable keeps guest memory out of core files, and other processes of the same user
// from this one's memory (ptrace(2)). A change of the user sets it anew, so it comes after.
func undumpable() error {
	return os.NewSyscallError("prctl", unix.Prctl(unix.PR_SET_DUMPABLE, 0, 0, 0, 0))
}

// noNewPrivs is for this thread, too, if Go cannot reach all: the filter brings it to all.
func noNewPrivs() error {
	err := onAllThreads(unix.SYS_PRCTL, unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
	if !errors.Is(err, unix.ENOTSUP) {
		return os.NewSyscallError("prctl", err)
	}
	runtime.LockOSThread() // install is to be on this thread; it is never unlocked
	return os.NewSyscallError("prctl", unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0))
}

// holds tells whether the process has a capability in its user namespace.
func holds(capability uint) bool {
	var data [2]unix.CapUserData
	header := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	if err := unix.Capget(&header, &data[0]); err != nil {
		return false
	}
	return data[capability/32].Effective&(1<<(capability%32)) != 0
}
