package lab

import (
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

// InL1 says whether this process is the lab's agent in L1.
func InL1() bool { return os.Getppid() == 1 && onCmdline("lab.agent=") }

func onCmdline(word string) bool {
	b, err := os.ReadFile("/proc/cmdline")
	return err == nil && strings.Contains(string(b), word)
}

// Serve is the agent: it makes L1 a usual host and runs the command that the
// lab sends.
func Serve() error {
	port, err := openPort(agentPort)
	if err != nil {
		return err
	}
	if _, err := port.Write([]byte{'!'}); err != nil {
		return err
	}
	w := &wire{rw: port}
	kind, p, err := w.receive()
	if err != nil || kind != frameCommand {
		return fmt.Errorf("frame %d: %w", kind, err)
	}
	var c command
	if err := json.Unmarshal(p, &c); err != nil {
		return err
	}
	if err := setUp(c); err != nil {
		return w.send(frameError, []byte(err.Error()))
	}
	return runCommand(w, c)
}

// openPort finds a virtio-serial port by name.
func openPort(name string) (*os.File, error) {
	names, _ := filepath.Glob("/sys/class/virtio-ports/*/name")
	for _, path := range names {
		b, err := os.ReadFile(path)
		if err == nil && strings.TrimSpace(string(b)) == name {
			return os.OpenFile("/dev/"+filepath.Base(filepath.Dir(path)), os.O_RDWR, 0)
		}
	}
	return nil, fmt.Errorf("no virtio-serial port %s", name)
}

func runCommand(w *wire, c command) error {
	path := c.Args[0]
	for _, e := range c.Env {
		if p, ok := strings.CutPrefix(e, "PATH="); ok {
			os.Setenv("PATH", p)
		}
	}
	if err := os.Chdir(c.Dir); err != nil {
		return w.send(frameError, []byte(err.Error()))
	}
	cmd := exec.Command(path, c.Args[1:]...)
	cmd.Env, cmd.Dir = c.Env, c.Dir
	cmd.Stdout, cmd.Stderr = w.writer(frameStdout), w.writer(frameStderr)
	in, err := cmd.StdinPipe()
	if err != nil {
		return err
	}
	if err := cmd.Start(); err != nil {
		_ = w.send(frameStderr, []byte("lab: "+err.Error()+"\n"))
		return sendExit(w, 127)
	}
	go func() {
		for {
			kind, p, err := w.receive()
			switch {
			case err != nil:
				return
			case kind == frameStdin && len(p) == 0:
				in.Close()
			case kind == frameStdin:
				_, _ = in.Write(p)
			case kind == frameSignal && len(p) == 1:
				_ = cmd.Process.Signal(unix.Signal(p[0]))
			}
		}
	}()
	err = cmd.Wait()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) && !errors.Is(err, io.ErrClosedPipe) {
		return err
	}
	ws := cmd.ProcessState.Sys().(syscall.WaitStatus)
	unix.Sync()
	if ws.Signaled() {
		return sendExit(w, 128+int(ws.Signal()))
	}
	return sendExit(w, ws.ExitStatus())
}

func sendExit(w *wire, status int) error {
	if err := w.send(frameExit, binary.LittleEndian.AppendUint32(nil, uint32(status))); err != nil {
		return err
	}
	select {} // the lab ends L1
}
