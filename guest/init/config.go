package main

import (
	"os"
	"strings"

	"github.com/gureum/gureum/guest/agent"
)

// config is what the kernel command line says to us.
type config struct {
	agent    string             // gureum.agent=PATH|vsock: the port to the host, "none" for no agent
	asked    bool               // gureum.agent was given: there is a host that will answer
	hostname string             // gureum.hostname=NAME
	shares   string             // gureum.share=TAG[:ro],...: host folders to mount at /mnt/TAG
	networks string             // gureum.net=MAC,ADDRESS/BITS,...;...: see network.go
	exec     string             // gureum.exec="COMMAND": run it on the console, then end
	end      agent.ShutdownKind // gureum.end=poweroff|reboot|halt: how to end after exec
}

// Values of gureum.agent that are not paths.
const (
	noAgent    = "none"
	vsockAgent = "vsock"
)

// serialPort is the agent's port where nothing else is said, or there is no vsock.
const serialPort = "/dev/ttyS1"

func readConfig() config {
	text, err := os.ReadFile("/proc/cmdline")
	if err != nil {
		complain("kernel command line", err)
	}
	return parseConfig(string(text))
}

func parseConfig(cmdline string) config {
	cfg := config{agent: serialPort, hostname: "gureum", end: agent.PowerOff}
	for cmdline != "" {
		var word string
		word, cmdline = nextWord(cmdline)
		key, value, _ := strings.Cut(word, "=")
		if value == "" {
			continue
		}
		switch key {
		case "gureum.agent":
			cfg.agent, cfg.asked = value, true
		case "gureum.hostname":
			cfg.hostname = value
		case "gureum.share":
			cfg.shares = value
		case "gureum.net":
			cfg.networks = value
		case "gureum.exec":
			cfg.exec = value
		case "gureum.end":
			cfg.end = endKind(value)
		}
	}
	return cfg
}

func endKind(name string) agent.ShutdownKind {
	switch name {
	case "reboot":
		return agent.Reboot
	case "halt":
		return agent.Halt
	}
	return agent.PowerOff
}

// nextWord cuts the first word off, as the kernel does (lib/cmdline.c,
// next_arg): double quotes hold spaces together and are taken away.
func nextWord(s string) (word, rest string) {
	s = strings.TrimLeft(s, " \t\n")
	quoted := false
	var b strings.Builder
	for i := range len(s) {
		switch c := s[i]; {
		case c == '"':
			quoted = !quoted
		case !quoted && (c == ' ' || c == '\t' || c == '\n'):
			return b.String(), s[i+1:]
		default:
			b.WriteByte(c)
		}
	}
	return b.String(), ""
}

const home = "/root"

// environment is what every program in the guest starts with.
func environment() []string {
	return []string{
		"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
		"HOME=" + home, "USER=root", "LOGNAME=root", "SHELL=/bin/sh", "LANG=C.UTF-8",
	}
}
