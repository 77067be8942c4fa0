package lab

import (
	"fmt"
	"io"
	"os"
	"os/exec"
	"runtime"

	"golang.org/x/sys/unix"
)

// emulator is a running QEMU. It dies with this process, whatever ends it.
type emulator struct {
	cmd     *exec.Cmd
	conn    *os.File // the lab's end of the agent's port
	console *ring
	done    chan struct{} // closed when QEMU has ended, after err is set
	err     error
}

// startEmulator starts QEMU with m. Its console also goes to console, when
// that is not nil.
func startEmulator(m machine, console io.Writer) (*emulator, error) {
	qemu, err := emulatorProgram(m.deterministic)
	if err != nil {
		return nil, err
	}
	ours, theirs, err := socketPair()
	if err != nil {
		return nil, err
	}
	defer theirs.Close()
	e := &emulator{conn: ours, console: &ring{}, done: make(chan struct{})}
	var out io.Writer = e.console
	if console != nil {
		out = io.MultiWriter(e.console, console)
	}
	m.agentFD = 3
	e.cmd = exec.Command(qemu, m.args()...)
	e.cmd.Stdout, e.cmd.Stderr = out, out
	e.cmd.ExtraFiles = []*os.File{theirs}
	// A group of its own keeps the terminal's Ctrl-C from it: the command in
	// L1 gets that.
	e.cmd.SysProcAttr = &unix.SysProcAttr{Setpgid: true, Pdeathsig: unix.SIGKILL}
	started := make(chan error)
	go func() {
		// The death signal comes when the starting thread ends, so it stays.
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		err := e.cmd.Start()
		started <- err
		if err == nil {
			e.err = e.cmd.Wait()
		}
		close(e.done)
	}()
	if err := <-started; err != nil {
		ours.Close()
		return nil, fmt.Errorf("start %s: %w", qemu, err)
	}
	return e, nil
}

// kill ends QEMU and waits for its end.
func (e *emulator) kill() {
	_ = unix.Kill(-e.cmd.Process.Pid, unix.SIGKILL)
	<-e.done
}

// socketPair makes two connected stream sockets that no child inherits
// unasked.
func socketPair() (a, b *os.File, err error) {
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
	if err != nil {
		return nil, nil, fmt.Errorf("socketpair: %w", err)
	}
	return os.NewFile(uintptr(fds[0]), "agent"), os.NewFile(uintptr(fds[1]), "agent"), nil
}
