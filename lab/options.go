package lab

import (
	"io"
	"os"
	"time"
)

// Options say how one command runs in L1. The zero value of a field asks for
// the default.
type Options struct {
	// CPUs of L1; 2 by default, always 1 in deterministic mode.
	CPUs int
	// Memory of L1 in bytes; 3 GiB by default.
	Memory uint64
	// Deterministic counts instructions for time: one nanosecond each.
	Deterministic bool
	// Timeout ends L1 and the command after this long; 0 is never.
	Timeout time.Duration
	// BootTimeout ends an L1 whose agent has not answered; 2 minutes by default.
	BootTimeout time.Duration
	// Shares are folders that the command may write, at the same path.
	Shares []string
	// Kernel is a file, or a pattern of Debian package names.
	Kernel string
	// Agent is the program that serves in L1: this one by default.
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

// withDefaults fills what was left out.
func (o Options) withDefaults() (Options, error) {
	if o.CPUs == 0 {
		o.CPUs = 2
	}
	if o.Memory == 0 {
		o.Memory = 3 << 30
	}
	if o.BootTimeout == 0 {
		o.BootTimeout = 2 * time.Minute
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
	return o, nil
}
