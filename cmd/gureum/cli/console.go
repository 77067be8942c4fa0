package cli

import (
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/gureum/gureum/vm"
)

// sessionMode says what a session does beside waiting for the machine.
type sessionMode int

const (
	// modeAgent runs a command or a shell through the guest's agent.
	modeAgent sessionMode = iota
	// modeSerial connects the terminal to the guest's console.
	modeSerial
	// modeHeadless only waits.
	modeHeadless
)

const consoleFile = "file:"

// checkConsole settles the mode and the parts of the Config that go with it.
func (o *runOptions) checkConsole() error {
	command := len(o.spec.Command) > 0
	system := o.plan.Image
	if command && system != nil && !system.Agent {
		return fmt.Errorf("a command in image %s: it holds no guest agent: build it where gureum-agent is beside gureum, or leave out the command for the login on its console", system.Name)
	}
	bare := (o.config.Initrd != "" || system != nil) && !command
	switch {
	case o.console == "serial", o.console == "virtio":
		if command {
			return fmt.Errorf("--console %s gives the console to the terminal: leave out the command or the flag", o.console)
		}
		o.config.Terminal = vm.Terminal(o.console)
		o.mode = modeSerial
	case o.console == "auto" && bare:
		o.config.Terminal = vm.TerminalAuto
		o.mode = modeSerial
	case o.console == "auto", o.console == "stderr", o.console == "off", strings.HasPrefix(o.console, consoleFile):
		o.mode = modeAgent
		if bare {
			o.mode = modeHeadless
		}
	default:
		return fmt.Errorf("console %q: give auto, serial, virtio, stderr, off or file:PATH", o.console)
	}
	o.config.Agent = o.mode == modeAgent && system == nil
	o.config.OwnAgent = o.mode == modeAgent && system != nil
	o.config.NoUserLand = bare || system != nil
	o.config.Verbose = o.console != "auto" && o.console != "off" || o.mode == modeSerial
	return nil
}

// openConsole opens what the console's output goes to.
func (o *runOptions) openConsole(s Streams) (io.WriteCloser, error) {
	switch {
	case o.mode == modeSerial:
		return nopCloser{s.Out}, nil
	case o.console == "stderr":
		return nopCloser{s.Err}, nil
	case strings.HasPrefix(o.console, consoleFile):
		return os.OpenFile(strings.TrimPrefix(o.console, consoleFile), os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o644)
	}
	return nopCloser{io.Discard}, nil
}

// nopCloser is a writer that somebody else closes.
type nopCloser struct{ io.Writer }

// Close does nothing.
func (nopCloser) Close() error { return nil }
