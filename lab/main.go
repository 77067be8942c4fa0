package lab

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/gureum/gureum/guest/agent"
)

// Exit statuses of the lab's own, as timeout(1) has them.
const (
	statusTests   = 1
	statusUsage   = 2
	statusTimeout = 124
	statusFailed  = 125
)

const usage = `usage:
  lab [flags] -- COMMAND [ARGUMENT...]   run a command on a host with KVM
  lab test [flags] [PACKAGE...]          run the Go tests that need KVM, all in one such host
  lab kernel PATTERN                     fetch a Debian kernel, print its path

The host is emulated (QEMU TCG) on this machine's own files: the command sees
them all, and what it writes is gone afterwards, except below a --share.
Its exit status is lab's: 128+n when signal n ended it; 124 when the --timeout
was up, 125 when the lab itself failed.

flags:
`

// Main is the command line of cmd/lab; it returns the exit status. In L1 it is
// the agent, and does not return.
func Main(args []string, stdin io.Reader, stdout, stderr io.Writer) int {
	if InL1() {
		Serve()
	}
	if len(args) > 0 {
		switch args[0] {
		case "kernel":
			return mainKernel(args[1:], stdout, stderr)
		case "test":
			return mainTest(args[1:], stdout, stderr)
		}
	}
	return mainRun(args, stdin, stdout, stderr)
}

// hostFlags are the flags that say what L1 is like.
func hostFlags(fs *flag.FlagSet, o *Options, console io.Writer) (finish func() error) {
	fs.IntVar(&o.CPUs, "cpus", defaultCPUs, "`number` of CPUs of the host, 1 to 64")
	memory := fs.String("memory", "3G", "memory of the host, as `size`")
	fs.BoolVar(&o.Deterministic, "deterministic", false, "count instructions for time, on one CPU: 1 ns each")
	fs.StringVar(&o.Kernel, "kernel", defaultKernel, "the host's kernel: `file` or pattern of Debian package names")
	fs.Func("share", "`folder` that the command may write (may be repeated)", func(dir string) error {
		o.Shares = append(o.Shares, dir)
		return nil
	})
	verbose := fs.Bool("verbose", false, "show the host's console on stderr")
	return func() error {
		var err error
		if o.Memory, err = parseSize(*memory); err != nil {
			return fmt.Errorf("--memory: %w", err)
		}
		if *verbose {
			o.Console = console
		}
		if o.CPUs == 0 || o.Memory == 0 { // which would ask for the default
			return errors.New("--cpus and --memory cannot be 0")
		}
		return o.check()
	}
}

// parse reads a command line. A status other than 0 is final, as is help.
func parse(fs *flag.FlagSet, args []string, stdout, stderr io.Writer, finish func() error) (status int, done bool) {
	fs.SetOutput(io.Discard)
	err := fs.Parse(args)
	if errors.Is(err, flag.ErrHelp) {
		fmt.Fprint(stdout, usage)
		fs.SetOutput(stdout)
		fs.PrintDefaults()
		return 0, true
	}
	if err == nil {
		err = finish()
	}
	if err != nil {
		fmt.Fprintf(stderr, "lab: %v: see 'lab --help'\n", err)
		return statusUsage, true
	}
	return 0, false
}

func mainRun(args []string, stdin io.Reader, stdout, stderr io.Writer) int {
	o := Options{Stdin: stdin, Stdout: stdout, Stderr: stderr, Log: stderr}
	fs := flag.NewFlagSet("lab", flag.ContinueOnError)
	finish := hostFlags(fs, &o, stderr)
	fs.DurationVar(&o.Timeout, "timeout", 0, "end the command and its host after this `duration`")
	status, done := parse(fs, args, stdout, stderr, func() error {
		if o.Args = fs.Args(); len(o.Args) == 0 {
			return errors.New("no command given")
		}
		return finish()
	})
	if done {
		return status
	}
	signals := make(chan os.Signal, 16)
	signal.Notify(signals, unix.SIGINT, unix.SIGTERM, unix.SIGHUP, unix.SIGQUIT, unix.SIGWINCH)
	defer signal.Stop(signals)
	o.Signals, o.Terminal = signals, FindTerminal(stdin, stdout)
	status, err := Run(context.Background(), o)
	return report(stderr, status, err)
}

// report prints an error and chooses the exit status for it.
func report(stderr io.Writer, status int, err error) int {
	var sig *SignalError
	var exec *agent.ExecError
	switch {
	case err == nil:
		return status
	case errors.Is(err, errTests):
		return statusTests
	case errors.As(err, &sig):
		return 128 + int(sig.Signal)
	case errors.As(err, &exec):
		fmt.Fprintln(stderr, "lab:", exec)
		return exec.Code
	case errors.Is(err, context.DeadlineExceeded):
		fmt.Fprintln(stderr, "lab: the time is up:", err)
		return statusTimeout
	}
	fmt.Fprintln(stderr, "lab:", err)
	return statusFailed
}

func mainKernel(args []string, stdout, stderr io.Writer) int {
	fs := flag.NewFlagSet("lab kernel", flag.ContinueOnError)
	status, done := parse(fs, args, stdout, stderr, func() error {
		if fs.NArg() != 1 {
			return errors.New("lab kernel takes one pattern of Debian package names")
		}
		return nil
	})
	if done {
		return status
	}
	ctx, stop := interruptible()
	defer stop()
	k, err := FetchKernel(ctx, fs.Arg(0), stderr)
	if err != nil {
		return report(stderr, 0, cause(ctx, err))
	}
	fmt.Fprintln(stdout, k.Vmlinuz())
	return 0
}

func mainTest(args []string, stdout, stderr io.Writer) int {
	s := Suite{Stdout: stdout, Stderr: stderr, Direct: HostHasKVM()}
	s.Host.Log = stderr
	fs := flag.NewFlagSet("lab test", flag.ContinueOnError)
	finish := hostFlags(fs, &s.Host, stderr)
	fs.StringVar(&s.Run, "run", "^TestKVM", "`pattern` of the tests to run")
	fs.BoolVar(&s.Verbose, "v", false, "print each test as it runs")
	fs.BoolVar(&s.Direct, "direct", s.Direct, "run on this machine, not in the lab (default where it has KVM)")
	race := fs.Bool("race", true, "look for data races")
	except := fs.String("race-except", "", "do not look for data races in `packages` whose paths end so, separated by commas")
	fs.IntVar(&s.Parallel, "p", min(runtime.NumCPU(), 4), "test this `number` of packages at a time, each in a host of its own")
	fs.IntVar(&s.Count, "count", 1, "run each test this `number` of times")
	fs.DurationVar(&s.Timeout, "timeout", 0, "`duration` that one package may take (default 10m)")
	fs.StringVar(&s.CoverProfile, "coverprofile", "", "write the coverage of all packages to this `file`")
	fs.StringVar(&s.CoverPackage, "coverpkg", "", "`pattern` of the packages to cover (default each its own)")
	status, done := parse(fs, args, stdout, stderr, finish)
	if done {
		return status
	}
	s.NoRace, s.RaceExcept, s.Packages = !*race, strings.Split(*except, ","), fs.Args()
	ctx, stop := interruptible()
	defer stop()
	return report(stderr, 0, cause(ctx, s.Test(ctx)))
}

// interruptible is a context that a signal ends, with a *SignalError.
func interruptible() (context.Context, func()) {
	ctx, cancel := context.WithCancelCause(context.Background())
	signals := make(chan os.Signal, 1)
	signal.Notify(signals, unix.SIGINT, unix.SIGTERM, unix.SIGHUP)
	go func() {
		select {
		case s := <-signals:
			if sig, ok := s.(syscall.Signal); ok {
				cancel(&SignalError{sig})
			}
		case <-ctx.Done():
		}
	}()
	return ctx, func() {
		signal.Stop(signals)
		cancel(nil)
	}
}

// absolute makes a path absolute and checks that it is a folder.
func absolute(dir string) (string, error) {
	path, err := filepath.Abs(dir)
	if err != nil {
		return "", err
	}
	st, err := os.Stat(path)
	if err != nil {
		return "", err
	}
	if !st.IsDir() {
		return "", fmt.Errorf("%s: not a folder", path)
	}
	return path, nil
}
