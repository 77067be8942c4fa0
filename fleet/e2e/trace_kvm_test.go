package e2e

import (
	"errors"
	"fmt"
	"os"
	"runtime"

	"golang.org/x/sys/unix"
)

// A command is run under ptrace(2), so that it can be killed before any of its system
// calls, and the same one again.

// changing are the calls by which a command changes something outside itself, or finds out
// what is there before it does. Between two of them there is nothing to see, so a kill
// before each is a kill at every point.
var changing = map[uint64]bool{
	unix.SYS_WRITE: true, unix.SYS_PWRITE64: true, unix.SYS_FTRUNCATE: true, unix.SYS_FSYNC: true,
	unix.SYS_RENAME: true, unix.SYS_RENAMEAT: true, unix.SYS_RENAMEAT2: true,
	unix.SYS_UNLINK: true, unix.SYS_UNLINKAT: true, unix.SYS_RMDIR: true,
	unix.SYS_MKDIR: true, unix.SYS_MKDIRAT: true, unix.SYS_FCHOWNAT: true, unix.SYS_CHOWN: true,
	unix.SYS_FCHMODAT: true, unix.SYS_FCHMOD: true, unix.SYS_FLOCK: true,
	unix.SYS_SENDTO: true, unix.SYS_SENDMSG: true, unix.SYS_CONNECT: true, unix.SYS_BIND: true,
	unix.SYS_IOCTL: true, unix.SYS_CLONE: true, unix.SYS_CLONE3: true, unix.SYS_PIPE2: true,
	unix.SYS_PIDFD_SEND_SIGNAL: true, unix.SYS_KILL: true, unix.SYS_EXIT_GROUP: true,
}

// counts tells whether a thread that enters a system call is about to change something.
func counts(r *unix.PtraceRegs) bool {
	switch r.Orig_rax {
	case unix.SYS_OPENAT:
		return r.Rdx&(unix.O_CREAT|unix.O_WRONLY|unix.O_RDWR) != 0
	case unix.SYS_FCNTL:
		return r.Rsi == unix.F_OFD_SETLK
	case unix.SYS_CLOSE:
		return r.Rdi > 2 // it may free a lock
	}
	return changing[r.Orig_rax]
}

// tracer follows the threads of one process, and none of its children.
type tracer struct {
	pid     int
	threads map[int]bool // and whether one is inside a system call
	count   int
	// at is called before each call that changes something, with its number from 1.
	at func(count int)
}

// trace runs a command with its output in out. It gives its status, and how many of its
// calls were to change something.
func trace(out *os.File, env, args []string, at func(pid, count int)) (unix.WaitStatus, int, error) {
	runtime.LockOSThread() // who traces is a thread, not a process
	defer runtime.UnlockOSThread()
	null, err := os.Open(os.DevNull)
	if err != nil {
		return 0, 0, err
	}
	defer null.Close()
	p, err := os.StartProcess(args[0], args, &os.ProcAttr{
		Env: env, Files: []*os.File{null, out, out}, Sys: &unix.SysProcAttr{Ptrace: true},
	})
	if err != nil {
		return 0, 0, err
	}
	pid := p.Pid
	if err := p.Release(); err != nil {
		return 0, 0, err
	}
	t := &tracer{pid: pid, threads: map[int]bool{}, at: func(count int) { at(pid, count) }}
	status, err := t.follow()
	return status, t.count, err
}

// follow lets the process go on until it has ended.
func (t *tracer) follow() (unix.WaitStatus, error) {
	for {
		var status unix.WaitStatus
		id, err := unix.Wait4(-1, &status, unix.WALL|unix.WNOTHREAD, nil)
		switch {
		case errors.Is(err, unix.EINTR):
			continue
		case err != nil:
			return 0, fmt.Errorf("wait for a thread: %w", err)
		case id == t.pid && (status.Exited() || status.Signaled()):
			return status, nil
		case !status.Stopped():
			continue
		}
		// A thread that was killed meanwhile has nothing to be asked.
		if err := t.stopped(id, status); err != nil && !errors.Is(err, unix.ESRCH) {
			return 0, err
		}
	}
}

const options = unix.PTRACE_O_TRACESYSGOOD | unix.PTRACE_O_TRACECLONE

// stopped looks at why a thread has stopped, and lets it go on.
func (t *tracer) stopped(id int, status unix.WaitStatus) error {
	inside, known := t.threads[id]
	t.threads[id] = inside
	signal := 0
	switch s := status.StopSignal(); {
	case !known && id == t.pid:
		if err := unix.PtraceSetOptions(id, options); err != nil {
			return err
		}
	case !known && s == unix.SIGSTOP: // a thread's first stop
	case s == unix.SIGTRAP|0x80:
		t.threads[id] = !inside
		if inside {
			break
		}
		var r unix.PtraceRegs
		if err := unix.PtraceGetRegs(id, &r); err != nil {
			return err
		}
		if counts(&r) {
			t.count++
			t.at(t.count)
		}
	case s == unix.SIGTRAP: // it has made a thread
	default:
		signal = int(s)
	}
	return unix.PtraceSyscall(id, signal)
}
