package agent

import (
	"encoding/binary"
	"errors"
	"os"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// grace is how long output is waited for after a command has ended, when what
// it left in the background keeps its pipes open.
const grace = 100 * time.Millisecond

// command is one command in the guest, from Exec to Exit.
type command struct {
	c       *connection
	channel uint16
	req     *execRequest
	stdin   *queue
	out     [2]*credit // stdout, stderr

	mu         sync.Mutex
	pid        int
	killed     bool
	pending    []unix.Signal // came before the process was there
	rows, cols uint16
	tty        *os.File // once the process is there
}

func newCommand(c *connection, channel uint16, req *execRequest) *command {
	return &command{
		c: c, channel: channel, req: req,
		stdin: newQueue(stdinWindow),
		out:   [2]*credit{newCredit(int(req.stdoutWindow)), newCredit(int(req.stderrWindow))},
		rows:  req.rows, cols: req.cols,
	}
}

// run is the whole life of the command.
func (cmd *command) run() {
	io, status, fault := cmd.start()
	if fault != nil {
		cmd.c.forget(cmd.channel)
		cmd.c.out.last(fault.frame(cmd.channel))
		return
	}
	var feeding, pumping sync.WaitGroup
	if io.in != nil {
		feeding.Add(1)
		go func() {
			defer feeding.Done()
			cmd.feed(io)
		}()
	}
	for i, src := range io.out {
		if src == nil {
			continue
		}
		pumping.Add(1)
		go func() {
			defer pumping.Done()
			cmd.pump(src, typeStdout+frameType(i), cmd.out[i])
		}()
	}
	st := <-status
	for _, src := range io.out {
		if src != nil {
			src.exited()
		}
	}
	pumping.Wait()
	cmd.stdin.close()
	io.stopInput()
	feeding.Wait()
	io.close()
	cmd.c.forget(cmd.channel)
	cmd.c.out.last(exitStatus(st).frame(cmd.channel))
}

func exitStatus(st unix.WaitStatus) ExitStatus {
	if st.Signaled() {
		return ExitStatus{Signal: int(st.Signal()), CoreDump: st.CoreDump()}
	}
	return ExitStatus{Code: st.ExitStatus()}
}

// start makes the process. Its standard streams are ours to close afterwards.
func (cmd *command) start() (*stdio, <-chan unix.WaitStatus, *ExecError) {
	opts := cmd.c.opts
	if opts.Ready != nil {
		if err := opts.Ready(); err != nil {
			return nil, nil, &ExecError{Code: 126, Message: "set up the guest: " + err.Error()}
		}
	}
	env := cmd.req.env
	if cmd.req.flags&execCleanEnv == 0 {
		env = mergeEnv(opts.Env, env)
	}
	dir := cmd.req.dir
	if dir == "" {
		dir = opts.Dir
	}
	path, fault := findProgram(cmd.req.args[0], dir, env)
	if fault != nil {
		return nil, nil, fault
	}
	sio, child, err := openStdio(cmd.req.flags, cmd.req.rows, cmd.req.cols)
	if err != nil {
		return nil, nil, execError(126, "open its standard streams", err)
	}
	attr := &syscall.ProcAttr{
		Dir: dir, Env: env,
		Files: []uintptr{uintptr(child[0]), uintptr(child[1]), uintptr(child[2])},
		Sys:   &syscall.SysProcAttr{Setsid: true, Setctty: sio.tty != nil},
	}
	pid, status, err := opts.Reaper.Start(path, cmd.req.args, attr)
	closeAll(child[:])
	if err != nil {
		sio.close()
		code := 126
		if errors.Is(err, unix.ENOENT) {
			code = 127
		}
		return nil, nil, execError(code, path, err)
	}
	cmd.begin(pid, sio.tty)
	b := binary.LittleEndian.AppendUint32(nil, uint32(pid))
	b = binary.LittleEndian.AppendUint32(b, stdinWindow)
	cmd.c.out.post(newFrame(typeStarted, cmd.channel, b), nil)
	return sio, status, nil
}

// begin publishes the process and catches up with what came before it.
func (cmd *command) begin(pid int, tty *os.File) {
	cmd.mu.Lock()
	defer cmd.mu.Unlock()
	cmd.pid, cmd.tty = pid, tty
	if cmd.killed {
		cmd.pending = append(cmd.pending, unix.SIGKILL)
	}
	for _, sig := range cmd.pending {
		_ = cmd.c.opts.Reaper.Signal(pid, sig) // it has ended if this fails
	}
	cmd.pending = nil
	if tty != nil {
		setSize(tty, cmd.rows, cmd.cols)
	}
}

func (cmd *command) signal(sig unix.Signal) {
	cmd.mu.Lock()
	defer cmd.mu.Unlock()
	if cmd.pid == 0 {
		if len(cmd.pending) < 16 {
			cmd.pending = append(cmd.pending, sig)
		}
		return
	}
	_ = cmd.c.opts.Reaper.Signal(cmd.pid, sig) // it has ended if this fails
}

func (cmd *command) resize(rows, cols uint16) {
	cmd.mu.Lock()
	defer cmd.mu.Unlock()
	cmd.rows, cmd.cols = rows, cols
	if cmd.tty != nil {
		setSize(cmd.tty, rows, cols)
	}
}

// kill ends the command because nobody is left to hear of it.
func (cmd *command) kill() {
	cmd.mu.Lock()
	defer cmd.mu.Unlock()
	cmd.killed = true
	if cmd.pid != 0 {
		_ = cmd.c.opts.Reaper.Signal(cmd.pid, unix.SIGKILL) // it has ended if this fails
	}
	cmd.stdin.close()
	for _, c := range cmd.out {
		c.close()
	}
}

// pump sends one output stream as far as the host gives credit.
func (cmd *command) pump(src *source, t frameType, c *credit) {
	buf := make([]byte, headerSize+chunk)
	for {
		want := c.take(chunk)
		if want == 0 {
			src.close() // the command gets a broken pipe, or a hangup
			return
		}
		n, err := src.read(buf[headerSize : headerSize+want])
		c.add(want - n)
		if n > 0 {
			header{typ: t, channel: cmd.channel, length: uint32(n)}.put(buf)
			if cmd.c.out.bulk(buf[:headerSize+n]) != nil {
				err = errStopped
			}
		}
		if err != nil {
			return
		}
	}
}

// feed writes standard input and grants more as it is taken.
func (cmd *command) feed(sio *stdio) {
	for {
		p := cmd.stdin.take()
		if p == nil {
			break
		}
		if _, err := sio.in.Write(p); err != nil {
			cmd.stdin.close()
			cmd.c.out.post(closedFrame(cmd.channel, streamStdin), nil)
			break
		}
		if n := cmd.stdin.done(len(p)); n > 0 {
			cmd.c.out.post(window{streamStdin, uint32(n)}.frame(cmd.channel), nil)
		}
	}
	sio.endInput()
}
