package lab

import (
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"
	"time"
)

// What L1 is like when nothing is asked for. One CPU, since QEMU 7.2 emulates
// nested guests on several at a time with faults: see docs/lab.md.
const (
	defaultCPUs        = 1
	defaultMemory      = 3 << 30         // bytes
	defaultBootTimeout = 5 * time.Minute // on a busy machine
)

// Bounds of L1: less memory does not start, more CPUs only slow it down.
const (
	minMemory = 512 << 20 // bytes
	maxMemory = 1 << 40   // bytes
	maxCPUs   = 64
)

// Options say how one command runs in L1. The zero value of a field asks for
// the default.
type Options struct {
	// CPUs of L1; 1 by default, always 1 in deterministic mode.
	CPUs int
	// Memory of L1 in bytes; 3 GiB by default.
	Memory uint64
	// Deterministic counts instructions for time: one nanosecond each.
	Deterministic bool
	// Timeout ends L1 and the command after this long; 0 is never.
	Timeout time.Duration
	// BootTimeout ends an L1 whose agent has not answered; 5 minutes by default.
	BootTimeout time.Duration
	// Shares are folders that the command may write, at the same path.
	Shares []string
	// Kernel is a file, or a pattern of Debian package names.
	Kernel string
	// Agent is the program that serves in L1 (its main calls Serve when InL1):
	// this one by default.
	Agent string
	// Console receives L1's console as well, when not nil.
	Console io.Writer

	// Args is the command; its first word is looked up in PATH.
	Args []string
	// Env of the command; the caller's by default.
	Env []string
	// Dir is the command's working directory; the caller's by default.
	Dir string

	// Terminal gives the command a terminal of its own, of this one's size.
	Terminal *Terminal
	// Signals are passed on to the command; SIGWINCH resizes its terminal.
	Signals <-chan os.Signal

	Stdin          io.Reader
	Stdout, Stderr io.Writer
	// Log receives what the lab itself has to say (downloads).
	Log io.Writer
}

// check finds what cannot work before anything is started.
func (o Options) check() error {
	switch {
	case o.CPUs < 0 || o.CPUs > maxCPUs:
		return fmt.Errorf("--cpus %d: a host of the lab has 1 to %d", o.CPUs, maxCPUs)
	case o.Memory != 0 && (o.Memory < minMemory || o.Memory > maxMemory):
		return fmt.Errorf("--memory: a host of the lab has 512M to 1T")
	case o.Timeout < 0:
		return fmt.Errorf("--timeout %v: negative", o.Timeout)
	}
	for _, dir := range o.Shares {
		if _, err := absolute(dir); err != nil {
			return fmt.Errorf("--share: %w", err)
		}
	}
	return nil
}

// withDefaults fills what was left out.
func (o Options) withDefaults() (Options, error) {
	if o.CPUs == 0 {
		o.CPUs = defaultCPUs
	}
	if o.Memory == 0 {
		o.Memory = defaultMemory
	}
	if o.BootTimeout == 0 {
		o.BootTimeout = defaultBootTimeout
	}
	if o.Kernel == "" {
		o.Kernel = defaultKernel
	}
	if o.Env == nil {
		o.Env = os.Environ()
	}
	if o.Log == nil {
		o.Log = io.Discard
	}
	var err error
	if o.Dir == "" {
		if o.Dir, err = os.Getwd(); err != nil {
			return o, err
		}
	}
	if o.Agent == "" {
		if o.Agent, err = os.Executable(); err != nil {
			return o, err
		}
	}
	shares := make([]string, len(o.Shares))
	for i, dir := range o.Shares {
		if shares[i], err = absolute(dir); err != nil {
			return o, fmt.Errorf("share: %w", err)
		}
	}
	o.Shares = shares
	return o, o.check()
}

// parseSize reads a size in bytes: a number with an optional K, M, G or T.
func parseSize(s string) (uint64, error) {
	num, shift := s, 0
	if s != "" {
		if i := strings.IndexByte("KMGT", s[len(s)-1]&^0x20); i >= 0 {
			num, shift = s[:len(s)-1], 10*(i+1)
		}
	}
	n, err := strconv.ParseUint(num, 10, 64)
	if err != nil || n > 1<<62>>shift {
		return 0, fmt.Errorf("%q is not a size: write 512M or 3G", s)
	}
	return n << shift, nil
}
