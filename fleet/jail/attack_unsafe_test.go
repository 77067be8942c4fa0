package jail

import (
	"errors"
	"fmt"
	"net"
	"os"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// attack is what a compromised process may try.
type attack struct {
	name string
	do   func(a *attacker) error // nil if it succeeded
	// harmless says that it is tried outside of the jail as well, where it must succeed.
	harmless bool
	// errno is how it is denied; 0 is as the filter does it: EPERM, or death. Another would
	// tell that the attack was wrong, not forbidden.
	errno syscall.Errno
}

func (a *attack) by() syscall.Errno {
	if a.errno == 0 {
		return unix.EPERM
	}
	return a.errno
}

type attacker struct {
	root   string // of the jail, as the host names it
	victim int    // a neighbour
	secret string // a file of another machine
}

// raw makes a call with small numbers for arguments.
func raw(nr uintptr, args ...uintptr) error {
	var a [6]uintptr
	copy(a[:], args)
	_, _, errno := unix.RawSyscall6(nr, a[0], a[1], a[2], a[3], a[4], a[5])
	if errno != 0 {
		return errno
	}
	return nil
}

func str(s string) uintptr {
	p, _ := unix.BytePtrFromString(s)
	kept = append(kept, p)
	return uintptr(unsafe.Pointer(p))
}

var kept []*byte

var word [128]uint64

func buf() uintptr { return uintptr(unsafe.Pointer(&word[0])) }

func socket(family, kind, proto int) func(*attacker) error {
	return func(*attacker) error { _, err := unix.Socket(family, kind, proto); return err }
}

func open(path string) func(*attacker) error {
	return func(*attacker) error { _, err := os.ReadFile(path); return err }
}

func attacks() []attack {
	return []attack{
		{"open /etc/shadow", open("/etc/shadow"), true, unix.ENOENT},
		{"open /etc/passwd", open("/etc/passwd"), true, unix.ENOENT},
		{"open /proc/1/environ", open("/proc/1/environ"), true, unix.ENOENT},
		{"open /proc/self/maps", open("/proc/self/maps"), true, unix.ENOENT},
		{"open another machine's file", func(a *attacker) error { _, err := os.ReadFile(a.secret); return err }, true, unix.ENOENT},
		{"open it by ..", func(a *attacker) error { _, err := os.ReadFile("../../../.." + a.secret); return err }, false, unix.ENOENT},
		{"open /dev/kvm", func(*attacker) error { _, err := os.Open("/dev/kvm"); return err }, true, unix.ENOENT},
		{"open /dev/mem", func(*attacker) error { _, err := os.Open("/dev/mem"); return err }, false, unix.ENOENT},
		{"list the host's /", func(*attacker) error { _, err := os.ReadDir("/etc"); return err }, true, unix.ENOENT},
		{"make a folder", func(*attacker) error { return os.Mkdir("jailtest", 0o700) }, false, 0},
		{"make a device", func(*attacker) error { return unix.Mknod("jaildev", unix.S_IFCHR|0o600, 0x103) }, false, 0},
		{"make a symlink", func(*attacker) error { return os.Symlink("/etc", "link") }, false, 0},
		{"make its own root readable", func(*attacker) error { return unix.Chmod(".", 0o777) }, true, 0},
		{"execve", func(*attacker) error { return unix.Exec("/bin/true", []string{"true"}, nil) }, false, 0},
		{"execveat", func(*attacker) error { return raw(unix.SYS_EXECVEAT, ^uintptr(99), str("/nothing"), 0, 0, 0) }, false, 0},
		{"fork", func(*attacker) error { return raw(unix.SYS_FORK) }, false, 0},
		{"vfork", func(*attacker) error { return raw(unix.SYS_VFORK) }, false, 0},
		{"clone a process", func(*attacker) error { return raw(unix.SYS_CLONE, uintptr(unix.SIGCHLD)) }, false, 0},
		{"clone a thread in a user namespace", func(*attacker) error {
			return raw(unix.SYS_CLONE, unix.CLONE_NEWUSER|unix.CLONE_THREAD|unix.CLONE_VM|unix.CLONE_SIGHAND)
		}, false, 0},
		{"clone3", func(*attacker) error { return raw(unix.SYS_CLONE3, buf(), 64) }, false, unix.ENOSYS},
		{"setuid 0", func(*attacker) error { return raw(unix.SYS_SETUID, 0) }, true, 0},
		{"setresuid 0", func(*attacker) error { return raw(unix.SYS_SETRESUID, 0, 0, 0) }, true, 0},
		{"setgroups", func(*attacker) error { return raw(unix.SYS_SETGROUPS, 0, 0) }, true, 0},
		{"ptrace a neighbour", func(a *attacker) error { return raw(unix.SYS_PTRACE, unix.PTRACE_SEIZE, uintptr(a.victim)) }, true, 0},
		{"read a neighbour's memory", func(a *attacker) error {
			v := unix.Iovec{Base: (*byte)(unsafe.Pointer(&word[0])), Len: 8}
			return raw(unix.SYS_PROCESS_VM_READV, uintptr(a.victim), uintptr(unsafe.Pointer(&v)), 1, uintptr(unsafe.Pointer(&v)), 1)
		}, false, 0},
		{"kill a neighbour", func(a *attacker) error { return unix.Kill(a.victim, 0) }, true, 0},
		{"tgkill a neighbour", func(a *attacker) error { return unix.Tgkill(a.victim, a.victim, 0) }, true, 0},
		{"kill all", func(*attacker) error { return unix.Kill(-1, 0) }, false, 0},
		{"pidfd_open", func(a *attacker) error { _, err := unix.PidfdOpen(a.victim, 0); return err }, true, 0},
		{"mount", func(*attacker) error { return unix.Mount("none", "/", "tmpfs", unix.MS_REMOUNT|unix.MS_BIND, "") }, false, 0},
		{"umount", func(*attacker) error { return raw(unix.SYS_UMOUNT2, str("/"), unix.MNT_DETACH) }, false, 0},
		{"fsopen", func(*attacker) error { return raw(unix.SYS_FSOPEN, str("tmpfs"), 0) }, true, 0},
		{"open_tree", func(*attacker) error { return raw(unix.SYS_OPEN_TREE, ^uintptr(99), str("/"), 1) }, true, 0},
		{"chroot", func(*attacker) error { return unix.Chroot("/") }, true, 0},
		{"unshare user", func(*attacker) error { return raw(unix.SYS_UNSHARE, unix.CLONE_NEWUSER) }, false, 0},
		{"unshare net", func(*attacker) error { return raw(unix.SYS_UNSHARE, unix.CLONE_NEWNET) }, true, 0},
		{"setns", func(*attacker) error { return raw(unix.SYS_SETNS, 0, 0) }, false, 0},
		{"bpf", func(*attacker) error { return raw(unix.SYS_BPF, 0, buf(), 64) }, false, 0},
		{"keyctl", func(*attacker) error { return raw(unix.SYS_KEYCTL, 0, ^uintptr(2), 1) }, true, 0},
		{"add_key", func(*attacker) error { return raw(unix.SYS_ADD_KEY, str("user"), str("x"), buf(), 8, ^uintptr(2)) }, true, 0},
		{"io_uring_setup", func(*attacker) error { return raw(unix.SYS_IO_URING_SETUP, 1, buf()) }, true, 0},
		{"kexec_load", func(*attacker) error { return raw(unix.SYS_KEXEC_LOAD, 0, 0, 0, 0) }, false, 0},
		{"perf_event_open", func(*attacker) error { return raw(unix.SYS_PERF_EVENT_OPEN, buf(), 0, 0, 0, 0) }, false, 0},
		{"userfaultfd", func(*attacker) error { return raw(unix.SYS_USERFAULTFD, 0) }, true, 0},
		{"init_module", func(*attacker) error { return raw(unix.SYS_INIT_MODULE, buf(), 8, str("")) }, false, 0},
		{"memfd_create", func(*attacker) error { _, err := unix.MemfdCreate("x", 0); return err }, true, 0},
		{"executable memory", func(*attacker) error {
			_, err := unix.Mmap(-1, 0, 4096, unix.PROT_READ|unix.PROT_WRITE|unix.PROT_EXEC, unix.MAP_ANON|unix.MAP_PRIVATE)
			return err
		}, true, 0},
		{"memory made executable", func(*attacker) error {
			b, err := unix.Mmap(-1, 0, 4096, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_ANON|unix.MAP_PRIVATE)
			if err != nil {
				return nil
			}
			return unix.Mprotect(b, unix.PROT_READ|unix.PROT_EXEC)
		}, true, 0},
		{"socket inet", socket(unix.AF_INET, unix.SOCK_STREAM, 0), true, 0},
		{"socket inet6", socket(unix.AF_INET6, unix.SOCK_DGRAM, 0), true, 0},
		{"socket raw", socket(unix.AF_INET, unix.SOCK_RAW, 1), true, 0},
		{"socket packet", socket(unix.AF_PACKET, unix.SOCK_RAW, 0), true, 0},
		{"socket netlink", socket(unix.AF_NETLINK, unix.SOCK_RAW, 0), true, 0},
		{"socket vsock", socket(unix.AF_VSOCK, unix.SOCK_STREAM, 0), false, 0},
		{"socket alg", socket(unix.AF_ALG, unix.SOCK_SEQPACKET, 0), true, 0},
		{"connect to an abstract socket", func(*attacker) error {
			c, err := net.Dial("unix", "@"+abstractName)
			if err == nil {
				_ = c.Close()
			}
			return err
		}, true, unix.ECONNREFUSED},
		{"listen on a socket", func(*attacker) error { _, err := net.Listen("unix", "own.sock"); return err }, true, 0},
		{"ioctl TUNSETIFF", func(*attacker) error { return raw(unix.SYS_IOCTL, 1, unix.TUNSETIFF, buf()) }, false, 0},
		{"ioctl TIOCSTI", func(*attacker) error { return raw(unix.SYS_IOCTL, 1, unix.TIOCSTI, buf()) }, false, 0},
		{"KVM_CREATE_VM", func(*attacker) error { return raw(unix.SYS_IOCTL, 1, 0xae01, 0) }, false, 0},
		{"prctl dumpable", func(*attacker) error { return unix.Prctl(unix.PR_SET_DUMPABLE, 1, 0, 0, 0) }, true, 0},
		{"prlimit of a neighbour", func(a *attacker) error {
			return unix.Prlimit(a.victim, unix.RLIMIT_CORE, nil, &unix.Rlimit{})
		}, true, 0},
		{"32-bit numbers of x32", func(*attacker) error { return raw(x32 | unix.SYS_GETPID) }, false, 0},
		{"F_SETOWN", func(a *attacker) error { _, err := unix.FcntlInt(1, unix.F_SETOWN, a.victim); return err }, true, 0},
		{"use an inherited descriptor", func(*attacker) error {
			_, err := unix.Pwrite(strayFD, []byte("x"), 0)
			return err
		}, true, unix.EBADF},
		{"a vCPU thread makes a socket", onVCPU(socket(unix.AF_UNIX, unix.SOCK_STREAM, 0)), false, 0},
		{"a vCPU thread opens a file", onVCPU(func(*attacker) error { _, err := unix.Open(".", unix.O_RDONLY, 0); return err }), false, 0},
		{"a vCPU thread clones", onVCPU(func(*attacker) error {
			return raw(unix.SYS_CLONE, unix.CLONE_VM|unix.CLONE_THREAD|unix.CLONE_SIGHAND)
		}), false, 0},
		{"a vCPU thread widens its filter", onVCPU(func(*attacker) error { return install(compile(Other, 1), unix.SECCOMP_FILTER_FLAG_LOG) }), false, 0},
		{"io_uring_enter", func(*attacker) error { return raw(unix.SYS_IO_URING_ENTER, 1, 0, 0, 0, 0, 0) }, false, 0},
	}
}

const (
	strayFD      = 9
	abstractName = "gureum-jail-test"
)

// onVCPU runs an attack on a thread with the filter of vCPUs.
func onVCPU(do func(*attacker) error) func(*attacker) error {
	return func(a *attacker) error {
		done := make(chan error)
		go func() {
			runtime.LockOSThread()
			if err := EnterVCPU(); err != nil {
				fmt.Println("EnterVCPU:", err)
				os.Exit(3)
			}
			done <- do(a)
		}()
		return <-done
	}
}

// attackerMain is a process that tries one attack: its status is 0 if that succeeded, 1 if
// it was denied, and 2 if the jail is broken.
func attackerMain() int {
	runtime.LockOSThread()
	args := os.Args[1:]
	number, _ := strconv.Atoi(args[0])
	a := &attacker{root: args[1], secret: args[3]}
	a.victim, _ = strconv.Atoi(args[2])
	if args[4] != "free" {
		c := attackJail(a.root)
		if err := CloseInherited(3); err != nil {
			fmt.Println("jail:", err)
			return 2
		}
		if err := Enter(c); err != nil {
			fmt.Println("jail:", err)
			return 2
		}
	} else if err := os.Chdir(a.root); err != nil {
		return 2
	}
	all := attacks()
	err := all[number].do(a)
	if err == nil {
		fmt.Println("succeeded")
		return 0
	}
	fmt.Println("denied:", err)
	var errno syscall.Errno
	if !errors.As(err, &errno) || args[4] != "free" && errno != all[number].by() {
		return 2
	}
	return 1
}

func attackJail(root string) Config {
	const uid = 64321
	return Config{Root: root, UID: uid, GID: uid, NewNet: !strings.HasSuffix(root, "hostnet")}
}
