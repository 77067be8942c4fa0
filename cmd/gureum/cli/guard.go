package cli

import (
	"errors"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"syscall"

	"github.com/spf13/cobra"
	"golang.org/x/sys/unix"
	"golang.org/x/term"
)

// guardCommand is the hidden command that a terminal guard runs.
const guardCommand = "terminal-guard"

// guardRelease is what the guarded process writes when it has restored the
// terminal itself.
const guardRelease = 'r'

// terminalGuard is a small process that outlives this one just long enough to
// restore the terminal if this one is killed.
type terminalGuard struct {
	cmd  *exec.Cmd
	pipe io.WriteCloser
}

// startTerminalGuard starts the guard on the terminal's present settings.
func startTerminalGuard(tty *os.File) (*terminalGuard, error) {
	cmd := exec.Command("/proc/self/exe", guardCommand)
	cmd.Args[0] = os.Args[0] // the name that ps shows
	cmd.Stdout = tty
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	pipe, err := cmd.StdinPipe()
	if err != nil {
		return nil, err
	}
	ready, err := cmd.StderrPipe()
	if err != nil {
		return nil, err
	}
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	g := &terminalGuard{cmd: cmd, pipe: pipe}
	var b [1]byte
	if _, err := io.ReadFull(ready, b[:]); err != nil {
		return nil, errors.Join(errors.New("the terminal guard did not start"), g.release())
	}
	return g, nil
}

// release ends the guard without its touching the terminal.
func (g *terminalGuard) release() error {
	_, err := g.pipe.Write([]byte{guardRelease})
	return errors.Join(err, g.pipe.Close(), g.cmd.Wait())
}

// newGuardCommand is the guard's side: the terminal is its standard output, and
// its standard input ends with the process it watches.
func newGuardCommand(s Streams) *cobra.Command {
	return &cobra.Command{
		Use:    guardCommand,
		Hidden: true,
		Args:   cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			tty, ok := s.Out.(*os.File)
			if !ok {
				return errors.New("standard output is no file")
			}
			return guardTerminal(tty, s.In, s.Err)
		},
	}
}

func guardTerminal(tty, pipe *os.File, ready io.Writer) error {
	// A background process that sets a terminal's modes is stopped by SIGTTOU
	// unless it ignores it; the others must not end the guard before its work.
	signal.Ignore(unix.SIGTTOU, unix.SIGINT, unix.SIGHUP, unix.SIGTERM, unix.SIGQUIT)
	saved, err := term.GetState(int(tty.Fd()))
	if err != nil {
		return err
	}
	if _, err := ready.Write([]byte{guardRelease}); err != nil {
		return err
	}
	var b [1]byte
	if n, _ := pipe.Read(b[:]); n == 1 {
		return nil
	}
	return term.Restore(int(tty.Fd()), saved)
}
