package peer

import (
	"context"
	"os/exec"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// Process is a contestant's, not started. It and what it starts are killed when ctx ends, and
// it when this program does.
func Process(ctx context.Context, args []string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, args[0], args[1:]...)
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: unix.SIGKILL, Setpgid: true}
	cmd.Cancel = func() error { return unix.Kill(-cmd.Process.Pid, unix.SIGKILL) }
	cmd.WaitDelay = time.Second
	return cmd
}

// shown is how much of a console an error has, in bytes.
const shown = 1000

// LastWords are the end of a console, for errors.
func LastWords(console string) string {
	console = strings.TrimSpace(console)
	return console[max(0, len(console)-shown):]
}
