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

	"github.com/gureum/gureum/bench/cpu"
	"github.com/gureum/gureum/bench/host"
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
	cmd := peer.Process(ctx, command)
	out, err := r.pin.CombinedOutput(cmd)
	var exit *exec.ExitError
	if err != nil && (!s.peer.AnyStatus || !errors.As(err, &exit)) {
		return answer{}, fmt.Errorf("%s: %w\n%s", command[0], err, peer.LastWords(string(out)))
	}
	text := strings.ReplaceAll(string(out), "\r", "")
	if !s.host && !strings.Contains(text, endMark+"0\n") {
		return answer{}, fmt.Errorf("%s: its guest did not come to an end:\n%s", command[0], peer.LastWords(string(out)))
	}
	usage := cmd.ProcessState.SysUsage().(*syscall.Rusage)
	return answer{text, time.Duration(usage.Utime.Nano() + usage.Stime.Nano())}, nil
}

// measureCPU makes the loads of package cpu on the host and in each guest.
func (r *run) measureCPU(ctx context.Context, subjects []subject) error {
	args := []string{"cpu", "-runs", strconv.Itoa(r.Runs), "-scale", strconv.Itoa(r.Scale)}
	samples := map[[2]string][]float64{} // of a load, of a subject
	for n := range r.rounds() {
		for _, s := range r.alive(subjects) {
			r.step(fmt.Sprintf("cpu: %s, round %d of %d", s.name, n+1, r.rounds()))
			a, err := r.runLoad(ctx, s, args)
			if err == nil {
				err = addCPU(samples, s.name, a.text)
			}
			if err != nil && r.failed(ctx, "cpu", s, err) {
				return context.Cause(ctx)
			}
		}
	}
	for _, l := range cpu.Loads() {
		for _, s := range subjects {
			key := result.Key{Group: "cpu", Figure: l.Name, Subject: s.name}
			r.addSamples(result.Series{Key: key, Unit: result.Nanoseconds, Better: result.Lower}, samples[[2]string{l.Name, s.name}])
		}
	}
	return nil
}

// addCPU takes in what a subject told of its loads.
func addCPU(samples map[[2]string][]float64, subject, text string) error {
	for line := range strings.Lines(text) {
		_, told, marked := strings.Cut(line, cpuMark)
		if !marked {
			continue
		}
		var s cpu.Sample
		if err := json.Unmarshal([]byte(told), &s); err != nil {
			return fmt.Errorf("%q: %w", told, err)
		}
		if s.Error != "" {
			return fmt.Errorf("%s: %s", s.Name, s.Error)
		}
		key := [2]string{s.Name, subject}
		samples[key] = append(samples[key], s.Samples...)
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
	idle, err := r.idleCosts(ctx, subjects)
	if err != nil {
		return err
	}
	for i, w := range rows() {
		if w.group != group {
			continue
		}
		got := &rowSamples{row: w, number: i, idle: idle, values: map[string][]float64{}, costs: map[string][]float64{}}
		err := r.measureRow(ctx, got, subjects)
		for _, s := range subjects {
			key := result.Key{Group: group, Figure: w.figure, Subject: s.name}
			r.addSamples(result.Series{Key: key, Unit: w.unit, Better: w.better}, got.values[s.name])
		}
		for _, s := range subjects {
			key := result.Key{Group: group, Figure: "CPU time a " + w.cost, Case: w.figure, Subject: s.name}
			r.addSamples(result.Series{Key: key, Unit: result.Nanoseconds, Better: result.Lower}, got.costs[s.name])
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// rowSamples are a row's samples by subject.
type rowSamples struct {
	row
	number        int
	idle          map[string]time.Duration
	values, costs map[string][]float64
}

func (r *run) measureRow(ctx context.Context, got *rowSamples, subjects []subject) error {
	for n := range r.Runs {
		for _, s := range r.alive(subjects) {
			r.step(fmt.Sprintf("%s: %s, %s, run %d of %d", got.group, s.name, got.figure, n+1, r.Runs))
			a, err := r.runLoad(ctx, s, s.rowArgs(strconv.Itoa(got.number)))
			if err == nil {
				err = got.add(s.name, a)
			}
			if err != nil && r.failed(ctx, got.group, s, err) {
				return context.Cause(ctx)
			}
		}
	}
	return nil
}

// add takes in the answer of a subject.
func (g *rowSamples) add(subject string, a answer) error {
	for line := range strings.Lines(a.text) {
		_, rest, marked := strings.Cut(line, rowMark+strconv.Itoa(g.number)+" ")
		if !marked {
			continue
		}
		v, err := g.value(rest)
		if err != nil {
			return err
		}
		g.values[subject] = append(g.values[subject], v)
		g.costs[subject] = append(g.costs[subject], max(0, float64(a.cpu-g.idle[subject]))/g.row.costs)
		return nil
	}
	return fmt.Errorf("no answer to %q:\n%s", g.figure, peer.LastWords(a.text))
}

// rowArgs are the arguments for some rows. The host reaches its own address without the tap.
func (s *subject) rowArgs(numbers string) []string {
	disk := "/dev/vda"
	if s.host {
		disk = host.DiskDevice
	}
	return []string{"rows", "-disk", disk, "-server", hostAddr, numbers}
}

// idleCosts is the CPU time of each subject that makes no row: the median of three.
func (r *run) idleCosts(ctx context.Context, subjects []subject) (map[string]time.Duration, error) {
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

// serve is the host's end of the network loads.
func serve() (stop func() error, err error) {
	l, err := net.Listen("tcp4", net.JoinHostPort(hostAddr, loadPort))
	if err != nil {
		return nil, err
	}
	done := make(chan error, 1)
	go func() { done <- load.Serve(l) }()
	return func() error { return errors.Join(l.Close(), <-done) }, nil
}
