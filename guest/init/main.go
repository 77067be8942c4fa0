// Command init is the first process of the default guest: it readies the
// system, runs commands for the host through guest/agent, buries orphans, and
// ends the guest in order. Without a host it gives a shell on the console.
//
// It is built static and small (see guest/userland/mk) and started as /init,
// or as /.gureum/init in front of somebody else's initrd, whose programs it
// then runs. Boot time counts: the agent says hello before anything is done
// that a command needs, and the rest happens while the host makes up its mind.
//
// The kernel command line sets it up; config.go lists what it understands.
package main

import (
	"errors"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"

	"github.com/gureum/gureum/guest/agent"
)

// hostPatience is how long a host that announced itself (by gureum.agent on the
// command line) may take to answer before the console gets a shell all the same.
const hostPatience = 5 * time.Second

func main() {
	if os.Getpid() != 1 {
		complain("init", errors.New("it is the guest's first process and does nothing as any other"))
		os.Exit(2)
	}
	mountAll(firstMounts)
	g := &guest{cfg: readConfig(), reaper: agent.NewReaper(true), heard: make(chan struct{})}
	g.ready = sync.OnceFunc(g.prepare)
	go g.ready()
	go g.signals()
	if g.cfg.exec != "" {
		g.runOnce()
		select {}
	}
	go g.consoleWhenAlone()
	g.serve()
	select {}
}

// guest is the running system.
type guest struct {
	cfg    config
	reaper *agent.Reaper
	ready  func() // returns when the system is complete

	heard     chan struct{} // closed when a host has answered
	hearOnce  sync.Once
	ending    atomic.Bool
	shellOnce sync.Once
}

// serve runs the host's commands for as long as there is a port.
func (g *guest) serve() {
	opts := agent.ServeOptions{
		Env:       environment(),
		Dir:       home,
		Reaper:    g.reaper,
		Ready:     func() error { g.ready(); return nil },
		Connected: func() { g.hearOnce.Do(func() { close(g.heard) }) },
		SetTime:   agent.SetClock,
		Shutdown:  func(k agent.ShutdownKind) { go g.end(k) },
	}
	port := g.cfg.agent
	if port != noAgent {
		takeCalls(opts)
	}
	if port == vsockAgent {
		if g.serveVsock(opts) {
			return
		}
		port = serialPort
	}
	for port != noAgent {
		line, err := agent.OpenLine(port)
		if err == nil {
			err = agent.Serve(line, opts)
			line.Close()
		}
		if err != nil {
			if !missing(err) {
				complain("agent port", err)
			}
			break
		}
		time.Sleep(time.Second) // the host closed it: it may come again
	}
	g.console()
}

// serveVsock calls the host, so that it knows without asking that the guest is up.
// It gives false where there is no vsock.
func (g *guest) serveVsock(opts agent.ServeOptions) bool {
	call, err := agent.DialHost(agent.VsockPort)
	if agent.NoVsock(err) {
		return false
	}
	if err != nil {
		return true // nobody waits for us there: it may call later
	}
	opts.Reliable = true
	if err := agent.Serve(call, opts); err != nil && !missing(err) {
		complain("agent", err)
	}
	call.Close()
	return true
}

// takeCalls serves the host's calls, where there is a vsock. It listens when it
// returns, so a host that has heard of the agent in any way can call it.
func takeCalls(opts agent.ServeOptions) {
	l, err := agent.ListenVsock(agent.VsockPort)
	if err != nil {
		if !agent.NoVsock(err) {
			complain("agent's vsock", err)
		}
		return
	}
	go func() { complain("agent's vsock", agent.ServeVsock(l, opts)) }()
}

// missing says that a port is not there: its device, or what is behind it, or that
// the host is gone.
func missing(err error) bool {
	return errors.Is(err, unix.ENOENT) || errors.Is(err, unix.ENXIO) || errors.Is(err, unix.ENODEV) || errors.Is(err, unix.EIO) || errors.Is(err, unix.ECONNRESET)
}

// complain writes to the console.
func complain(what string, err error) {
	os.Stderr.WriteString("init: " + what + ": " + err.Error() + "\n")
}
