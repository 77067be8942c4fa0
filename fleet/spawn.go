package fleet

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"syscall"

	"github.com/gureum/gureum/fleet/state"
	"github.com/gureum/gureum/guest/image"
	"github.com/gureum/gureum/vm"
)

// process is a process of this program to be started that outlives its caller and reports
// how its start went.
type process struct {
	log  string // path of what it writes to standard output and error
	args []string
	// life is the lock that says that it lives; files are what else it inherits. It finds
	// them from FirstFile up: the lock, the pipe for its report, then these.
	life  *state.Lock
	files []*os.File
	// attr, if it is not nil, completes how it is started.
	attr func(*syscall.SysProcAttr)
	// started, if it is not nil, is called with its number once it runs.
	started func(pid int) error
	// judge reads the report, which is empty if the process died without one.
	judge func(report []byte) error
}

// maxReport bounds a report, in bytes.
const maxReport = 64 << 10

// spawn starts a process and waits for its report. One whose report is an error, or comes
// later than ctx ends, has ended when spawn returns.
func (f *Fleet) spawn(ctx context.Context, p process) (err error) {
	reports, report, err := os.Pipe()
	if err != nil {
		return err
	}
	defer reports.Close()
	cmd, log, err := f.background(p.log, p.args...)
	if err != nil {
		return errors.Join(err, report.Close())
	}
	defer log.Close()
	cmd.ExtraFiles = append([]*os.File{p.life.File(), report}, p.files...)
	if p.attr != nil {
		p.attr(cmd.SysProcAttr)
	}
	err = vm.WithoutHugePages(cmd.Start)
	if err = errors.Join(err, report.Close()); err != nil {
		return fmt.Errorf("start gureum %s: %w", p.args[0], err)
	}
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		_ = cmd.Wait() // so that nothing is left of it while this process lives
	}()
	if p.started != nil {
		err = p.started(cmd.Process.Pid)
	}
	if err == nil {
		err = await(ctx, cmd.Process, reports, p.judge)
	}
	if err != nil {
		_ = cmd.Process.Kill() // it ends by itself, or has hung
		<-ended
		return err
	}
	return nil
}

// await reads a process's report. When ctx ends first the process is killed.
func await(ctx context.Context, process *os.Process, reports io.Reader, judge func([]byte) error) error {
	defer context.AfterFunc(ctx, func() { _ = process.Kill() })()
	text, err := io.ReadAll(io.LimitReader(reports, maxReport))
	switch {
	case err != nil:
		return err
	case ctx.Err() != nil:
		return context.Cause(ctx)
	}
	return judge(text)
}

// background is a process of this program that outlives its caller, not started, and its
// log, which the caller closes.
func (f *Fleet) background(logPath string, args ...string) (*exec.Cmd, *os.File, error) {
	log, err := os.OpenFile(logPath, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return nil, nil, err
	}
	cmd := exec.Command("/proc/self/exe", args...)
	cmd.Args[0] = "gureum"
	cmd.Stdout, cmd.Stderr = log, log
	cmd.Env = f.environment()
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	return cmd, log, nil
}

// smallHeap has the Go runtime ask for no huge pages for its heap (package runtime,
// Environment Variables), also for parts that it adds once the machine may have them: what
// is unpacked while a machine is made, for example, needs them for a moment.
const smallHeap = "GODEBUG=disablethp=1"

// environment is all that such a process gets to know of its caller's.
func (f *Fleet) environment() []string {
	env := []string{smallHeap, state.EnvState + "=" + f.Dirs.State, state.EnvRun + "=" + f.Dirs.Run}
	for _, name := range []string{"PATH", "HOME", "XDG_CACHE_HOME", "XDG_DATA_HOME", image.EnvStore} {
		if value, set := os.LookupEnv(name); set {
			env = append(env, name+"="+value)
		}
	}
	return env
}
