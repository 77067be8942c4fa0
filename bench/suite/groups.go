package suite

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
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

// memoryMiB is what guests get where nothing else is said.
const memoryMiB = 256

// cpuMemoryMiB has room for the largest ring of the latency loads, of 1 GiB.
const cpuMemoryMiB = 1280

func (r *run) vmms() []peer.Peer { return append([]peer.Peer{r.gureum}, r.peers...) }

// guest is the one that all measurements begin with.
func (r *run) guest() peer.Guest {
	return peer.Guest{Kernel: r.stage.kernel, Initrd: r.stage.initrd, MemoryMiB: memoryMiB, CPUs: 1, Transport: peer.MMIO, Queues: 1}
}

func (r *run) exitsConfig() exits.Config {
	scale := r.Scale
	if r.counted() {
		scale = max(scale/5, 1) // nearly all events of a kind take the same there
	}
	return exits.Config{
		Peers: r.vmms(), Guest: r.guest(), Runs: r.exitsRuns(), Scale: scale, Dir: r.stage.dir, Pin: r.pin, Trace: true, Progress: r.step,
	}
}

func (r *run) exits(ctx context.Context) error {
	series, notes, err := exits.Measure(ctx, r.exitsConfig())
	r.take(series, notes)
	return err
}

// countedRuns is how often what takes long is measured at most where instructions are counted.
const countedRuns = 2

func (r *run) exitsRuns() int {
	if r.counted() {
		return min(r.Runs, countedRuns)
	}
	return r.Runs
}

// bootCases differ from the first in one thing each.
func (r *run) bootCases() []boot.Case {
	var cases []boot.Case
	add := func(name string, change func(*boot.Case)) {
		c := boot.Case{Name: name, Guest: r.guest()}
		c.Guest.Cmdline = boot.Cmdline
		change(&c)
		cases = append(cases, c)
	}
	add(fmt.Sprintf("vmlinux, 1 CPU, %d MiB, MMIO", memoryMiB), func(*boot.Case) {})
	for _, cpus := range []int{2, 4} {
		add(fmt.Sprintf("%d CPUs", cpus), func(c *boot.Case) { c.Guest.CPUs = cpus })
	}
	add("128 MiB", func(c *boot.Case) { c.Guest.MemoryMiB = 128 })
	add("4 GiB", func(c *boot.Case) { c.Guest.MemoryMiB = 4096 })
	add("PCI", func(c *boot.Case) { c.Guest.Transport = peer.PCI })
	add("a disk and a network", func(c *boot.Case) { c.Guest.Disk, c.Guest.Tap = host.DiskDevice, tapName })
	add("cold page cache", func(c *boot.Case) { c.Cold = true })
	add("machine as it comes: microvm has no RTC", func(c *boot.Case) { c.Guest.NoClock = true })
	add("a command by the guest's agent", func(c *boot.Case) { c.Agent = true })
	if file := r.bzImage(); file != "" {
		add("bzImage, PCI", func(c *boot.Case) {
			c.Guest.Kernel, c.Guest.BzImage, c.Guest.Transport = file, true, peer.PCI
			// Unpacking itself in the guest takes it long, and spreads little.
			c.Runs = 3
		})
	}
	if r.counted() {
		for i := range cases[1:] {
			cases[i+1].Runs = countedRuns
		}
	}
	return cases
}

// bzImages are where Debian's kernels for virtual machines are when they are installed; others
// may lack the drivers that the guest needs before it could load any.
const bzImages = "/boot/vmlinuz-*-cloud-*"

// bzImage is the compressed kernel to boot, "" for none: the embedded one is not compressed
// in that way.
func (r *run) bzImage() string {
	if r.BzImage != "" {
		return r.BzImage
	}
	if found, err := filepath.Glob(bzImages); err == nil && len(found) > 0 {
		return found[len(found)-1]
	}
	return ""
}

// kernelRest is how long a kernel's file is left alone before it is booted: gureum takes the
// identity of one that is 2 s old for its content.
const kernelRest = 3 * time.Second

func (r *run) bootConfig(cases []boot.Case) *boot.Config {
	return &boot.Config{Peers: r.vmms(), Cases: cases, Runs: r.Runs, Rest: kernelRest, Dir: r.stage.dir, Pin: r.pin, Trace: true, Progress: r.step}
}

func (r *run) boot(ctx context.Context) error {
	cases := r.bootCases()
	if file := r.bzImage(); file == "" {
		r.note(boot.Group, result.KindMissing, "no bzImage is measured, as none was given and there is no %s: give one with --bzimage", bzImages)
	} else {
		r.note(boot.Group, result.KindMethod, "the bzImage is %s", file)
	}
	remove, err := r.prepareDevices()
	if err != nil {
		r.note(boot.Group, result.KindMissing, "guests with a disk and a network are not measured: %v", err)
		remove = func() error { return nil }
		cases = slices.DeleteFunc(cases, func(c boot.Case) bool { return c.Guest.Tap != "" })
	}
	series, notes, err := boot.Measure(ctx, *r.bootConfig(cases))
	r.take(series, notes)
	return errors.Join(err, remove())
}

// footprintRuns is how often footprints are measured at most, as they spread little and take
// seconds of waiting each; footprintVMs is how many VMs are then measured together.
const (
	footprintRuns = 3
	footprintVMs  = 4
)

func (r *run) footprintRuns() int {
	if r.counted() {
		return min(r.Runs, countedRuns)
	}
	return min(r.Runs, footprintRuns)
}

// settleIdle is how long guests that do nothing are left alone before they are measured: what their
// start took for a moment has been given back by then.
const settleIdle = 4 * time.Second

// idleGuests are the guest of footprint and density in all ways that contestants may need, and
// words for these. It has no devices, so that the bus makes little difference, and nothing is
// said of a guest's own memory that a kernel could change.
func (r *run) idleGuests() (guests []peer.Guest, ways []string) {
	g := r.guest()
	g.Cmdline = footprint.Cmdline
	guests, ways = append(guests, g), append(ways, "virtio over MMIO")
	g.Transport = peer.PCI
	guests, ways = append(guests, g), append(ways, "virtio over PCI")
	if g.Kernel, g.BzImage = r.bzImage(), true; g.Kernel != "" {
		guests, ways = append(guests, g), append(ways, "the bzImage and virtio over PCI")
	}
	return guests, ways
}

func (r *run) footprint(ctx context.Context) error {
	guests, ways := r.idleGuests()
	series, notes, err := footprint.Measure(ctx, footprint.Config{
		Peers: r.vmms(), Guests: guests, Ways: ways, Runs: r.footprintRuns(), Together: footprintVMs, Settle: settleIdle,
		Dir: r.stage.dir, Pin: r.pin, Progress: r.step,
	})
	r.take(series, notes)
	return err
}

// densityFloor is the share of the host's memory that the density group leaves alone.
const densityFloor = 0.15

func (r *run) density(ctx context.Context) error {
	guests, _ := r.idleGuests()
	floor := uint64(densityFloor * float64(r.report.Environment.MemoryBytes))
	series, notes, err := density.Measure(ctx, density.Config{
		Peers: r.vmms(), Guests: guests, Machines: r.Machines, Floor: floor, Settle: settleIdle,
		Dir: r.stage.dir, Pin: r.pin, Available: host.Root("/").Available, Progress: r.step,
	})
	r.take(series, notes)
	r.note(density.Group, result.KindMethod, "memory is taken to be out when %d MiB are left, which are never used", floor>>20)
	return err
}

// groupSnapshot has no figures yet.
const groupSnapshot = "snapshot"

func (r *run) snapshot(context.Context) error {
	r.note(groupSnapshot, result.KindMissing, "nothing is measured: this version of gureum saves and restores no machines")
	return nil
}

// pinned keeps contestants to CPUs of their own, where there are enough.
func (r *run) pinned() {
	pin, err := peer.Pin()
	if err != nil {
		r.note("", result.KindMethod, "%v", err)
		return
	}
	r.pin = pin
	r.note("", result.KindMethod, "%v", pin)
}

func (r *run) take(series []result.Series, notes []result.Note) {
	r.report.Series = append(r.report.Series, series...)
	r.report.Notes = append(r.report.Notes, notes...)
}

// prepareDevices makes the disk and the tap of a group's guests.
func (r *run) prepareDevices() (remove func() error, err error) {
	removeDisk, err := host.PrepareDisk()
	if err != nil {
		return nil, err
	}
	removeTap, err := prepareTap(1)
	if err != nil {
		return nil, errors.Join(err, removeDisk())
	}
	return func() error { return errors.Join(removeTap(), removeDisk()) }, nil
}

// subjects are the VMMs with a guest that makes loads, and the host.
func (r *run) subjects(change func(*peer.Guest)) []subject {
	var all []subject
	for _, p := range r.vmms() {
		g := r.guest()
		g.Initrd = r.stage.loadInitrd
		change(&g)
		all = append(all, subject{name: p.Name, peer: p, guest: g})
	}
	if r.withHost {
		all = append(all, subject{name: HostPeer, host: true})
	}
	return all
}

func (r *run) cpu(ctx context.Context) error {
	return r.measureCPU(ctx, r.subjects(func(g *peer.Guest) { g.MemoryMiB = cpuMemoryMiB }))
}

func (r *run) block(ctx context.Context) error { return r.measureRows(ctx, groupBlock) }

func (r *run) net(ctx context.Context) error { return r.measureRows(ctx, groupNet) }
