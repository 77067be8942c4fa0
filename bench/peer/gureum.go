package peer

import "fmt"

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
	if g.Tap != "" {
		vhost := "off"
		if g.Vhost {
			vhost = "on"
		}
		args = append(args, "--net", fmt.Sprintf("tap:%s,vhost=%s,queues=%d", g.Tap, vhost, max(g.Queues, 1)))
	}
	return args, nil
}

func cache(g Guest) string {
	if g.Direct {
		return "none"
	}
	return "writeback"
}
