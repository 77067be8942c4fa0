// Package suite runs the measurements of 'gureum bench' and puts a report together.
package suite

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/gureum/gureum/bench/boot"
	"github.com/gureum/gureum/bench/density"
	"github.com/gureum/gureum/bench/exits"
	"github.com/gureum/gureum/bench/footprint"
	"github.com/gureum/gureum/bench/host"
	"github.com/gureum/gureum/bench/peer"
	"github.com/gureum/gureum/bench/result"
)

// Options say what to measure.
type Options struct {
	// Groups are those to measure, of Groups().
	Groups []string
	// Runs is how often each figure is measured.
	Runs int
	// Scale is the work of loads, in percent.
	Scale int
	// Peers are NAME or NAME=PATH (see package peer); "host" is the host itself. One that is
	// not there is told in the report.
	Peers []string
	// Gureum is this program's file, Version what it says of itself.
	Gureum, Version string
	// BzImage is a compressed kernel to boot as well; "" looks for one in /boot.
	BzImage string
	// Machines is how many VMs of each contestant the density group runs at a time.
	Machines int
	// Clock is what time is (see result).
	Clock string
	// Progress is told of each step when it begins, and how much of all the work is done, about.
	Progress func(step string, done, all int)
}

// HostPeer is the word for the host itself, without a VMM.
const HostPeer = "host"

// groups are all groups, in order.
var groups = []struct {
	name, what string
	measure    func(*run, context.Context) error
}{
	{exits.Group, "round trips of VM exits, interrupts and first touches of memory, in a guest without a kernel", (*run).exits},
	{boot.Group, "from exec to the guest's first instruction, kernel, user space, agent, and exit", (*run).boot},
	{footprint.Group, "memory beside guest RAM, threads, descriptors, program size", (*run).footprint},
	{groupCPU, "computing, memory, system calls, processes, in the guest and on the host", (*run).cpu},
	{groupBlock, "disk requests: rate, latency, CPU time and exits of each", (*run).block},
	{groupNet, "TCP and UDP by tap, vhost, user mode and between guests: the same", (*run).net},
	{density.Group, "many VMs at a time: how quickly they start, what each takes, how many fit", (*run).density},
	{groupSnapshot, "saving and restoring: nothing yet, as this version has no snapshots", (*run).snapshot},
}

// Groups are the names of all groups, in order, and what each measures.
func Groups() (names, what []string) {
	for _, g := range groups {
		names, what = append(names, g.name), append(what, g.what)
	}
	return names, what
}

// run is one in the making.
type run struct {
	Options
	stage    *stage
	report   *result.Report
	gureum   peer.Peer
	peers    []peer.Peer
	withHost bool
	pin      *peer.Pinning   // nil if nothing is pinned
	out      map[string]bool // subjects that failed in the group that is being measured
	plan     *plan
	settle   time.Duration // see settleTime; 0 is what fits the clock
	limit    time.Duration // of a load; 0 is loadLimit
}

// Run measures. When ctx ends it gives what there is, marked as interrupted; an error means
// that there is nothing.
func Run(ctx context.Context, o Options) (*result.Report, error) {
	o.Runs, o.Scale = max(o.Runs, 1), max(o.Scale, 1)
	s, err := newStage(o.Gureum)
	if err != nil {
		return nil, err
	}
	began := time.Now()
	r := &run{Options: o, stage: s, gureum: peer.Gureum(s.gureum), report: &result.Report{
		Schema: result.Schema, Version: o.Version, Started: began.UTC(), Clock: o.Clock,
		Environment: host.Root("/").Environment(), Series: []result.Series{}, Notes: []result.Note{},
	}}
	r.findPeers(ctx)
	r.pinned()
	r.plan = r.newPlan()
	quiet := host.Root("/").Noise()
	for _, g := range groups {
		if !slices.Contains(o.Groups, g.name) {
			continue
		}
		r.out = map[string]bool{}
		r.plan.enter(g.name)
		err := g.measure(r, ctx)
		if ctx.Err() != nil {
			r.report.Interrupted = true
			break
		}
		if err != nil {
			r.note(g.name, result.KindError, "%v", err)
		}
	}
	noise := host.Root("/").Noise()
	r.report.Noise = noise.Report(quiet)
	for _, text := range noise.Since(quiet) {
		r.note("", result.KindNoise, "%s", text)
	}
	r.report.Seconds = time.Since(began).Seconds()
	return r.report, errors.Join(r.pin.Close(), s.close())
}

func (r *run) findPeers(ctx context.Context) {
	r.report.Environment.Peers = map[string]string{r.gureum.Name: r.Version}
	for _, text := range r.Peers {
		if text == HostPeer {
			r.withHost = true
			continue
		}
		p, err := peer.Find(text)
		var version string
		if err == nil {
			version, err = p.Version(ctx)
		}
		if err != nil {
			r.note("", result.KindMissing, "%v", err)
			continue
		}
		r.peers = append(r.peers, p)
		r.report.Environment.Peers[p.Name] = version
	}
}

func (r *run) note(group, kind, format string, args ...any) {
	r.report.Notes = append(r.report.Notes, result.Note{Group: group, Kind: kind, Text: fmt.Sprintf(format, args...)})
}

func (r *run) add(s result.Series) { r.report.Series = append(r.report.Series, s) }

func (r *run) addSamples(s result.Series, samples []float64) {
	if s.Samples = samples; len(samples) > 0 {
		r.add(s)
	}
}

func (r *run) step(what string) {
	if r.Progress != nil {
		done, all := r.plan.next()
		r.Progress(what, done, all)
	}
}

// steps is how many there will be, if nobody is left out.
func (r *run) steps() int {
	n, vmms, subjects := 0, 1+len(r.peers), 1+len(r.peers)
	if r.withHost {
		subjects++
	}
	for _, g := range r.Groups {
		switch g {
		case exits.Group:
			n += r.exitsConfig().Steps()
		case boot.Group:
			n += r.bootConfig(r.bootCases()).Steps()
		case footprint.Group:
			n += vmms * (r.footprintRuns() + 1)
		case density.Group:
			n += vmms * r.Machines
		case groupCPU:
			n += subjects * r.rounds()
		default:
			n += r.rowSteps(g)
		}
	}
	return n
}

// failed tells a failure of a subject, which is left out of the group from then on; it is
// true when the run is to end.
func (r *run) failed(ctx context.Context, group string, s subject, err error) bool {
	if ctx.Err() != nil {
		return true
	}
	kind := result.KindError
	if errors.Is(err, peer.ErrUnsupported) {
		kind = result.KindMissing
	}
	r.note(group, kind, "%s is left out: %v", s.name, err)
	r.out[s.name] = true
	return false
}

// alive are the subjects that have not failed in this group.
func (r *run) alive(subjects []subject) []subject {
	return slices.DeleteFunc(slices.Clone(subjects), func(s subject) bool { return r.out[s.name] })
}
