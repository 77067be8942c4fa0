package vm

import (
	"net"
	"slices"
	"strings"

	"github.com/gureum/gureum/guest/userland"
)

// Parameters of the kernel command line that every guest gets
// (Documentation/admin-guide/kernel-parameters.txt).
const (
	// A panic resets the machine at once where the kernel has no pvpanic driver.
	baseCmdline = "panic=-1"
	// The console uses RTS/CTS, without which a long paste would be lost.
	serialCmdline = "console=ttyS0,115200n8r"
	// A kernel that has the driver built in prints on the serial port up to the
	// moment when the driver takes over, and says nothing twice.
	virtioCmdline = "earlycon=uart8250,io,0x3f8,115200n8 console=hvc0"
	// Any other may get its driver late or never. The last console that is there
	// is the one that programs talk to.
	bothCmdline = serialCmdline + " console=hvc0"
	// Each byte on a serial port costs exits, so only warnings come out.
	quietCmdline = "quiet"
	// The agent is at the second serial port, or comes by vsock where the kernel has
	// that, else by the serial port all the same.
	agentCmdline        = "gureum.agent=/dev/ttyS1"
	agentVsockCmdline   = "gureum.agent=vsock"
	agentOverlayCmdline = "rdinit=" + userland.InitPath
	// Our init is a Go program, whose runtime reserves more address space than a
	// small guest's kernel would promise it by default.
	lowMemoryCmdline = "sysctl.vm.overcommit_memory=1"
)

// lowMemory is the guest memory below which lowMemoryCmdline is needed, in bytes.
const lowMemory = 64 << 20

// commandLine is the kernel command line of a machine, with words that name its
// devices. What the user appends comes last and so wins.
func commandLine(c *Config, devices ...string) string {
	words := []string{consoleCmdline(c), baseCmdline}
	if !c.Verbose {
		words = append(words, quietCmdline)
	}
	if c.Name != "" {
		words = append(words, "gureum.hostname="+c.Name)
	}
	if c.Agent {
		if c.Initrd != "" {
			words = append(words, agentOverlayCmdline)
		}
		agent := agentCmdline
		if c.agentOnVsock() {
			agent = agentVsockCmdline
		}
		words = append(words, agent)
	}
	if c.Agent && len(c.Shares) > 0 {
		words = append(words, sharesCmdline(c.Shares))
	}
	if c.Agent {
		if networks := networksCmdline(c.NICs); networks != "" {
			words = append(words, "gureum.net="+networks)
		}
	}
	if c.Memory < lowMemory {
		words = append(words, lowMemoryCmdline)
	}
	words = append(words, devices...)
	if c.Append != "" {
		words = append(words, c.Append)
	}
	return strings.Join(words, " ")
}

// consoleCmdline says where the kernel's console is.
func consoleCmdline(c *Config) string {
	switch {
	case !c.virtioFirst():
		return serialCmdline
	case c.Kernel == "":
		return virtioCmdline
	}
	return bothCmdline
}

// namesConsole tells whether words for the command line choose a console.
func namesConsole(cmdline string) bool {
	return slices.ContainsFunc(strings.Fields(cmdline), func(w string) bool { return strings.HasPrefix(w, "console=") })
}

// sharesCmdline tells the embedded init what to mount at /mnt/TAG.
func sharesCmdline(shares []Share) string {
	var tags []string
	for _, s := range shares {
		tag := s.Tag
		if s.ReadOnly {
			tag += ":ro"
		}
		tags = append(tags, tag)
	}
	return "gureum.share=" + strings.Join(tags, ",")
}

// networksCmdline tells the embedded init its interfaces' addresses; see its network.go.
func networksCmdline(nics []NIC) string {
	var all []string
	for i := range nics {
		a := &nics[i].Guest
		if !a.IP.IsValid() {
			continue
		}
		words := []string{net.HardwareAddr(nics[i].MAC[:]).String(), a.IP.String()}
		if a.Gateway.IsValid() {
			words = append(words, "gw="+a.Gateway.String())
		}
		for _, ip := range a.DNS {
			words = append(words, "dns="+ip.String())
		}
		if a.Search != "" {
			words = append(words, "search="+a.Search)
		}
		all = append(all, strings.Join(words, ","))
	}
	return strings.Join(all, ";")
}
