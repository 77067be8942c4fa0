package main

import (
	"os"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// consoleWhenAlone starts the console shell when no host answers in time, or when
// none is expected.
func (g *guest) consoleWhenAlone() {
	if !g.cfg.asked {
		g.console()
		return
	}
	select {
	case <-g.heard:
	case <-time.After(hostPatience):
		g.console()
	}
}

// console keeps a shell on the console. It starts one only, ever.
func (g *guest) console() {
	g.shellOnce.Do(func() { go g.keepShell() })
}

func (g *guest) keepShell() {
	g.ready()
	for !g.ending.Load() {
		started := time.Now()
		if err := g.onConsole([]string{"-sh"}); err != nil {
			complain("no shell on the console", err)
			return
		}
		if time.Since(started) < time.Second {
			time.Sleep(time.Second)
		}
	}
}

// runOnce runs the command of gureum.exec and ends the guest.
func (g *guest) runOnce() {
	g.ready()
	if err := g.onConsole([]string{"sh", "-c", g.cfg.exec}); err != nil {
		complain("gureum.exec", err)
	}
	g.end(g.cfg.end)
}

// onConsole runs the shell to its end, with the console as its controlling terminal.
func (g *guest) onConsole(args []string) error {
	path := consoleDevice()
	fd, err := unix.Open(path, unix.O_RDWR|unix.O_NOCTTY|unix.O_CLOEXEC, 0)
	if err != nil {
		return &os.PathError{Op: "open", Path: path, Err: err}
	}
	tty := uintptr(fd)
	_, status, err := g.reaper.Start("/bin/sh", args, &syscall.ProcAttr{
		Dir: home, Env: append(environment(), "TERM=vt220"), Files: []uintptr{tty, tty, tty},
		Sys: &syscall.SysProcAttr{Setsid: true, Setctty: true},
	})
	unix.Close(fd)
	if err != nil {
		return &os.PathError{Op: "exec", Path: "/bin/sh", Err: err}
	}
	<-status
	return nil
}

// consoleDevice is the terminal behind /dev/console, which itself can be
// nobody's controlling terminal. The kernel lists the one in use last.
func consoleDevice() string {
	text, err := os.ReadFile("/sys/class/tty/console/active")
	names := strings.Fields(string(text))
	if err != nil || len(names) == 0 {
		return "/dev/console"
	}
	return "/dev/" + names[len(names)-1]
}
