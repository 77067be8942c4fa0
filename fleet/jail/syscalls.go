package jail

import "golang.org/x/sys/unix"

// Kind is a kind of thread, by what its filter lets through.
type Kind uint8

// The kinds. A call is in the lists of one or more of them.
const (
	VCPU  Kind = 1 << iota // threads that enter the guest
	Other                  // all other threads
	Share                  // other threads of a machine that shares folders
	Net                    // other threads of a machine with a user-mode network
)

const all = VCPU | Other

// Call is a system call that some threads may make.
type Call struct {
	Name string
	NR   uint32
	For  Kind
	// When lists alternatives of which one must hold; nil is always.
	When []Cond
	// Why the call is needed, and what When means.
	Why string
}

// Cond holds if the argument's lower half, masked, is the value. The kernel itself looks
// at no more than that of each argument used here: they are ints, or flags.
type Cond struct {
	Arg         int
	Mask, Value uint32
}

func is(arg int, values ...uint32) []Cond {
	out := make([]Cond, len(values))
	for i, v := range values {
		out[i] = Cond{arg, ^uint32(0), v}
	}
	return out
}

const (
	threadFlags = unix.CLONE_VM | unix.CLONE_THREAD
	spaceFlags  = unix.CLONE_NEWNS | unix.CLONE_NEWCGROUP | unix.CLONE_NEWUTS | unix.CLONE_NEWIPC | unix.CLONE_NEWUSER |
		unix.CLONE_NEWPID | unix.CLONE_NEWNET | unix.CLONE_PTRACE
)

// Calls lists what the filters let through. pid is the process's own, as it sees itself.
// The list is made anew by each call, so that a machine need not keep it.
func Calls(pid int) []Call {
	var out []Call
	for _, part := range [][]Call{runtimeCalls(pid), deviceCalls(), fileCalls(), socketCalls(), shareCalls(), netCalls()} {
		out = append(out, part...)
	}
	return out
}

func runtimeCalls(pid int) []Call {
	noExec := []Cond{{2, unix.PROT_EXEC, 0}}
	return []Call{
		{"futex", unix.SYS_FUTEX, all, nil, "locks and sleep of the Go runtime"},
		{"nanosleep", unix.SYS_NANOSLEEP, all, nil, "the runtime's monitor and back-off"},
		{"sched_yield", unix.SYS_SCHED_YIELD, all, nil, "back-off of the runtime's locks"},
		{"sched_getaffinity", unix.SYS_SCHED_GETAFFINITY, all, nil, "the runtime looks whether the number of CPUs has changed"},
		{"clock_gettime", unix.SYS_CLOCK_GETTIME, all, nil, "time where the vDSO has none, and CPU time for statistics"},
		{"gettimeofday", unix.SYS_GETTIMEOFDAY, all, nil, "time where the vDSO has none"},
		{"getpid", unix.SYS_GETPID, all, nil, "the target of tgkill"},
		{"gettid", unix.SYS_GETTID, all, nil, "threads that signal themselves, vCPU threads that are kicked"},
		{"tgkill", unix.SYS_TGKILL, all, is(0, uint32(pid)), "preemption and kicks; this process only"},
		{"rt_sigprocmask", unix.SYS_RT_SIGPROCMASK, all, nil, "new threads, signal handlers"},
		{"rt_sigreturn", unix.SYS_RT_SIGRETURN, all, nil, "the end of a signal handler"},
		{"rt_sigaction", unix.SYS_RT_SIGACTION, all, nil, "os/signal; a crash restores the default before it ends"},
		{"sigaltstack", unix.SYS_SIGALTSTACK, all, nil, "each thread's signal stack"},
		{"restart_syscall", unix.SYS_RESTART_SYSCALL, all, nil, "the kernel goes on with a sleep after a stop"},
		{"mmap", unix.SYS_MMAP, all, noExec, "the heap; never executable"},
		{"mprotect", unix.SYS_MPROTECT, all, noExec, "the heap; never executable"},
		{"munmap", unix.SYS_MUNMAP, all, nil, "the heap, guest memory at the end"},
		{"madvise", unix.SYS_MADVISE, all, nil, "memory given back by the collector and the balloon"},
		{"exit", unix.SYS_EXIT, all, nil, "a locked thread ends with its goroutine"},
		{"exit_group", unix.SYS_EXIT_GROUP, all, nil, "the end"},
		{"getrandom", unix.SYS_GETRANDOM, all, nil, "the entropy device, hash seeds"},
		{"epoll_pwait", unix.SYS_EPOLL_PWAIT, all, nil, "the runtime's network poller, which any thread may look at"},
		{"epoll_ctl", unix.SYS_EPOLL_CTL, all, nil, "new descriptors for the poller"},
		{"prctl", unix.SYS_PRCTL, all, is(0, unix.PR_SET_VMA, unix.PR_SET_NAME), "names of heap regions and threads; nothing else"},
		{"clone", unix.SYS_CLONE, Other, []Cond{{0, threadFlags | spaceFlags, threadFlags}}, "new threads; no process, no namespace. vCPU threads are locked, and Go has another thread make theirs"},
		{"set_robust_list", unix.SYS_SET_ROBUST_LIST, Other, nil, "new threads in builds with the race detector"},
		{"rseq", unix.SYS_RSEQ, all, nil, "threads that begin and end in builds with the race detector"},
		{"seccomp", unix.SYS_SECCOMP, Other, is(1, unix.SECCOMP_FILTER_FLAG_LOG), "vCPU threads narrow their own filter; no other flag, so there is no listener"},
		{"uname", unix.SYS_UNAME, Other, nil, "package net and os look at the kernel's version for splice"},
		{"getrusage", unix.SYS_GETRUSAGE, Other, nil, "statistics"},
		{"getuid", unix.SYS_GETUID, Other, nil, "packages of the library ask who they are"},
		{"geteuid", unix.SYS_GETEUID, Other, nil, "the machine's process asks whether it is privileged"},
	}
}

func deviceCalls() []Call {
	return []Call{
		{"ioctl", unix.SYS_IOCTL, VCPU, is(1, append(runIoctls(), deviceIoctls()...)...), "KVM_RUN; what a driver's writes to device registers bring about; a look at the state when the guest died"},
		{"ioctl", unix.SYS_IOCTL, Other, is(1, append(append(runIoctls(), deviceIoctls()...), hostIoctls()...)...), "as on vCPU threads, whose filter comes on top of this one and can only be narrower; discard on block devices; guest memory is taken away at the end"},
		{"read", unix.SYS_READ, all, nil, "descriptors that are open"},
		{"write", unix.SYS_WRITE, all, nil, "descriptors that are open; eventfds"},
		{"readv", unix.SYS_READV, all, nil, "frames"},
		{"writev", unix.SYS_WRITEV, all, nil, "frames, HTTP"},
		{"close", unix.SYS_CLOSE, all, nil, "descriptors"},
		{"eventfd2", unix.SYS_EVENTFD2, all, nil, "kicks and interrupts of a device that the driver starts"},
		{"fcntl", unix.SYS_FCNTL, all, is(1, unix.F_DUPFD_CLOEXEC, unix.F_GETFL, unix.F_SETFL, unix.F_GETFD, unix.F_SETFD, unix.F_OFD_SETLK), "descriptors of its own; no signals to others"},
		{"poll", unix.SYS_POLL, all, nil, "an eventfd is looked at"},
		{"ppoll", unix.SYS_PPOLL, Other, nil, "as poll"},
		{"pread64", unix.SYS_PREAD64, Other, nil, "disks"},
		{"pwrite64", unix.SYS_PWRITE64, Other, nil, "disks"},
		{"preadv", unix.SYS_PREADV, Other, nil, "disks"},
		{"pwritev", unix.SYS_PWRITEV, Other, nil, "disks"},
		{"pwritev2", unix.SYS_PWRITEV2, Other, nil, "disks, writes through to the medium"},
		{"preadv2", unix.SYS_PREADV2, Other, nil, "disks"},
		{"fsync", unix.SYS_FSYNC, Other, nil, "disks, the journal"},
		{"fdatasync", unix.SYS_FDATASYNC, Other, nil, "disks"},
		{"fallocate", unix.SYS_FALLOCATE, Other, nil, "discard and zeroes on disks that are files"},
		{"ftruncate", unix.SYS_FTRUNCATE, Other, nil, "disk images that grow, logs"},
		{"lseek", unix.SYS_LSEEK, Other, nil, "holes in disk images"},
		{"fstat", unix.SYS_FSTAT, Other, nil, "what a descriptor is"},
		{"flock", unix.SYS_FLOCK, Other, nil, "the journal"},
		{"msync", unix.SYS_MSYNC, Other, nil, "files in the guest's address space are flushed"},
		{"epoll_create1", unix.SYS_EPOLL_CREATE1, Other, nil, "the poller, once"},
		{"pipe2", unix.SYS_PIPE2, Other, nil, "package net splices between sockets through one"},
		{"splice", unix.SYS_SPLICE, Other, nil, "as pipe2"},
		{"sendfile", unix.SYS_SENDFILE, Other, nil, "package net copies from a file"},
		{"copy_file_range", unix.SYS_COPY_FILE_RANGE, Other, nil, "package os copies between files"},
	}
}

func fileCalls() []Call {
	return []Call{
		{"openat", unix.SYS_OPENAT, Other, nil, "logs that are rotated; the root is the machine's own folder, and Landlock knows no other"},
		{"newfstatat", unix.SYS_NEWFSTATAT, Other, nil, "as openat"},
		{"renameat", unix.SYS_RENAMEAT, Other, nil, "logs that are rotated"},
		{"renameat2", unix.SYS_RENAMEAT2, Other, nil, "as renameat"},
		{"unlinkat", unix.SYS_UNLINKAT, Other, nil, "sockets are removed at the end"},
		{"getdents64", unix.SYS_GETDENTS64, Other, nil, "the machine's own folder"},
		{"readlinkat", unix.SYS_READLINKAT, Other, nil, "as openat"},
		{"getcwd", unix.SYS_GETCWD, Other, nil, "package os, for relative names"},
		{"fchmod", unix.SYS_FCHMOD, Other, nil, "files that it made"},
	}
}

func socketCalls() []Call {
	return []Call{
		{"socket", unix.SYS_SOCKET, Other, is(0, unix.AF_UNIX), "connections of the guest to sockets in the machine's folder; Unix sockets only"},
		{"connect", unix.SYS_CONNECT, Other, nil, "as socket"},
		{"accept4", unix.SYS_ACCEPT4, Other, nil, "the control socket and that of the guest's vsock"},
		{"sendto", unix.SYS_SENDTO, Other, nil, "sockets that are open"},
		{"recvfrom", unix.SYS_RECVFROM, Other, nil, "sockets that are open"},
		{"sendmsg", unix.SYS_SENDMSG, Other, nil, "sockets that are open"},
		{"recvmsg", unix.SYS_RECVMSG, Other, nil, "sockets that are open"},
		{"shutdown", unix.SYS_SHUTDOWN, Other, nil, "half of a connection ends"},
		{"getsockopt", unix.SYS_GETSOCKOPT, Other, nil, "the result of connect, who is at the other end"},
		{"setsockopt", unix.SYS_SETSOCKOPT, Other, nil, "package net sets options of new sockets"},
		{"getsockname", unix.SYS_GETSOCKNAME, Other, nil, "package net looks up addresses"},
		{"getpeername", unix.SYS_GETPEERNAME, Other, nil, "package net looks up addresses"},
	}
}

func shareCalls() []Call {
	const why = "the guest's own request on a shared folder"
	var out []Call
	for _, c := range []struct {
		name string
		nr   uint32
	}{
		{"mkdirat", unix.SYS_MKDIRAT},
		{"mknodat", unix.SYS_MKNODAT},
		{"symlinkat", unix.SYS_SYMLINKAT},
		{"linkat", unix.SYS_LINKAT},
		{"fchmodat", unix.SYS_FCHMODAT},
		{"fchownat", unix.SYS_FCHOWNAT},
		{"utimensat", unix.SYS_UTIMENSAT},
		{"statfs", unix.SYS_STATFS},
		{"fstatfs", unix.SYS_FSTATFS},
		{"syncfs", unix.SYS_SYNCFS},
		{"fsetxattr", unix.SYS_FSETXATTR},
		{"fgetxattr", unix.SYS_FGETXATTR},
		{"flistxattr", unix.SYS_FLISTXATTR},
		{"fremovexattr", unix.SYS_FREMOVEXATTR},
	} {
		out = append(out, Call{c.name, c.nr, Share, nil, why})
	}
	return out
}

func netCalls() []Call {
	return []Call{
		{"socket", unix.SYS_SOCKET, Net, is(0, unix.AF_INET, unix.AF_INET6), "connections of the guest, made for it by this process; no raw, packet or netlink sockets: those need rights that it lacks or another family"},
		{"bind", unix.SYS_BIND, Net, nil, "datagrams of the guest"},
		{"listen", unix.SYS_LISTEN, Net, nil, "published ports"},
		{"sendmmsg", unix.SYS_SENDMMSG, Net, nil, "datagrams of the guest, names that are looked up"},
		{"recvmmsg", unix.SYS_RECVMMSG, Net, nil, "datagrams of the guest"},
	}
}
