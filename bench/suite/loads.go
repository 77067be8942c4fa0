package suite

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/gureum/gureum/bench/cpu"
	"github.com/gureum/gureum/bench/load"
	"github.com/gureum/gureum/bench/peer"
	"github.com/gureum/gureum/bench/result"
)

// Addresses on the tap of a measurement, and where the host's server listens.
const (
	hostAddr  = "10.213.0.1"
	guestAddr = "10.213.0.2"
	loadPort  = "5201"
	tapName   = "gbench0"
)

// loadLimit ends a guest that hangs. It is virtual time in the lab's deterministic mode.
const loadLimit = 10 * time.Minute

// subject is who makes a load: a VMM's guest, or the host itself.
type subject struct {
	name  string
	peer  peer.Peer
	guest peer.Guest // not of the host
	host  bool
}

// answer is what came of a load.
type answer struct {
	text string
	cpu  time.Duration // of all its processes, guests and the kernel's work for them included
}

// runLoad has a subject carry out a load: the arguments of GuestCommand.
func (r *run) runLoad(ctx context.Context, s subject, args []string) (answer, error) {
	ctx, cancel := context.WithTimeout(ctx, loadLimit)
	defer cancel()
	command := append([]string{r.stage.gureum, GuestCommand}, args...)
	if !s.host {
		dir, err := os.MkdirTemp(r.stage.dir, "run-")
		if err != nil {
			return answer{}, err
		}
		defer os.RemoveAll(dir)
		g := s.guest
		g.Dir, g.Cmdline = dir, "quiet panic=-1 rdinit=/bench-load bench.load="+strings.Join(args, ":")
		if command, err = s.peer.Command(g); err != nil {
			return answer{}, err
		}
	}
	cmd := exec.CommandContext(ctx, command[0], command[1:]...)
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: unix.SIGKILL, Setpgid: true}
	cmd.Cancel = func() error { return unix.Kill(-cmd.Process.Pid, unix.SIGKILL) }
	cmd.WaitDelay = time.Second
	out, err := cmd.CombinedOutput()
	var exit *exec.ExitError
	if err != nil && (!s.peer.AnyStatus || !errors.As(err, &exit)) {
		return answer{}, fmt.Errorf("%s: %w\n%s", command[0], err, lastOf(out))
	}
	text := strings.ReplaceAll(string(out), "\r", "")
	if !s.host && !strings.Contains(text, endMark+"0\n") {
		return answer{}, fmt.Errorf("%s: its guest did not come to an end:\n%s", command[0], lastOf(out))
	}
	usage := cmd.ProcessState.SysUsage().(*syscall.Rusage)
	return answer{text, time.Duration(usage.Utime.Nano() + usage.Stime.Nano())}, nil
}

// shown is how much of a console an error has, in bytes.
const shown = 1000

func lastOf(out []byte) []byte { return out[max(0, len(out)-shown):] }

// measureCPU makes the loads of package cpu on the host and in each guest.
func (r *run) measureCPU(ctx context.Context, subjects []subject) error {
	args := []string{"cpu", "-runs", strconv.Itoa(r.Runs), "-scale", strconv.Itoa(r.Scale)}
	samples := map[[2]string][]float64{} // of a load, of a subject
	for n := range r.rounds() {
		for _, s := range r.alive(subjects) {
			r.step(fmt.Sprintf("cpu: %s, round %d of %d", s.name, n+1, r.rounds()))
			a, err := r.runLoad(ctx, s, args)
			if err != nil {
				if r.failed(ctx, "cpu", s, err) {
					return context.Cause(ctx)
				}
				continue
			}
			for line := range strings.Lines(a.text) {
				_, text, marked := strings.Cut(line, cpuMark)
				var sample cpu.Sample
				if !marked {
					continue
				}
				if err := json.Unmarshal([]byte(text), &sample); err != nil || sample.Error != "" {
					r.note("cpu", result.KindError, "%s, %s: %s%v", s.name, sample.Name, sample.Error, err)
					continue
				}
				key := [2]string{sample.Name, s.name}
				samples[key] = append(samples[key], sample.Samples...)
			}
		}
	}
	for _, l := range cpu.Loads() {
		for _, s := range subjects {
			if got := samples[[2]string{l.Name, s.name}]; len(got) > 0 {
				r.add(result.Series{
					Key:  result.Key{Group: "cpu", Figure: l.Name, Subject: s.name},
					Unit: result.Nanoseconds, Better: result.Lower, Samples: got,
				})
			}
		}
	}
	return nil
}

// rounds is how often a guest is started to make a group's loads, which it does several
// times itself.
func (r *run) rounds() int { return min(r.Runs, 3) }

// measureRows makes the rows of a group, each in a guest of its own, in turns. What the
// CPUs of the host did is told for each request; the guest's start, measured by one that
// makes no row, is taken off.
func (r *run) measureRows(ctx context.Context, group string, subjects []subject) error {
	if group == groupNet {
		stop, err := r.serve()
		if err != nil {
			return err
		}
		defer stop()
	}
	idle, err := r.idleCosts(ctx, group, subjects)
	if err != nil {
		return err
	}
	for i, w := range rows() {
		if w.group != group {
			continue
		}
		values, costs := map[string][]float64{}, map[string][]float64{}
		for n := range r.Runs {
			for _, s := range r.alive(subjects) {
				r.step(fmt.Sprintf("%s: %s, %s, run %d of %d", group, s.name, w.figure, n+1, r.Runs))
				a, err := r.runLoad(ctx, s, s.rowArgs(strconv.Itoa(i)))
				var v float64
				if err == nil {
					v, err = answerOf(a.text, i, &w)
				}
				if err != nil {
					if r.failed(ctx, group, s, err) {
						return context.Cause(ctx)
					}
					continue
				}
				values[s.name] = append(values[s.name], v)
				costs[s.name] = append(costs[s.name], max(0, float64(a.cpu-idle[s.name]))/w.costs)
			}
		}
		for _, s := range subjects {
			r.addSamples(result.Series{Key: result.Key{Group: group, Figure: w.figure, Subject: s.name}, Unit: w.unit, Better: w.better}, values[s.name])
		}
		for _, s := range subjects {
			key := result.Key{Group: group, Figure: "CPU time a " + w.cost, Case: w.figure, Subject: s.name}
			r.addSamples(result.Series{Key: key, Unit: result.Nanoseconds, Better: result.Lower}, costs[s.name])
		}
	}
	return nil
}

// rowArgs are the arguments for some rows. The host reaches its own address without the tap.
func (s *subject) rowArgs(numbers string) []string {
	disk := "/dev/vda"
	if s.host {
		disk = diskDevice
	}
	return []string{"rows", "-disk", disk, "-server", hostAddr, numbers}
}

// idleCosts is the CPU time of each subject that makes no row: the median of three.
func (r *run) idleCosts(ctx context.Context, group string, subjects []subject) (map[string]time.Duration, error) {
	costs := map[string]time.Duration{}
	for _, s := range subjects {
		var all []float64
		for range 3 {
			a, err := r.runLoad(ctx, s, s.rowArgs(","))
			if ctx.Err() != nil {
				return nil, context.Cause(ctx)
			}
			if err != nil {
				break // its rows will tell
			}
			all = append(all, float64(a.cpu))
		}
		if len(all) > 0 {
			costs[s.name] = time.Duration(result.Median(all))
		}
	}
	return costs, nil
}

// answerOf finds the answer to a row.
func answerOf(text string, number int, w *row) (float64, error) {
	for line := range strings.Lines(text) {
		if _, rest, marked := strings.Cut(line, rowMark+strconv.Itoa(number)+" "); marked {
			return w.value(rest)
		}
	}
	return 0, fmt.Errorf("no answer to %q:\n%s", w.figure, lastOf([]byte(text)))
}

// serve is the host's end of the network loads.
func (r *run) serve() (stop func(), err error) {
	l, err := net.Listen("tcp4", net.JoinHostPort(hostAddr, loadPort))
	if err != nil {
		return nil, err
	}
	done := make(chan error, 1)
	go func() { done <- load.Serve(l) }()
	return func() {
		_ = l.Close()
		<-done
	}, nil
}
