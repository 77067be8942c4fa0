package peer

import "fmt"

// kvmtool follows the help of 'lkvm run'. It adds devices of its own accord (a balloon is
// not among them), and a network in user space unless it is told not to.
func kvmtool(path string, g Guest) ([]string, error) {
	switch {
	case !g.BzImage:
		return nil, unsupported("a kernel that is not a bzImage")
	case g.Transport == MMIO:
		return nil, unsupported("virtio over MMIO, by default")
	case g.Queues > 1:
		return nil, unsupported("several queues")
	case g.UserNet:
		return nil, unsupported("a network in user space at the others' addresses")
	}
	args := []string{
		path, "run", "--kernel", g.Kernel, "--initrd", g.Initrd, "--params", consoleArgs(g),
		"--mem", fmt.Sprint(g.MemoryMiB), "--cpus", fmt.Sprint(g.CPUs), "--console", "serial",
	}
	if g.Disk != "" {
		disk := g.Disk
		if g.Direct {
			disk += ",direct"
		}
		args = append(args, "--disk", disk)
	}
	if g.Tap == "" {
		return append(args, "--network", "mode=none"), nil
	}
	vhost := 0
	if g.Vhost {
		vhost = 1
	}
	net := fmt.Sprintf("mode=tap,tapif=%s,vhost=%d", g.Tap, vhost)
	if g.MAC != "" {
		net += ",guest_mac=" + g.MAC
	}
	return append(args, "--network", net), nil
}
