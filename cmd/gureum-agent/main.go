// Command gureum-agent runs commands and copies files for the host in any Linux
// guest. It is one static file: build it with
//
//	CGO_ENABLED=0 go build -trimpath -ldflags '-s -w' ./cmd/gureum-agent
//
// put it at /usr/local/sbin/gureum-agent, and have the service manager start it
// after vsock's driver is there: guest/agent/gureum-agent.service is a systemd unit
// that does. What it speaks is docs/agent-protocol.md; what it does is package
// guest/agent.
//
// It calls the host once, so that the host knows that the guest is up, and then
// takes the host's calls, from CID 2 alone. With a path in place of vsock it talks
// on that port, such as a virtio-serial one. It serves the host with the rights that
// it was started with, which are root's in the unit.
package main

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/gureum/gureum/guest/agent"
)

const usage = `usage: gureum-agent [vsock | PORT]

Serves the host on a vsock (the default), or on PORT, such as
/dev/virtio-ports/gureum.agent or /dev/ttyS1.
`

func main() {
	port := "vsock"
	switch {
	case len(os.Args) == 2 && !strings.HasPrefix(os.Args[1], "-"):
		port = os.Args[1]
	case len(os.Args) != 1:
		fmt.Fprint(os.Stderr, usage)
		os.Exit(2)
	}
	fmt.Fprintf(os.Stderr, "gureum-agent: %v\n", serve(port))
	os.Exit(1)
}

// serve serves the host until that is impossible.
func serve(port string) error {
	opts := agent.ServeOptions{
		Env:      environment(),
		Dir:      home(),
		Reaper:   agent.NewReaper(false),
		SetTime:  agent.SetClock,
		Shutdown: func(k agent.ShutdownKind) { go shutdown(k) },
	}
	if port != "vsock" {
		return servePort(port, opts)
	}
	l, err := agent.ListenVsock(agent.VsockPort)
	if agent.NoVsock(err) {
		return fmt.Errorf("%w: this kernel has no vsock, or the machine no such device: load vmw_vsock_virtio_transport", err)
	}
	if err != nil {
		return fmt.Errorf("listen on the vsock: %w", err)
	}
	go call(opts)
	return agent.ServeVsock(l, opts)
}

// call tells the host that the guest is up, and serves it. That nobody is there, or
// goes away, is nobody's fault: it may call later.
func call(opts agent.ServeOptions) {
	c, err := agent.DialHost(agent.VsockPort)
	if err != nil {
		return
	}
	opts.Reliable = true
	_ = agent.Serve(c, opts)
	c.Close()
}

// servePort serves one host after the other on a line.
func servePort(path string, opts agent.ServeOptions) error {
	for {
		line, err := agent.OpenLine(path)
		if err != nil {
			return err
		}
		err = agent.Serve(line, opts)
		line.Close()
		if err != nil {
			return fmt.Errorf("%s: %w", path, err)
		}
		time.Sleep(time.Second) // the host has closed it: it may come again
	}
}

// home is where commands start.
func home() string {
	if dir := os.Getenv("HOME"); dir != "" {
		return dir
	}
	if os.Geteuid() == 0 {
		return "/root"
	}
	return "/"
}

// environment is what commands start with: what the agent has, less what concerns
// its own service, and complete where a service manager gives little.
func environment() []string {
	env := []string{"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "HOME=" + home()}
	if os.Geteuid() == 0 {
		env = append(env, "USER=root", "LOGNAME=root", "SHELL=/bin/sh")
	}
	for _, kv := range os.Environ() {
		key, _, _ := strings.Cut(kv, "=")
		switch key {
		case "INVOCATION_ID", "JOURNAL_STREAM", "NOTIFY_SOCKET", "LISTEN_FDS", "LISTEN_PID", "SYSTEMD_EXEC_PID", "HOME":
		default:
			env = append(env, kv)
		}
	}
	return env
}

// shutdown asks the service manager, so that services end in order; where there is
// none, the first process, by the signals that busybox and systemd have in common.
func shutdown(kind agent.ShutdownKind) {
	verb, sig := "poweroff", unix.SIGUSR2
	switch kind {
	case agent.Reboot:
		verb, sig = "reboot", unix.SIGTERM
	case agent.Halt:
		verb, sig = "halt", unix.SIGUSR1
	}
	if err := exec.Command("systemctl", "--no-block", verb).Run(); !errors.Is(err, exec.ErrNotFound) && err == nil {
		return
	}
	if exec.Command(verb).Run() == nil {
		return
	}
	_ = unix.Kill(1, sig)
}
