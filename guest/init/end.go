package main

import (
	"os"
	"os/signal"
	"slices"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/gureum/gureum/guest/agent"
)

// How long processes have to end by themselves, and to be gone when killed.
const (
	termPatience = 5 * time.Second
	killPatience = 2 * time.Second
)

// request is a signal that asks the first process to end the system.
type request struct {
	sig  syscall.Signal
	kind agent.ShutdownKind
}

// requests are how the kernel (Ctrl-Alt-Del), busybox's poweroff, reboot and
// halt, and systemd's (SIGRTMIN+3 to +5, where SIGRTMIN is 34) ask.
var requests = [...]request{
	{unix.SIGINT, agent.Reboot},
	{unix.SIGTERM, agent.Reboot},
	{unix.SIGUSR1, agent.Halt},
	{unix.SIGUSR2, agent.PowerOff},
	{unix.SIGPWR, agent.PowerOff},
	{34 + 3, agent.Halt},
	{34 + 4, agent.PowerOff},
	{34 + 5, agent.Reboot},
}

func (g *guest) signals() {
	asked := make(chan os.Signal, 8)
	for _, r := range requests {
		signal.Notify(asked, r.sig)
	}
	signal.Ignore(unix.SIGHUP, unix.SIGPIPE, unix.SIGQUIT)
	for sig := range asked {
		for _, r := range requests {
			if r.sig == sig {
				go g.end(r.kind)
			}
		}
	}
}

// end ends the guest: processes first, then file systems, then the machine.
func (g *guest) end(kind agent.ShutdownKind) {
	if g.ending.Swap(true) {
		return
	}
	g.ready()
	killAll(unix.SIGTERM)
	killAll(unix.SIGCONT)
	if !g.waitIdle(termPatience) {
		killAll(unix.SIGKILL)
		g.waitIdle(killPatience)
	}
	unix.Sync()
	unmountAll()
	for {
		if err := unix.Reboot(rebootCommand(kind)); err != nil {
			complain("end the guest", err)
		}
		time.Sleep(time.Second) // a halted machine does not come back
	}
}

// killAll sends sig to every process but this one; there may be none.
func killAll(sig syscall.Signal) { _ = unix.Kill(-1, sig) }

// waitIdle waits until no process is left.
func (g *guest) waitIdle(limit time.Duration) bool {
	pause := time.Millisecond
	for end := time.Now().Add(limit); time.Now().Before(end); time.Sleep(pause) {
		if g.reaper.Idle() {
			return true
		}
		pause = min(2*pause, 50*time.Millisecond)
	}
	return g.reaper.Idle()
}

func rebootCommand(kind agent.ShutdownKind) int {
	switch kind {
	case agent.Reboot:
		return unix.LINUX_REBOOT_CMD_RESTART
	case agent.Halt:
		return unix.LINUX_REBOOT_CMD_HALT
	}
	return unix.LINUX_REBOOT_CMD_POWER_OFF
}

// unmountAll unmounts what holds data, the newest first, and makes read-only
// what is still in use.
func unmountAll() {
	text, err := os.ReadFile("/proc/mounts")
	if err != nil {
		return
	}
	for _, dir := range dataMounts(string(text)) {
		if unix.Unmount(dir, 0) == nil {
			continue
		}
		if err := unix.Mount("", dir, "", unix.MS_REMOUNT|unix.MS_RDONLY, ""); err != nil {
			complain("unmount "+dir, err)
		}
	}
}

// dataMounts lists from /proc/mounts, newest first, the mount points of file
// systems that lose data when they just stop.
func dataMounts(mounts string) []string {
	var dirs []string
	for line := range strings.Lines(mounts) {
		f := strings.Fields(line)
		if len(f) < 3 {
			continue
		}
		switch {
		case strings.HasPrefix(f[0], "/dev/"), f[2] == "virtiofs", f[2] == "9p", f[2] == "overlay", strings.HasPrefix(f[2], "nfs"), strings.HasPrefix(f[2], "fuse"):
			dirs = append(dirs, unescape(f[1]))
		}
	}
	slices.Reverse(dirs)
	return dirs
}

// unescape undoes the octal escapes of /proc/mounts (fs/proc_namespace.c).
func unescape(s string) string {
	for _, e := range [...][2]string{{`\040`, " "}, {`\011`, "\t"}, {`\012`, "\n"}, {`\043`, "#"}, {`\134`, `\`}} {
		s = strings.ReplaceAll(s, e[0], e[1])
	}
	return s
}
