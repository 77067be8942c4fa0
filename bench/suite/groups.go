package suite

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/gureum/gureum/bench/boot"
	"github.com/gureum/gureum/bench/footprint"
	"github.com/gureum/gureum/bench/host"
	"github.com/gureum/gureum/bench/peer"
	"github.com/gureum/gureum/bench/result"
)

// memoryMiB is what guests get where nothing else is said.
const memoryMiB = 256

func (r *run) vmms() []peer.Peer { return append([]peer.Peer{r.gureum}, r.peers...) }

// guest is the one that all measurements begin with.
func (r *run) guest() peer.Guest {
	return peer.Guest{Kernel: r.stage.kernel, Initrd: r.stage.initrd, MemoryMiB: memoryMiB, CPUs: 1, Transport: peer.MMIO, Queues: 1}
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
	add("2 CPUs", func(c *boot.Case) { c.Guest.CPUs = 2 })
	add("128 MiB", func(c *boot.Case) { c.Guest.MemoryMiB = 128 })
	add("1 GiB", func(c *boot.Case) { c.Guest.MemoryMiB = 1024 })
	add("PCI", func(c *boot.Case) { c.Guest.Transport = peer.PCI })
	add("a disk and a network", func(c *boot.Case) { c.Guest.Disk, c.Guest.Tap = host.DiskDevice, tapName })
	add("cold page cache", func(c *boot.Case) { c.Cold = true })
	if r.BzImage != "" {
		add("bzImage, PCI", func(c *boot.Case) {
			c.Guest.Kernel, c.Guest.BzImage, c.Guest.Transport = r.BzImage, true, peer.PCI
		})
	}
	return cases
}

func (r *run) boot(ctx context.Context) error {
	cases := r.bootCases()
	remove, err := r.prepareDevices()
	if err != nil {
		r.note(boot.Group, result.KindMissing, "guests with a disk and a network are not measured: %v", err)
		remove = func() error { return nil }
		cases = slices.DeleteFunc(cases, func(c boot.Case) bool { return c.Guest.Tap != "" })
	}
	series, notes, err := boot.Measure(ctx, boot.Config{
		Peers: r.vmms(), Cases: cases, Runs: r.Runs, Dir: r.stage.dir, Trace: true, Progress: r.step,
	})
	r.take(series, notes)
	return errors.Join(err, remove())
}

func (r *run) footprint(ctx context.Context) error {
	g := r.guest()
	g.Cmdline = footprint.Cmdline
	series, notes, err := footprint.Measure(ctx, footprint.Config{Peers: r.vmms(), Guest: g, Runs: r.Runs, Dir: r.stage.dir, Progress: r.step})
	r.take(series, notes)
	return err
}

func (r *run) take(series []result.Series, notes []result.Note) {
	r.report.Series = append(r.report.Series, series...)
	r.report.Notes = append(r.report.Notes, notes...)
}

// prepareDevices makes the disk and the tap of a group's guests.
func (r *run) prepareDevices() (remove func() error, err error) {
	if err := host.PrepareDisk(); err != nil {
		return nil, err
	}
	return prepareTap()
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
	return r.measureCPU(ctx, r.subjects(func(*peer.Guest) {}))
}

func (r *run) block(ctx context.Context) error {
	if err := host.PrepareDisk(); err != nil {
		return err
	}
	return r.measureRows(ctx, groupBlock, r.subjects(func(g *peer.Guest) { g.Disk = host.DiskDevice }))
}

func (r *run) net(ctx context.Context) error {
	remove, err := prepareTap()
	if err != nil {
		return err
	}
	stop, err := serve()
	if err != nil {
		return errors.Join(err, remove())
	}
	err = r.measureRows(ctx, groupNet, r.subjects(func(g *peer.Guest) { g.Tap = tapName }))
	return errors.Join(err, stop(), remove())
}

func prepareTap() (remove func() error, err error) {
	return host.PrepareTap(tapName, hostAddr+"/24", 1)
}
