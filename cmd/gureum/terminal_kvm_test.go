package main

import (
	"bytes"
	"os"
	"os/exec"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/creack/pty"
	"golang.org/x/sys/unix"
)

// expect is a program on a pseudo-terminal, with what it has printed.
type expect struct {
	t    *testing.T
	cmd  *exec.Cmd
	pty  *os.File
	tty  *os.File
	mu   sync.Mutex
	seen bytes.Buffer
	done chan struct{} // closed when the program has ended
}

// spawn starts gureum on a new terminal.
func spawn(t *testing.T, args ...string) *expect {
	t.Helper()
	p, tty, err := pty.Open()
	if err != nil {
		t.Fatal(err)
	}
	if err := pty.Setsize(p, &pty.Winsize{Rows: 33, Cols: 101}); err != nil {
		t.Fatal(err)
	}
	e := &expect{t: t, cmd: exec.Command("gureum", args...), pty: p, tty: tty, done: make(chan struct{})}
	e.cmd.Env = append(os.Environ(), "XDG_CACHE_HOME="+t.TempDir(), "GOCOVERDIR="+t.TempDir(), "TERM=vt100")
	e.cmd.Stdin, e.cmd.Stdout, e.cmd.Stderr = tty, tty, tty
	e.cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Setctty: true}
	if err := e.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go func() {
		defer close(e.done)
		_ = e.cmd.Wait() // its status is asked for in exit
	}()
	go func() {
		buf := make([]byte, 4096)
		for {
			n, err := p.Read(buf)
			e.mu.Lock()
			e.seen.Write(buf[:n])
			e.mu.Unlock()
			if err != nil {
				return
			}
		}
	}()
	t.Cleanup(func() {
		_ = e.cmd.Process.Kill()
		<-e.done
		_ = p.Close()
		_ = tty.Close()
	})
	return e
}

// wait waits until the program has printed a text since the last call.
func (e *expect) wait(text string) {
	e.t.Helper()
	for deadline := time.Now().Add(90 * time.Second); time.Now().Before(deadline); time.Sleep(20 * time.Millisecond) {
		ended := e.ended() // asked first: what it printed at its end is looked at
		e.mu.Lock()
		_, rest, ok := strings.Cut(e.seen.String(), text)
		if ok {
			e.seen.Reset()
			e.seen.WriteString(rest)
		}
		e.mu.Unlock()
		if ok {
			return
		}
		if ended {
			break
		}
	}
	// What it waits for instead.
	_ = e.cmd.Process.Signal(unix.SIGQUIT)
	time.Sleep(time.Second)
	_ = e.cmd.Process.Signal(unix.SIGABRT)
	time.Sleep(time.Second)
	e.mu.Lock()
	defer e.mu.Unlock()
	e.t.Fatalf("%q was not printed; what was: %s", text, e.seen.String())
}

func (e *expect) ended() bool {
	select {
	case <-e.done:
		time.Sleep(100 * time.Millisecond) // the terminal's reader may be behind
		return true
	default:
		return false
	}
}

func (e *expect) send(text string) {
	e.t.Helper()
	if _, err := e.pty.WriteString(text); err != nil {
		e.t.Fatal(err)
	}
}

// exit waits for the program's end and returns its status.
func (e *expect) exit() int {
	e.t.Helper()
	select {
	case <-e.done:
		return e.cmd.ProcessState.ExitCode()
	case <-time.After(90 * time.Second):
		e.t.Fatalf("gureum does not end; it printed %q", e.seen.String())
		return -1
	}
}

func (e *expect) modes() unix.Termios {
	e.t.Helper()
	m, err := unix.IoctlGetTermios(int(e.tty.Fd()), unix.TCGETS)
	if err != nil {
		e.t.Fatal(err)
	}
	return *m
}

// resizeAndInterrupt checks at a shell's prompt that the terminal's new size and
// Ctrl-C arrive.
func (e *expect) resizeAndInterrupt() {
	e.t.Helper()
	if err := pty.Setsize(e.pty, &pty.Winsize{Rows: 50, Cols: 132}); err != nil {
		e.t.Fatal(err)
	}
	e.send("sleep 1; stty size\n")
	e.wait("50 132")
	e.send("sleep 1000\n")
	time.Sleep(500 * time.Millisecond)
	e.send("\x03echo interrupted $((40 + 2))\n")
	e.wait("interrupted 42")
}

func TestKVMShellOnATerminal(t *testing.T) {
	e := spawn(t, "run", "--name", "box")
	before := e.modes()
	e.wait("Ctrl-] q stops the machine")
	e.wait("box")
	e.send("stty size; echo $TERM; tty\n")
	e.wait("33 101")
	e.wait("vt100")
	e.resizeAndInterrupt()
	e.send("exit 5\n")
	if status := e.exit(); status != 5 {
		t.Errorf("status %d, want 5", status)
	}
	if after := e.modes(); after != before {
		t.Errorf("the terminal's modes were %+v, are %+v", before, after)
	}
}

func TestKVMEscapeStopsTheMachine(t *testing.T) {
	e := spawn(t, "run")
	before := e.modes()
	e.wait("#")
	e.send("\x1d?")
	e.wait("presses its power button")
	e.send("\x1dq")
	if status := e.exit(); status != 0 {
		t.Errorf("status %d, want 0", status)
	}
	if after := e.modes(); after != before {
		t.Errorf("the terminal's modes were %+v, are %+v", before, after)
	}
}

func TestKVMTerminalIsRestoredAfterSIGKILL(t *testing.T) {
	e := spawn(t, "run")
	before := e.modes()
	e.wait("#")
	if raw := e.modes(); raw == before {
		t.Fatal("the terminal is not in raw mode")
	}
	if err := e.cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	e.exit()
	for deadline := time.Now().Add(30 * time.Second); e.modes() != before; time.Sleep(20 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("the terminal stays in raw mode")
		}
	}
}

func TestKVMRebootStartsAgain(t *testing.T) {
	e := spawn(t, "run")
	e.wait("#")
	e.send("touch /was-here; reboot -f\n")
	e.wait("#")
	e.send("ls /was-here; exit 4\n")
	e.wait("No such file")
	if status := e.exit(); status != 4 {
		t.Errorf("status %d, want 4", status)
	}
}

func TestKVMPowerButton(t *testing.T) {
	e := spawn(t, "run")
	e.wait("#")
	e.send("\x1dp")
	if status := e.exit(); status != 0 {
		t.Errorf("status %d, want 0", status)
	}
}

func TestKVMSignalsReachTheCommand(t *testing.T) {
	cmd := exec.Command("gureum", "run", "--", "sh", "-c", "trap 'echo got it; exit 9' TERM; echo ready; while :; do sleep 1; done")
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	buf := make([]byte, 64)
	if n, err := out.Read(buf); err != nil || string(buf[:n]) != "ready\n" {
		t.Fatalf("%q, %v", buf[:n], err)
	}
	if err := cmd.Process.Signal(unix.SIGTERM); err != nil {
		t.Fatal(err)
	}
	n, _ := out.Read(buf)
	_ = cmd.Wait()
	if string(buf[:n]) != "got it\n" || cmd.ProcessState.ExitCode() != 9 {
		t.Errorf("%q, status %d", buf[:n], cmd.ProcessState.ExitCode())
	}
}

// TestKVMVirtioConsoleOnATerminal has the console follow the terminal's size.
func TestKVMVirtioConsoleOnATerminal(t *testing.T) {
	e := spawn(t, "run", "--console", "virtio", "--name", "vbox")
	e.wait("Ctrl-] q stops the machine")
	e.wait("vbox:~#")
	e.send("cat /sys/class/tty/console/active; stty size; tty\n")
	e.wait("hvc0")
	e.wait("33 101")
	e.wait("/dev/hvc0")
	e.resizeAndInterrupt()
	e.send("poweroff -f\n")
	if status := e.exit(); status != 0 {
		t.Errorf("status %d, want 0", status)
	}
}
