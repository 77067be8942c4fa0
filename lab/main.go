package lab

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/gureum/gureum/guest/agent"
)

// Exit statuses of the lab's own, as timeout(1) has them.
const (
	statusUsage   = 2
	statusTimeout = 124
	statusFailed  = 125
)

// Main is the command line of cmd/lab; it returns the exit status.
func Main(args []string, stdin io.Reader, stdout, stderr io.Writer) int {
	if InL1() {
		Serve()
	}
	if len(args) > 0 && args[0] == "kernel" {
		return mainKernel(args[1:], stdout, stderr)
	}
	return mainRun(args, stdin, stdout, stderr)
}

func mainRun(args []string, stdin io.Reader, stdout, stderr io.Writer) int {
	o := Options{Stdin: stdin, Stdout: stdout, Stderr: stderr, Log: stderr}
	fs := flag.NewFlagSet("lab", flag.ContinueOnError)
	fs.SetOutput(stderr)
	fs.IntVar(&o.CPUs, "cpus", 2, "CPUs of the host")
	memory := fs.String("memory", "3G", "memory of the host")
	fs.BoolVar(&o.Deterministic, "deterministic", false, "count instructions for time")
	fs.DurationVar(&o.Timeout, "timeout", 0, "end the command after this long")
	fs.StringVar(&o.Kernel, "kernel", "", "kernel file, or pattern of Debian package names")
	fs.Func("share", "folder that the command may write (repeatable)", func(s string) error {
		o.Shares = append(o.Shares, s)
		return nil
	})
	verbose := fs.Bool("verbose", false, "show the host's console")
	if err := fs.Parse(args); err != nil {
		if errors.Is(err, flag.ErrHelp) {
			return 0
		}
		return statusUsage
	}
	o.Args = fs.Args()
	if len(o.Args) == 0 {
		fmt.Fprintln(stderr, "lab: no command given")
		return statusUsage
	}
	var err error
	if o.Memory, err = parseSize(*memory); err != nil {
		fmt.Fprintln(stderr, "lab: --memory:", err)
		return statusUsage
	}
	if *verbose {
		o.Console = os.Stderr
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
	if len(args) != 1 {
		fmt.Fprintln(stderr, "lab: usage: lab kernel PATTERN")
		return statusUsage
	}
	k, err := FetchKernel(context.Background(), args[0], stderr)
	if err != nil {
		fmt.Fprintln(stderr, "lab:", err)
		return statusFailed
	}
	fmt.Fprintln(stdout, k.Vmlinuz())
	return 0
}

// parseSize reads a size in bytes with an optional K, M, G or T.
func parseSize(s string) (uint64, error) {
	shift := 0
	num := strings.TrimSuffix(strings.ToUpper(s), "B")
	if i := strings.IndexByte("KMGT", lastByte(num)); i >= 0 {
		shift, num = 10*(i+1), num[:len(num)-1]
	}
	n, err := strconv.ParseUint(num, 10, 64)
	if err != nil || n > 1<<62>>shift {
		return 0, fmt.Errorf("%q is not a size: write 512M or 3G", s)
	}
	return n << shift, nil
}

func lastByte(s string) byte {
	if s == "" {
		return 0
	}
	return s[len(s)-1]
}
