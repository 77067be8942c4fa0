package suite

import (
	"bufio"
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/gureum/gureum/bench/peer"
)

// loadLimit ends a guest that hangs. It is virtual time in the lab's deterministic mode.
const loadLimit = 10 * time.Minute

var errLimit = errors.New("the time is up")

// subject is who makes a load: a VMM's guest, or the host itself.
type subject struct {
	name  string
	peer  peer.Peer
	guest peer.Guest // not of the host
	host  bool
}

// follower is shown each line that a process prints, as it comes.
type follower func(pid int, line string)

// runLoad has a subject carry out a load, the arguments of GuestCommand, at an address in a
// guest, and gives what it printed.
func (r *run) runLoad(ctx context.Context, s subject, address string, args []string, follow follower) (string, error) {
	limit := cmp.Or(r.limit, loadLimit)
	ctx, cancel := context.WithTimeoutCause(ctx, limit, errLimit)
	defer cancel()
	command := append([]string{r.stage.gureum, GuestCommand}, args...)
	if !s.host {
		dir, err := os.MkdirTemp(r.stage.dir, "run-")
		if err != nil {
			return "", err
		}
		defer os.RemoveAll(dir)
		g := s.guest
		g.Dir = dir
		g.Cmdline = fmt.Sprintf("quiet panic=-1 rdinit=/bench-load bench.addr=%s bench.load=%s", address, strings.Join(args, ":"))
		if command, err = s.peer.Command(g); err != nil {
			return "", err
		}
	}
	cmd := peer.Process(ctx, command)
	kill, hung := cmd.Cancel, (*hungError)(nil)
	cmd.Cancel = func() error {
		if errors.Is(context.Cause(ctx), errLimit) {
			hung = newHungError(cmd.Process.Pid, limit)
		}
		return kill()
	}
	text, err := execute(r.pin, cmd, follow)
	if hung != nil { // set before the kill that execute has waited for
		return "", fmt.Errorf("%s: %w\n%s", command[0], hung, peer.LastWords(text))
	}
	var exit *exec.ExitError
	if err != nil && (!s.peer.AnyStatus || !errors.As(err, &exit)) {
		return "", fmt.Errorf("%s: %w\n%s", command[0], err, peer.LastWords(text))
	}
	if !s.host && !strings.Contains(text, endMark+"0\n") {
		return "", fmt.Errorf("%s: its guest did not come to an end:\n%s", command[0], peer.LastWords(text))
	}
	return text, nil
}

// lineLimit is more than a guest has reason to print in one line.
const lineLimit = 1 << 20

// execute runs a process to its end, and gives all that it printed.
func execute(pin *peer.Pinning, cmd *exec.Cmd, follow follower) (text string, err error) {
	out, in, err := os.Pipe()
	if err != nil {
		return "", err
	}
	defer out.Close()
	cmd.Stdout, cmd.Stderr = in, in
	err = pin.Start(cmd)
	_ = in.Close()
	if err != nil {
		return "", err
	}
	go func() {
		waitForEnd(cmd.Process.Pid)
		// A process that it has left behind may hold on to its output.
		time.AfterFunc(cmd.WaitDelay, func() { _ = out.Close() })
	}()
	var all strings.Builder
	lines := bufio.NewScanner(out)
	lines.Buffer(nil, lineLimit)
	for lines.Scan() {
		line := strings.TrimRight(lines.Text(), "\r")
		all.WriteString(line + "\n")
		if follow != nil {
			follow(cmd.Process.Pid, line)
		}
	}
	if errors.Is(lines.Err(), bufio.ErrTooLong) {
		_ = cmd.Cancel()
		return all.String(), errors.Join(lines.Err(), cmd.Wait())
	}
	return all.String(), cmd.Wait()
}

// waitForEnd waits for the end of a child, of which the kernel still tells afterwards: its
// counters are asked for while its last lines are read.
func waitForEnd(pid int) {
	for {
		err := unix.Waitid(unix.P_PID, pid, nil, unix.WEXITED|unix.WNOWAIT, nil)
		if !errors.Is(err, unix.EINTR) {
			return
		}
	}
}
