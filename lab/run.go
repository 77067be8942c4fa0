package lab

import (
	"context"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"
	"runtime"
	"time"

	"golang.org/x/sys/unix"
)

// command is what the agent starts, as sent to L1.
type command struct {
	Args    []string
	Env     []string
	Dir     string
	Modules string   // folder of L1's kernel modules
	Shares  []string // writable folders, in the order of their mount tags
}

// Run boots L1, runs one command in it and returns the command's exit status
// (128+n when signal n ended it). An error means that the lab itself failed.
func Run(ctx context.Context, o Options) (int, error) {
	o, err := o.withDefaults()
	if err != nil {
		return 0, err
	}
	if o.Timeout > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, o.Timeout)
		defer cancel()
	}
	k, err := FetchKernel(ctx, o.Kernel, o.Log)
	if err != nil {
		return 0, err
	}
	cache, err := CacheDir()
	if err != nil {
		return 0, err
	}
	busybox, err := exec.LookPath("busybox")
	if err != nil {
		return 0, fmt.Errorf("busybox: not found: run 'make setup'")
	}
	initrd, err := store{dir: cache}.initrd(ctx, k, busybox)
	if err != nil {
		return 0, err
	}
	m := machine{
		vmlinuz: k.bootImage(), initrd: initrd, cpus: o.CPUs, memory: o.Memory,
		deterministic: o.Deterministic, agent: o.Agent, shares: o.Shares, agentFD: 3,
	}
	l1, err := start(m, o.Console)
	if err != nil {
		return 0, err
	}
	defer l1.kill()
	c := command{Args: o.Args, Env: o.Env, Dir: o.Dir, Modules: k.Modules(), Shares: o.Shares}
	return l1.run(ctx, o, c)
}

// l1 is a running QEMU.
type l1 struct {
	cmd     *exec.Cmd
	conn    *os.File
	console *ring
	done    chan struct{} // closed when QEMU has ended
	waitErr error
}

// start starts QEMU. It dies with this process, whatever ends it.
func start(m machine, console io.Writer) (*l1, error) {
	qemu, err := exec.LookPath("qemu-system-x86_64")
	if err != nil {
		return nil, fmt.Errorf("qemu-system-x86_64: not found: run 'make setup'")
	}
	ours, theirs, err := socketPair()
	if err != nil {
		return nil, err
	}
	defer theirs.Close()
	l := &l1{conn: ours, console: &ring{}, done: make(chan struct{})}
	var out io.Writer = l.console
	if console != nil {
		out = io.MultiWriter(l.console, console)
	}
	l.cmd = exec.Command(qemu, m.args()...)
	l.cmd.Stdout, l.cmd.Stderr = out, out
	l.cmd.ExtraFiles = []*os.File{theirs}
	l.cmd.SysProcAttr = &unix.SysProcAttr{Setpgid: true, Pdeathsig: unix.SIGKILL}
	started := make(chan error)
	go func() {
		// The death signal comes when the starting thread ends, so it stays.
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		err := l.cmd.Start()
		started <- err
		if err == nil {
			l.waitErr = l.cmd.Wait()
		}
		close(l.done)
	}()
	if err := <-started; err != nil {
		ours.Close()
		return nil, fmt.Errorf("start %s: %w", qemu, err)
	}
	return l, nil
}

// kill ends QEMU and waits for its end.
func (l *l1) kill() {
	_ = unix.Kill(-l.cmd.Process.Pid, unix.SIGKILL)
	<-l.done
	l.conn.Close()
}

// run sends the command and carries its streams until it ends.
func (l *l1) run(ctx context.Context, o Options, c command) (int, error) {
	type result struct {
		status int
		err    error
	}
	ready := make(chan struct{})
	ended := make(chan result, 1)
	go func() {
		status, err := l.converse(o, c, ready)
		ended <- result{status, err}
	}()
	boot := time.NewTimer(o.BootTimeout)
	defer boot.Stop()
	for {
		select {
		case r := <-ended:
			if r.err != nil {
				return 0, fmt.Errorf("%w; L1's console:\n%s", r.err, l.console.tail(30))
			}
			return r.status, nil
		case <-ready:
			ready = nil
			boot.Stop()
		case <-boot.C:
			return 0, fmt.Errorf("L1 did not come up within %v; its console:\n%s", o.BootTimeout, l.console.tail(30))
		case <-l.done:
			return 0, fmt.Errorf("L1 ended (%v); its console:\n%s", l.waitErr, l.console.tail(30))
		case <-ctx.Done():
			return 0, fmt.Errorf("%w; L1's console:\n%s", ctx.Err(), l.console.tail(30))
		}
	}
}

// converse speaks the lab's side of the protocol.
func (l *l1) converse(o Options, c command, ready chan<- struct{}) (int, error) {
	w := &wire{rw: l.conn}
	var hello [1]byte
	if _, err := io.ReadFull(l.conn, hello[:]); err != nil {
		return 0, err
	}
	close(ready)
	text, err := json.Marshal(c)
	if err != nil {
		return 0, err
	}
	if err := w.send(frameCommand, text); err != nil {
		return 0, err
	}
	if o.Stdin != nil {
		go func() {
			_, _ = io.Copy(w.writer(frameStdin), o.Stdin)
			_ = w.send(frameStdin, nil)
		}()
	}
	for {
		kind, p, err := w.receive()
		if err != nil {
			return 0, err
		}
		switch kind {
		case frameStdout:
			_, err = o.Stdout.Write(p)
		case frameStderr:
			_, err = o.Stderr.Write(p)
		case frameError:
			return 0, fmt.Errorf("%s", p)
		case frameExit:
			return int(binary.LittleEndian.Uint32(p)), nil
		}
		if err != nil {
			return 0, err
		}
	}
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
