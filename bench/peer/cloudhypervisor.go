package peer

import "fmt"

// cloudHypervisor follows its documentation (docs/device_model.md, docs/memory.md and the
// program's help).
func cloudHypervisor(path string, g Guest) ([]string, error) {
	if g.Transport == MMIO {
		return nil, unsupported("virtio over MMIO")
	}
	args := []string{
		path, "--kernel", g.Kernel, "--initramfs", g.Initrd, "--cmdline", consoleArgs(g),
		"--cpus", fmt.Sprintf("boot=%d", g.CPUs), "--memory", fmt.Sprintf("size=%dM", g.MemoryMiB),
		"--serial", "tty", "--console", "off",
	}
	if g.Disk != "" {
		args = append(args, "--disk", fmt.Sprintf("path=%s,direct=%s,num_queues=%d", g.Disk, onOff(g.Direct), g.CPUs))
	}
	if g.Vhost {
		return nil, unsupported("vhost in the host's kernel")
	}
	if g.UserNet {
		return nil, unsupported("a network in user space")
	}
	if g.Tap != "" {
		net := fmt.Sprintf("tap=%s,num_queues=%d", g.Tap, 2*max(g.Queues, 1))
		if g.MAC != "" {
			net += ",mac=" + g.MAC
		}
		args = append(args, "--net", net)
	}
	return args, nil
}
