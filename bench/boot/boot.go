// Package boot measures how long virtual machine monitors take from their exec until they are
// ready to run a guest, to its first instruction, to its kernel, to its user space and to their
// own end. All boot the same kernel and RAM disk, in turns.
package boot

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"github.com/gureum/gureum/bench/peer"
	"github.com/gureum/gureum/bench/result"
)

// Group is the word of the command line.
const Group = "boot"

// The figures, each a duration.
const (
	FigureReady  = "exec to VMM ready"
	FigureEntry  = "exec to first guest instruction"
	FigureKernel = "exec to kernel start"
	FigureUser   = "exec to user space"
	FigureAgent  = "exec to the guest agent's answer"
	FigureExit   = "exec to exit"
	FigureClock  = "guest's clock at user space"
)

// figures is the order in which they are reported.
var figures = []string{FigureReady, FigureEntry, FigureKernel, FigureUser, FigureAgent, FigureExit, FigureClock}

// limit ends a run that hangs. It is long, as a guest on an emulated host beside other work takes
// half a minute.
const limit = 3 * time.Minute

// Mark is what the guest's first program prints when it runs; behind it come the kernel's own
// messages, of which the one about that program has the time.
const Mark = "gureum-bench user space"

// Init is the program, a script for /bin/busybox. It switches off, or resets if the command
// line has peer.ResetWord.
const Init = `#!/bin/sh
echo "` + Mark + `"
/bin/busybox mount -t proc proc /proc
/bin/busybox dmesg | /bin/busybox grep -a "Run /bench-init as init"
read -r line < /proc/cmdline
case "$line" in *` + peer.ResetWord + `*) exec /bin/busybox reboot -f ;; esac
exec /bin/busybox poweroff -f
`

// Cmdline boots it.
const Cmdline = "quiet panic=-1 rdinit=/bench-init"

// clockLine is printk's own time of the message.
var clockLine = sync.OnceValue(func() *regexp.Regexp {
	return regexp.MustCompile(`\[ *([0-9]+\.[0-9]{6})\][^\n]*Run /bench-init as init`)
})

// Case is a kind of guest.
type Case struct {
	Name  string
	Guest peer.Guest
	// Cold drops the host's page cache before each run.
	Cold bool
	// Agent has the agent of the embedded user land run a command that prints the mark, in
	// place of Init.
	Agent bool
	// Runs is how often it is measured at most; 0 is no limit of its own.
	Runs int
}

// Config says what to measure.
type Config struct {
	// Peers are the contestants, in turns.
	Peers []peer.Peer
	Cases []Case
	Runs  int
	// Rest, if not 0, is how long a kernel's file is left alone before each contestant boots it
	// once, unmeasured: a VMM may look more closely at a file that has just changed, and keep
	// what it unpacked (gureum does both). The agent's user land gets a boot of its own.
	Rest time.Duration
	// Dir is a folder for files of the contestants.
	Dir string
	// Pin is the CPUs that they run on.
	Pin *peer.Pinning
	// Trace says to find the first guest instruction by the kernel's trace events; root may.
	Trace bool
	// Progress is told of each run.
	Progress func(what string)
}

// times are those of one run.
type times map[string]time.Duration

// Measure boots each contestant in each case a number of times. A contestant that cannot,
// or fails, is told in the notes, and left out of that case. When ctx ends, it gives what it has.
func Measure(ctx context.Context, c Config) ([]result.Series, []result.Note, error) {
	m := &measurement{Config: c}
	if c.Trace {
		var err error
		if m.tracer, err = newTracer(); err != nil {
			m.note(result.KindMissing, "%s and %s are not measured, as trace events are not to be had: %v", FigureReady, FigureEntry, err)
		} else {
			defer m.tracer.Close()
		}
	}
	var all []result.Series
	type files struct {
		kernel string
		agent  bool
	}
	warm := map[files]bool{}
	for _, each := range c.Cases {
		if of := (files{each.Guest.Kernel, each.Agent}); !warm[of] {
			warm[of] = true
			if err := m.warm(ctx, each); err != nil {
				return all, m.notes, err
			}
		}
		series, err := m.measureCase(ctx, each)
		all = append(all, series...)
		if err != nil {
			return all, m.notes, err
		}
	}
	return all, m.notes, nil
}

type measurement struct {
	Config
	tracer *tracer // nil without
	notes  []result.Note
}

func (m *measurement) note(kind, format string, args ...any) {
	m.notes = append(m.notes, result.Note{Group: Group, Kind: kind, Text: fmt.Sprintf(format, args...)})
}

// warm boots what is in the case, unmeasured. One that cannot, or fails, is told of when it
// is measured.
func (m *measurement) warm(ctx context.Context, c Case) error {
	if m.Rest == 0 {
		return nil
	}
	select {
	case <-ctx.Done():
		return context.Cause(ctx)
	case <-time.After(m.Rest):
	}
	for _, p := range m.Peers {
		_, _ = m.once(ctx, p, c)
	}
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	return nil
}

func (m *measurement) measureCase(ctx context.Context, c Case) ([]result.Series, error) {
	runs := make([][]times, len(m.Peers))
	out := make([]bool, len(m.Peers))
	all := c.runs(m.Runs)
	for n := range all {
		for i, p := range m.Peers {
			if out[i] {
				continue
			}
			if m.Progress != nil {
				m.Progress(fmt.Sprintf("boot: %s, %s, run %d of %d", p.Name, c.Name, n+1, all))
			}
			t, err := m.once(ctx, p, c)
			switch {
			case ctx.Err() != nil:
				return m.series(c, runs), context.Cause(ctx)
			case errors.Is(err, peer.ErrUnsupported):
				m.note(result.KindMissing, "%s, %s: %v", p.Name, c.Name, err)
				out[i] = true
			case err != nil:
				m.note(result.KindError, "%s, %s: %v", p.Name, c.Name, err)
				out[i] = true
			default:
				runs[i] = append(runs[i], t)
			}
		}
	}
	return m.series(c, runs), nil
}

// runs is how often the case is measured when others are so often.
func (c *Case) runs(others int) int {
	if c.Runs > 0 {
		return min(c.Runs, others)
	}
	return others
}

// Steps is how many runs of a number of contestants there will be.
func (c *Config) Steps() int {
	n := 0
	for _, each := range c.Cases {
		n += each.runs(c.Runs) * len(c.Peers)
	}
	return n
}

func (m *measurement) series(c Case, runs [][]times) []result.Series {
	var all []result.Series
	for _, figure := range figures {
		for i, p := range m.Peers {
			s := result.Series{
				Key:  result.Key{Group: Group, Figure: figure, Case: c.Name, Subject: p.Name},
				Unit: result.Nanoseconds, Better: result.Lower,
			}
			for _, t := range runs[i] {
				if d, ok := t[figure]; ok {
					s.Samples = append(s.Samples, float64(d.Nanoseconds()))
				}
			}
			if len(s.Samples) > 0 {
				all = append(all, s)
			}
		}
	}
	return all
}

// once boots one contestant once.
func (m *measurement) once(ctx context.Context, p peer.Peer, c Case) (times, error) {
	g := c.Guest
	var err error
	if g.Dir, err = os.MkdirTemp(m.Dir, "run-"); err != nil {
		return nil, err
	}
	defer os.RemoveAll(g.Dir)
	args, err := c.command(p, g)
	if err != nil {
		return nil, err
	}
	if c.Cold {
		if err := dropCaches(); err != nil {
			return nil, err
		}
	}
	var t times
	run := func(started func(time.Time)) (times, error) { return boot(ctx, p, args, m.Pin, started) }
	if m.tracer == nil {
		t, err = run(nil)
	} else {
		t, err = m.tracer.follow(run)
	}
	if at, told := t[FigureUser]; c.Agent && told {
		t[FigureAgent] = at // the mark came by the agent
		delete(t, FigureUser)
	}
	return t, err
}

func (c *Case) command(p peer.Peer, g peer.Guest) ([]string, error) {
	if c.Agent {
		return p.AgentCommand(g, "echo", Mark)
	}
	return p.Command(g)
}

// dropCaches empties the host's page cache (proc_sys_vm(5)).
func dropCaches() error {
	unix.Sync()
	return os.WriteFile("/proc/sys/vm/drop_caches", []byte("3"), 0)
}

// boot runs a command line to its end.
func boot(ctx context.Context, p peer.Peer, args []string, pin *peer.Pinning, started func(time.Time)) (times, error) {
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	cmd := peer.Process(ctx, args)
	out, in, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	defer out.Close()
	cmd.Stdout, cmd.Stderr = in, in
	start := time.Now()
	if started != nil {
		started(start)
	}
	err = pin.Start(cmd)
	_ = in.Close()
	if err != nil {
		return nil, err
	}
	text, marked := listen(out)
	err = cmd.Wait()
	exit := time.Since(start)
	var status *exec.ExitError
	if err != nil && (!p.AnyStatus || !errors.As(err, &status)) {
		return nil, fmt.Errorf("%s: %w\n%s", strings.Join(args, " "), err, peer.LastWords(text))
	}
	if marked.IsZero() {
		return nil, fmt.Errorf("%s: its guest did not come up:\n%s", strings.Join(args, " "), peer.LastWords(text))
	}
	t := times{FigureUser: marked.Sub(start), FigureExit: exit}
	if clock, ok := guestClock(text); ok {
		t[FigureClock], t[FigureKernel] = clock, t[FigureUser]-clock
	}
	return t, nil
}

// listen reads until the end, and tells when the mark came.
func listen(r io.Reader) (text string, marked time.Time) {
	var b strings.Builder
	lines := bufio.NewReader(r)
	for {
		line, err := lines.ReadString('\n')
		if marked.IsZero() && strings.Contains(line, Mark) {
			marked = time.Now()
		}
		b.WriteString(line)
		if err != nil {
			return b.String(), marked
		}
	}
}

// guestClock is the guest kernel's own time when it started its first program.
func guestClock(text string) (time.Duration, bool) {
	found := clockLine().FindStringSubmatch(text)
	if found == nil {
		return 0, false
	}
	seconds, err := strconv.ParseFloat(found[1], 64)
	return time.Duration(seconds * float64(time.Second)), err == nil
}
