package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/spf13/cobra"

	"github.com/gureum/gureum/guest/memory"
	"github.com/gureum/gureum/vm"
)

// runOptions are the flags of gureum run.
type runOptions struct {
	config    vm.Config
	memory    sizeValue
	hugePages string
	console   string
	diskCache vm.DiskCache
	timeout   time.Duration
	env       []string
	dir       string
	json      bool
	noReboot  bool
	command   []string
	mode      sessionMode
	image     imageOptions
}

const runExample = `  gureum run                                a shell in the embedded guest
  gureum run -- uname -a                    one command, its output and its exit status
  gureum run --cpus 4 --memory 2G -- nproc
  echo 'ip addr' | gureum run -- sh         a script from standard input
  gureum run --kernel vmlinuz -- dmesg      a distribution's kernel, as it is shipped
  gureum run --kernel vmlinuz --initrd initrd.img --append "console=ttyS0 ro"
                                            a kernel and RAM disk of your own, on its console
  gureum run --memory 1G --disk debian:12 -- systemctl list-units
                                            a command in an image's own system, by its agent
  gureum run --memory 1G --disk debian:12 --ssh-key ~/.ssh/id_ed25519.pub --net user
                                            an image (see gureum image), on a scratch layer
  gureum run --json -- cat /proc/cpuinfo    output, status and timings as one JSON object`

const runLong = `Run starts a virtual machine and waits for its end.

With a command, the command runs in the guest: its output comes out here, apart
from the kernel's messages, and its exit status is gureum's. Without one, a shell
runs on this terminal; with --initrd alone, the terminal is the guest's
console. Ctrl-] q stops the machine.

Exit status: the command's own; 2 for wrong input; 69 if this host cannot run
machines; 124 if --timeout ran out; 125 if the machine failed.`

func newRunCommand(s Streams) *cobra.Command {
	o := runOptions{memory: vm.DefaultMemory}
	cmd := &cobra.Command{
		Use:     "run [flags] [-- COMMAND [ARG...]]",
		Short:   "Run a virtual machine",
		Long:    runLong,
		Example: runExample,
		Args: func(cmd *cobra.Command, args []string) error {
			if n := cmd.ArgsLenAtDash(); len(args) > 0 && n != 0 {
				return fmt.Errorf("%q: write the guest's command behind --, as in: gureum run -- %s", args[0], args[0])
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			o.command = args
			return o.run(cmd.Context(), s)
		},
	}
	f := cmd.Flags()
	f.SetInterspersed(false)
	f.StringVar(&o.config.Kernel, "kernel", "", "kernel `FILE`, an ELF vmlinux or a bzImage (default: the embedded kernel)")
	f.StringVar(&o.config.Initrd, "initrd", "", "initial RAM disk `FILE` (default: the embedded user land)")
	f.StringVar(&o.config.Append, "append", "", "`ARGS` to add to the kernel command line")
	f.IntVar(&o.config.CPUs, "cpus", 1, "number of virtual CPUs")
	f.Var(&o.memory, "memory", "guest memory")
	f.StringVar(&o.config.Name, "name", "", "name of the machine and host name of the guest")
	f.StringVar(&o.hugePages, "hugepages", "", "back guest memory with huge pages: 2M, 1G or thp")
	f.StringVar(&o.console, "console", "auto", "where the guest's console goes: auto, serial or virtio (this terminal, by that device), stderr, off or file:PATH")
	f.DurationVar(&o.timeout, "timeout", 0, "stop the machine after this `DURATION`, such as 30s")
	f.StringArrayVarP(&o.env, "env", "e", nil, "set `NAME=VALUE` in the command's environment")
	f.StringVarP(&o.dir, "workdir", "w", "", "run the command in this `DIR` of the guest")
	f.BoolVar(&o.json, "json", false, "print output, status and timings as one JSON object")
	f.BoolVar(&o.noReboot, "no-reboot", false, "end when the guest reboots")
	o.addTransportFlags(f)
	o.addRNGFlags(f)
	o.addBalloonFlags(f)
	o.addPMEMFlags(f)
	o.addShareFlags(f)
	o.addNICFlags(f)
	o.addVsockFlags(f)
	o.addDiskFlags(f)
	o.addImageFlags(f)
	f.StringVar(&o.config.KVM, "kvm-device", "", "the KVM `DEVICE` (default /dev/kvm)")
	return cmd
}

// check turns the flags into a Config. Its errors are the user's.
func (o *runOptions) check() error {
	o.config.Memory = uint64(o.memory)
	if o.config.Memory == 0 {
		return errors.New("memory: 0 bytes is too little: give at least " + vm.FormatSize(vm.MinMemory))
	}
	if o.config.CPUs == 0 {
		return fmt.Errorf("cpus: 0: give a number from 1 to %d", vm.MaxCPUs)
	}
	switch o.hugePages {
	case "":
	case "thp":
		o.config.THP = true
	case "2M", "2m":
		o.config.HugePages = memory.Page2M
	case "1G", "1g":
		o.config.HugePages = memory.Page1G
	default:
		return fmt.Errorf("hugepages %q: give 2M, 1G or thp", o.hugePages)
	}
	if o.timeout < 0 {
		return fmt.Errorf("timeout %s: give a positive duration", o.timeout)
	}
	if o.json && len(o.command) == 0 {
		return errors.New("--json needs a command: gureum run --json -- COMMAND")
	}
	if err := o.applyDiskCache(); err != nil {
		return err
	}
	if err := o.prepareImages(); err != nil {
		return err
	}
	return o.checkConsole()
}

func (o *runOptions) run(ctx context.Context, s Streams) error {
	defer func() { _ = o.closeImages() }() // what is left, the next run removes
	if err := o.check(); err != nil {
		return err
	}
	if o.config.Terminal == vm.TerminalAuto && o.config.Kernel != "" && !isTerminal(s) {
		// A script is not to be cut in two where the guest changes consoles.
		o.config.Terminal = vm.TerminalSerial
	}
	console, err := o.openConsole(s)
	if err != nil {
		return err
	}
	defer console.Close()
	if o.timeout > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeoutCause(ctx, o.timeout, errTimeout)
		defer cancel()
	}
	for {
		outcome, err := o.session(ctx, s, console)
		if err != nil || outcome.Reason != vm.Rebooted || o.noReboot {
			return err
		}
	}
}

// errTimeout is the cause of a context that --timeout ended.
var errTimeout = errors.New("the time of --timeout is over")

// session runs one machine from its start to its end.
func (o *runOptions) session(ctx context.Context, s Streams, console io.Writer) (vm.Outcome, error) {
	config := o.config
	config.Console = console
	r := &session{options: o, streams: s, started: time.Now()}
	m, err := vm.New(config)
	if err != nil {
		return vm.Outcome{}, err
	}
	r.machine = m
	err = r.run(ctx)
	return r.outcome, errors.Join(err, m.Close())
}
