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
		{"open /etc/shadow", open("/etc/shadow"), true},
		{"open /etc/passwd", open("/etc/passwd"), true},
		{"open /proc/1/environ", open("/proc/1/environ"), true},
		{"open /proc/self/maps", open("/proc/self/maps"), true},
		{"open another machine's file", func(a *attacker) error { _, err := os.ReadFile(a.secret); return err }, true},
		{"open it by ..", func(a *attacker) error { _, err := os.ReadFile("../../../.." + a.secret); return err }, false},
		{"open /dev/kvm", func(*attacker) error { _, err := os.Open("/dev/kvm"); return err }, true},
		{"open /dev/mem", func(*attacker) error { _, err := os.Open("/dev/mem"); return err }, false},
		{"list the host's /", func(*attacker) error { _, err := os.ReadDir("/etc"); return err }, true},
		{"make a folder", func(*attacker) error { return os.Mkdir("jailtest", 0o700) }, false},
		{"make a device", func(*attacker) error { return unix.Mknod("jaildev", unix.S_IFCHR|0o600, 0x103) }, false},
		{"make a symlink", func(*attacker) error { return os.Symlink("/etc", "link") }, false},
		{"make its own root readable", func(*attacker) error { return unix.Chmod(".", 0o777) }, true},
		{"execve", func(*attacker) error { return unix.Exec("/bin/true", []string{"true"}, nil) }, false},
		{"execveat", func(*attacker) error { return raw(unix.SYS_EXECVEAT, ^uintptr(99), str("/nothing"), 0, 0, 0) }, false},
		{"fork", func(*attacker) error { return raw(unix.SYS_FORK) }, false},
		{"vfork", func(*attacker) error { return raw(unix.SYS_VFORK) }, false},
		{"clone a process", func(*attacker) error { return raw(unix.SYS_CLONE, uintptr(unix.SIGCHLD)) }, false},
		{"clone a thread in a user namespace", func(*attacker) error {
			return raw(unix.SYS_CLONE, unix.CLONE_NEWUSER|unix.CLONE_THREAD|unix.CLONE_VM|unix.CLONE_SIGHAND)
		}, false},
		{"clone3", func(*attacker) error { return raw(unix.SYS_CLONE3, buf(), 64) }, false},
		{"setuid 0", func(*attacker) error { return raw(unix.SYS_SETUID, 0) }, true},
		{"setresuid 0", func(*attacker) error { return raw(unix.SYS_SETRESUID, 0, 0, 0) }, true},
		{"setgroups", func(*attacker) error { return raw(unix.SYS_SETGROUPS, 0, 0) }, true},
		{"ptrace a neighbour", func(a *attacker) error { return raw(unix.SYS_PTRACE, unix.PTRACE_SEIZE, uintptr(a.victim)) }, true},
		{"read a neighbour's memory", func(a *attacker) error {
			v := unix.Iovec{Base: (*byte)(unsafe.Pointer(&word[0])), Len: 8}
			return raw(unix.SYS_PROCESS_VM_READV, uintptr(a.victim), uintptr(unsafe.Pointer(&v)), 1, uintptr(unsafe.Pointer(&v)), 1)
		}, false},
		{"kill a neighbour", func(a *attacker) error { return unix.Kill(a.victim, 0) }, true},
		{"tgkill a neighbour", func(a *attacker) error { return unix.Tgkill(a.victim, a.victim, 0) }, true},
		{"kill all", func(*attacker) error { return unix.Kill(-1, 0) }, false},
		{"pidfd_open", func(a *attacker) error { _, err := unix.PidfdOpen(a.victim, 0); return err }, true},
		{"mount", func(*attacker) error { return unix.Mount("none", "/", "tmpfs", unix.MS_REMOUNT|unix.MS_BIND, "") }, false},
		{"umount", func(*attacker) error { return raw(unix.SYS_UMOUNT2, str("/"), unix.MNT_DETACH) }, false},
		{"fsopen", func(*attacker) error { return raw(unix.SYS_FSOPEN, str("tmpfs"), 0) }, true},
		{"open_tree", func(*attacker) error { return raw(unix.SYS_OPEN_TREE, ^uintptr(99), str("/"), 1) }, true},
		{"chroot", func(*attacker) error { return unix.Chroot("/") }, true},
		{"unshare user", func(*attacker) error { return raw(unix.SYS_UNSHARE, unix.CLONE_NEWUSER) }, false},
		{"unshare net", func(*attacker) error { return raw(unix.SYS_UNSHARE, unix.CLONE_NEWNET) }, true},
		{"setns", func(*attacker) error { return raw(unix.SYS_SETNS, 0, 0) }, false},
		{"bpf", func(*attacker) error { return raw(unix.SYS_BPF, 0, buf(), 64) }, false},
		{"keyctl", func(*attacker) error { return raw(unix.SYS_KEYCTL, 0, ^uintptr(2), 1) }, true},
		{"add_key", func(*attacker) error { return raw(unix.SYS_ADD_KEY, str("user"), str("x"), buf(), 8, ^uintptr(2)) }, true},
		{"io_uring_setup", func(*attacker) error { return raw(unix.SYS_IO_URING_SETUP, 1, buf()) }, true},
		{"kexec_load", func(*attacker) error { return raw(unix.SYS_KEXEC_LOAD, 0, 0, 0, 0) }, false},
		{"perf_event_open", func(*attacker) error { return raw(unix.SYS_PERF_EVENT_OPEN, buf(), 0, 0, 0, 0) }, false},
		{"userfaultfd", func(*attacker) error { return raw(unix.SYS_USERFAULTFD, 0) }, true},
		{"init_module", func(*attacker) error { return raw(unix.SYS_INIT_MODULE, buf(), 8, str("")) }, false},
		{"memfd_create", func(*attacker) error { _, err := unix.MemfdCreate("x", 0); return err }, true},
		{"executable memory", func(*attacker) error {
			_, err := unix.Mmap(-1, 0, 4096, unix.PROT_READ|unix.PROT_WRITE|unix.PROT_EXEC, unix.MAP_ANON|unix.MAP_PRIVATE)
			return err
		}, true},
		{"memory made executable", func(*attacker) error {
			b, err := unix.Mmap(-1, 0, 4096, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_ANON|unix.MAP_PRIVATE)
			if err != nil {
				return nil
			}
			return unix.Mprotect(b, unix.PROT_READ|unix.PROT_EXEC)
		}, true},
		{"socket inet", socket(unix.AF_INET, unix.SOCK_STREAM, 0), true},
		{"socket inet6", socket(unix.AF_INET6, unix.SOCK_DGRAM, 0), true},
		{"socket raw", socket(unix.AF_INET, unix.SOCK_RAW, 1), true},
		{"socket packet", socket(unix.AF_PACKET, unix.SOCK_RAW, 0), true},
		{"socket netlink", socket(unix.AF_NETLINK, unix.SOCK_RAW, 0), true},
		{"socket vsock", socket(unix.AF_VSOCK, unix.SOCK_STREAM, 0), false},
		{"socket alg", socket(unix.AF_ALG, unix.SOCK_SEQPACKET, 0), true},
		{"connect to an abstract socket", func(*attacker) error {
			c, err := net.Dial("unix", "@"+abstractName)
			if err == nil {
				_ = c.Close()
			}
			return err
		}, true},
		{"listen on a socket", func(*attacker) error { _, err := net.Listen("unix", "own.sock"); return err }, true},
		{"ioctl TUNSETIFF", func(*attacker) error { return raw(unix.SYS_IOCTL, 1, unix.TUNSETIFF, buf()) }, false},
		{"ioctl TIOCSTI", func(*attacker) error { return raw(unix.SYS_IOCTL, 1, unix.TIOCSTI, buf()) }, false},
		{"KVM_CREATE_VM", func(*attacker) error { return raw(unix.SYS_IOCTL, 1, 0xae01, 0) }, false},
		{"prctl dumpable", func(*attacker) error { return unix.Prctl(unix.PR_SET_DUMPABLE, 1, 0, 0, 0) }, true},
		{"prlimit of a neighbour", func(a *attacker) error {
			return unix.Prlimit(a.victim, unix.RLIMIT_CORE, nil, &unix.Rlimit{})
		}, true},
		{"32-bit numbers of x32", func(*attacker) error { return raw(x32 | unix.SYS_GETPID) }, false},
		{"F_SETOWN", func(a *attacker) error { _, err := unix.FcntlInt(1, unix.F_SETOWN, a.victim); return err }, true},
		{"use an inherited descriptor", func(*attacker) error {
			_, err := unix.Pwrite(strayFD, []byte("x"), 0)
			return err
		}, true},
		{"a vCPU thread makes a socket", onVCPU(socket(unix.AF_UNIX, unix.SOCK_STREAM, 0)), false},
		{"a vCPU thread opens a file", onVCPU(func(*attacker) error { _, err := unix.Open(".", unix.O_RDONLY, 0); return err }), false},
		{"a vCPU thread clones", onVCPU(func(*attacker) error {
			return raw(unix.SYS_CLONE, unix.CLONE_VM|unix.CLONE_THREAD|unix.CLONE_SIGHAND)
		}), false},
		{"a vCPU thread widens its filter", onVCPU(func(*attacker) error { return install(compile(Other, 1), unix.SECCOMP_FILTER_FLAG_LOG) }), false},
		{"io_uring_enter", func(*attacker) error { return raw(unix.SYS_IO_URING_ENTER, 1, 0, 0, 0, 0, 0) }, false},
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
	err := attacks()[number].do(a)
	if err == nil {
		fmt.Println("succeeded")
		return 0
	}
	fmt.Println("denied:", err)
	var errno syscall.Errno
	if !errors.As(err, &errno) {
		return 2
	}
	return 1
}

func attackJail(root string) Config {
	const uid = 64321
	return Config{Root: root, UID: uid, GID: uid, NewNet: !strings.HasSuffix(root, "hostnet")}
}
