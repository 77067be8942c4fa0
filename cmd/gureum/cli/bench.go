package cli

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/sys/unix"
	"golang.org/x/term"

	"github.com/gureum/gureum/bench/host"
	"github.com/gureum/gureum/bench/peer"
	"github.com/gureum/gureum/bench/result"
	"github.com/gureum/gureum/bench/suite"
	"github.com/gureum/gureum/fleet/state"
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

Ctrl-C ends it with the results so far.

Exit status: 2 for wrong input, 69 if this host cannot run machines, 125 if nothing
could be measured.`

type benchOptions struct {
	suite.Options
	json         string
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
	f.StringVar(&o.json, "json", "", "write the results with all samples to this `FILE`")
	f.BoolVar(&o.instructions, "instructions", false, "this host counts instructions for nanoseconds (the lab's deterministic mode): say so")
	cmd.AddCommand(newBenchEnvCommand(s))
	return cmd
}

func newBenchEnvCommand(s Streams) *cobra.Command {
	return &cobra.Command{
		Use: "env", Short: "Show what of this host decides on figures", Args: cobra.NoArgs,
		Long:    "Env shows the host's CPU, kernel, mitigations, governor and kind of KVM, as they are\nrecorded with each result.",
		Example: "  gureum bench env",
		RunE: func(*cobra.Command, []string) error {
			encoder := json.NewEncoder(s.Out)
			encoder.SetIndent("", "  ")
			return encoder.Encode(host.Root("/").Environment())
		},
	}
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
	if o.json != "" {
		// Now, as it takes a while until the file is written.
		if dir := filepath.Dir(o.json); unix.Access(dir, unix.W_OK) != nil {
			return fmt.Errorf("json: %s is no folder that can be written to", dir)
		}
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
	o.Progress = progressOn(s)
	ctx, stop := signal.NotifyContext(cmd.Context(), unix.SIGINT, unix.SIGTERM, unix.SIGHUP)
	defer stop()
	report, err := suite.Run(ctx, o.Options)
	if err != nil {
		return machineErrorf("%w", err)
	}
	err = suite.Print(s.Out, report)
	if o.json != "" {
		err = errors.Join(err, state.Write(o.json, report))
	}
	if err == nil && len(report.Series) == 0 {
		err = errors.New("nothing could be measured")
	}
	if err != nil {
		return machineErrorf("%w", err)
	}
	return nil
}

// progressOn shows each step in one line of the terminal.
func progressOn(s Streams) func(step string, done, all int) {
	f, is := s.Err.(*os.File)
	if !is || !term.IsTerminal(int(f.Fd())) {
		return func(string, int, int) {}
	}
	began := time.Now()
	return func(step string, done, all int) {
		passed := time.Since(began)
		left := (passed / time.Duration(max(done-1, 1)) * time.Duration(all-done+1)).Round(time.Second)
		fmt.Fprintf(f, "\r\x1b[K%3d%%, about %s left: %s", 100*(done-1)/all, left, step)
		if done == all {
			fmt.Fprint(f, "\r\x1b[K")
		}
	}
}

// newBenchLoadCommand makes loads, on the host or in a guest of a measurement.
func newBenchLoadCommand(s Streams) *cobra.Command {
	return &cobra.Command{
		Use: suite.GuestCommand, Hidden: true, DisableFlagParsing: true,
		RunE: func(cmd *cobra.Command, args []string) error { return suite.GuestMain(cmd.Context(), args, s.Out) },
	}
}
