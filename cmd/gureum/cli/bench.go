package cli

import (
	"errors"
	"fmt"
	"os"
	"os/signal"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"golang.org/x/sys/unix"

	"github.com/gureum/gureum/bench/peer"
	benchreport "github.com/gureum/gureum/bench/report"
	"github.com/gureum/gureum/bench/result"
	"github.com/gureum/gureum/bench/suite"
	"github.com/gureum/gureum/vm"
	"github.com/gureum/gureum/vm/hostcheck"
)

const kvmDevice = "/dev/kvm"

const benchHelp = `Bench measures what virtualization costs on this host: gureum beside other virtual
machine monitors with the same guest, and beside the host itself. All take turns.

%s
It needs root for the groups with a network and for the time of the first guest
instruction, and the device names of the RAM disk and the tap that it makes: /dev/ram0,
which it writes to, and gbench0.

The tables show the median of the runs, ± half the distance of their quartiles, and how
many times gureum's it is, in the cpu group the host's, with the interval that this is
in (95%%). A figure that is too noisy to conclude from is marked. --json keeps all
samples, for 'gureum bench compare'; --html writes a page with plots, --csv a row for
each sample.

Ctrl-C ends it with the results so far, which the files get too.

Exit status: 2 for wrong input, 69 if this host cannot run machines, 125 if nothing
could be measured.`

type benchOptions struct {
	suite.Options
	benchFiles
	instructions bool
}

func newBenchCommand(s Streams) *cobra.Command {
	var o benchOptions
	names, what := suite.Groups()
	var groups strings.Builder
	for i, name := range names {
		fmt.Fprintf(&groups, "  %-10s %s\n", name, what[i])
	}
	cmd := &cobra.Command{
		Use:   "bench [GROUP...]",
		Short: "Measure what virtualization costs",
		Long:  fmt.Sprintf(benchHelp, groups.String()),
		Example: `  gureum bench boot
  gureum bench --peer qemu --peer host --json result.json
  gureum bench boot footprint --peer qemu=/opt/qemu/bin/qemu-system-x86_64 --runs 20
  gureum bench boot --bzimage /boot/vmlinuz --peer kvmtool=/usr/local/bin/lkvm
  gureum bench --peer qemu --runs 9 --html report.html --csv samples.csv
  gureum bench compare old.json new.json    what changed between two results
  gureum bench show old.json --html p.html  a result once more, in other forms
  gureum bench density --machines 500 --peer qemu
  gureum bench env                          what of this host decides on figures`,
		ValidArgs: names,
		RunE: func(cmd *cobra.Command, args []string) error {
			o.Groups = args
			if len(args) == 0 {
				o.Groups = names
			}
			if err := o.check(names); err != nil {
				return err
			}
			return o.run(cmd, s)
		},
	}
	f := cmd.Flags()
	f.IntVar(&o.Runs, "runs", 5, "measure each figure this `NUMBER` of times")
	f.IntVar(&o.Scale, "scale", 100, "amount of the work of loads in `PERCENT`")
	f.StringArrayVar(&o.Peers, "peer", nil, "measure this `PEER` too: "+strings.Join(peer.Names(), ", ")+", each NAME or NAME=PATH, or host for the host itself; repeatable")
	f.StringVar(&o.BzImage, "bzimage", "", "boot this compressed kernel `FILE` as well (default: a Debian kernel for virtual machines in /boot)")
	f.IntVar(&o.Machines, "machines", 16, "run this `NUMBER` of machines at a time in the density group, or fewer if memory is out before")
	o.addFlags(f)
	f.BoolVar(&o.instructions, "instructions", false, "this host counts instructions for nanoseconds (the lab's deterministic mode): say so")
	cmd.AddCommand(newBenchEnvCommand(s), newBenchCompareCommand(s), newBenchShowCommand(s))
	return cmd
}

func (o *benchOptions) check(names []string) error {
	for _, g := range o.Groups {
		if !slices.Contains(names, g) {
			return fmt.Errorf("group %q: give some of %s", g, strings.Join(names, ", "))
		}
	}
	for _, p := range o.Peers {
		if p != suite.HostPeer && !peer.Named(p) {
			return fmt.Errorf("peer %q: give %s or one of %s, as NAME or NAME=PATH", p, suite.HostPeer, strings.Join(peer.Names(), ", "))
		}
	}
	switch {
	case o.Runs < 1 || o.Runs > 1000:
		return fmt.Errorf("runs %d: give 1 to 1000", o.Runs)
	case o.Machines < 1 || o.Machines > 10000:
		return fmt.Errorf("machines %d: give 1 to 10000", o.Machines)
	case o.Scale < 1 || o.Scale > 10000:
		return fmt.Errorf("scale %d: give 1 to 10000 percent", o.Scale)
	}
	if err := o.benchFiles.check(); err != nil {
		return err
	}
	if o.BzImage != "" {
		if _, err := os.Stat(o.BzImage); err != nil {
			return fmt.Errorf("bzimage: %w", err)
		}
	}
	return nil
}

func (o *benchOptions) run(cmd *cobra.Command, s Streams) error {
	if findings := (hostcheck.Host{Root: "/", Device: kvmDevice}).Run(); hostcheck.Worst(findings) == hostcheck.Failed {
		return &vm.HostError{Err: errors.New("this host cannot run machines: see gureum doctor")}
	}
	o.Gureum, o.Version, o.Clock = "/proc/self/exe", Version+revision(), result.ClockWall
	if o.instructions {
		o.Clock = result.ClockInstructions
	}
	bar := newProgress(s)
	o.Progress = bar.step
	ctx, stop := signal.NotifyContext(cmd.Context(), unix.SIGINT, unix.SIGTERM, unix.SIGHUP)
	defer stop()
	r, err := suite.Run(ctx, o.Options)
	bar.end()
	if err != nil {
		return machineErrorf("%w", err)
	}
	err = errors.Join(benchreport.Table(s.Out, r, styleOf(s.Out)), o.write(r))
	if err == nil && len(r.Series) == 0 {
		err = errors.New("nothing could be measured")
	}
	if err != nil {
		return machineErrorf("%w", err)
	}
	return nil
}

// newBenchLoadCommand makes loads, on the host or in a guest of a measurement.
func newBenchLoadCommand(s Streams) *cobra.Command {
	return &cobra.Command{
		Use: suite.GuestCommand, Hidden: true, DisableFlagParsing: true,
		RunE: func(cmd *cobra.Command, args []string) error { return suite.GuestMain(cmd.Context(), args, s.Out) },
	}
}
