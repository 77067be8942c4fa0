package footprint

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"time"

	"github.com/gureum/gureum/bench/peer"
)

// Mark is what the guest prints before it does nothing.
const Mark = "gureum-bench idle"

// Init is the guest's first program.
const Init = `#!/bin/sh
echo "` + Mark + `"
exec /bin/busybox sleep 1000000
`

// Cmdline boots it.
const Cmdline = "quiet panic=-1 rdinit=/bench-idle"

// limit is how long a guest may take to come up, on an emulated host beside other work too.
const limit = 3 * time.Minute

// Idle is a VMM with a guest that does nothing.
type Idle struct {
	// Start is the time from its exec until the guest's first program ran.
	Start time.Duration
	// Guest is which of the guests it runs.
	Guest  int
	peer   peer.Peer
	memory uint64
	dir    string
	cmd    *exec.Cmd
	end    context.CancelFunc
	group  *cgroup
	read   chan struct{} // closed when its output has ended
}

// StartIdle starts a contestant with a guest that boots Init, the first of several that it
// can run, and waits until that runs. dir is a folder for its files. It is killed when ctx
// ends, or with Stop, which must be called.
func StartIdle(ctx context.Context, p peer.Peer, guests []peer.Guest, dir string, pin *peer.Pinning) (*Idle, error) {
	return startIdle(ctx, p, guests, dir, pin, nil)
}

func startIdle(ctx context.Context, p peer.Peer, guests []peer.Guest, dir string, pin *peer.Pinning, groups *cgroups) (_ *Idle, err error) {
	i := &Idle{peer: p, read: make(chan struct{})}
	if i.dir, err = os.MkdirTemp(dir, "run-"); err != nil {
		return nil, err
	}
	args, err := i.command(guests)
	if err != nil {
		return nil, errors.Join(err, os.RemoveAll(i.dir))
	}
	ctx, i.end = context.WithCancel(ctx)
	i.cmd = peer.Process(ctx, args)
	if groups != nil {
		if i.group, err = groups.make(); err != nil {
			i.end()
			return nil, errors.Join(err, os.RemoveAll(i.dir))
		}
		i.cmd.SysProcAttr.UseCgroupFD, i.cmd.SysProcAttr.CgroupFD = true, int(i.group.fd.Fd())
	}
	out, err := i.cmd.StdoutPipe()
	if err != nil {
		i.end()
		return nil, errors.Join(err, i.clean())
	}
	i.cmd.Stderr = i.cmd.Stdout
	began := time.Now()
	if err := pin.Start(i.cmd); err != nil {
		i.end()
		return nil, errors.Join(err, i.clean())
	}
	patience := time.AfterFunc(limit, i.end)
	console, up := awaitMark(out, i.read)
	patience.Stop()
	i.Start = time.Since(began)
	if up {
		return i, nil
	}
	return nil, errors.Join(fmt.Errorf("%s: its guest did not come up:\n%s", strings.Join(args, " "), peer.LastWords(console)), i.Stop())
}

// command is the command line of the first guest that the contestant can run.
func (i *Idle) command(guests []peer.Guest) (args []string, err error) {
	for n, g := range guests {
		g.Dir = i.dir
		args, err = i.peer.Command(g)
		if errors.Is(err, peer.ErrUnsupported) {
			continue
		}
		i.Guest, i.memory = n, uint64(g.MemoryMiB)<<20
		return args, err
	}
	return nil, err
}

// awaitMark reads a console to the mark, and goes on by itself: done is closed at its end.
func awaitMark(r io.Reader, done chan struct{}) (console string, up bool) {
	var b strings.Builder
	lines := bufio.NewReader(r)
	for {
		line, err := lines.ReadString('\n')
		b.WriteString(line)
		if err != nil {
			close(done)
			return b.String(), false
		}
		if strings.Contains(line, Mark) {
			go func() {
				defer close(done)
				_, _ = io.Copy(io.Discard, lines)
			}()
			return b.String(), true
		}
	}
}

// Memory is what it takes now.
func (i *Idle) Memory() (Memory, error) {
	if i.peer.Name == peer.OwnName {
		return OfGureum(i.cmd.Process.Pid)
	}
	return OfProcess(i.cmd.Process.Pid, i.memory)
}

// Stop kills it and takes away what was made for it.
func (i *Idle) Stop() error {
	i.end()
	<-i.read
	_ = i.cmd.Wait() // it was killed
	return i.clean()
}

func (i *Idle) clean() error {
	err := os.RemoveAll(i.dir)
	if i.group != nil {
		err = errors.Join(err, i.group.remove())
	}
	return err
}
