package peer

import "fmt"

// OwnName is this program's among the contestants.
const OwnName = "gureum"

// gureum runs without a balloon: the others' guests have none, and giving back freed memory
// takes a CPU of the host for milliseconds in the midst of a measurement.
func gureum(path string, g Guest) ([]string, error) {
	args := []string{
		path, "run", "--kernel", g.Kernel, "--initrd", g.Initrd, "--append", g.Cmdline, "--console", "serial",
		"--memory", fmt.Sprintf("%dM", g.MemoryMiB), "--cpus", fmt.Sprint(g.CPUs),
		"--transport", string(g.Transport), "--no-balloon", "--no-rng", "--no-reboot",
	}
	if g.Disk != "" {
		args = append(args, "--disk", g.Disk+",format=raw,cache="+cache(g))
	}
	net := "user,host=on"
	if g.Tap != "" {
		net = fmt.Sprintf("tap:%s,vhost=%s,queues=%d", g.Tap, onOff(g.Vhost), max(g.Queues, 1))
	} else if !g.UserNet {
		return args, nil
	}
	if g.MAC != "" {
		net += ",mac=" + g.MAC
	}
	return append(args, "--net", net), nil
}

func onOff(v bool) string {
	if v {
		return "on"
	}
	return "off"
}

func cache(g Guest) string {
	if g.Direct {
		return "none"
	}
	return "writeback"
}

// agentCommand runs a command by the agent of the embedded user land, without another RAM disk.
func agentCommand(path string, g Guest, command []string) []string {
	args := []string{
		path, "run", "--kernel", g.Kernel, "--memory", fmt.Sprintf("%dM", g.MemoryMiB), "--cpus", fmt.Sprint(g.CPUs),
		"--transport", string(g.Transport), "--no-balloon", "--no-rng", "--",
	}
	return append(args, command...)
}
