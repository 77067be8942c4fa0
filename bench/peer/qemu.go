package peer

import "fmt"

// qemu is its microvm machine where devices are behind MMIO, and q35 behind PCI: the smallest
// that it has for each. Everything that can be left out is, but the real-time clock: microvm
// has none of itself under KVM, and a kernel with a driver for it looks for it for a second.
func qemu(path string, g Guest) ([]string, error) {
	machine, suffix := "microvm,rtc=on", "device"
	if g.NoClock {
		machine = "microvm"
	}
	if g.Transport == PCI {
		machine, suffix = "q35", "pci"
	}
	args := []string{
		path, "-M", machine, "-accel", "kvm", "-cpu", "host", "-m", fmt.Sprint(g.MemoryMiB), "-smp", fmt.Sprint(g.CPUs),
		"-nodefaults", "-no-user-config", "-display", "none", "-no-reboot", "-serial", "stdio",
		"-kernel", g.Kernel, "-initrd", g.Initrd, "-append", consoleArgs(g),
	}
	if g.Disk != "" {
		aio := "io_uring"
		if g.Direct {
			aio = "native"
		}
		args = append(args, "-object", "iothread,id=io0",
			"-drive", fmt.Sprintf("file=%s,if=none,id=d0,format=raw,cache=%s,aio=%s", g.Disk, cache(g), aio),
			"-device", fmt.Sprintf("virtio-blk-%s,drive=d0,iothread=io0,num-queues=%d", suffix, g.CPUs))
	}
	if g.Tap != "" || g.UserNet {
		args = append(args, qemuNet(g, suffix)...)
	}
	return args, nil
}

func qemuNet(g Guest, suffix string) []string {
	net := "user,id=n0"
	if g.Tap != "" {
		net = fmt.Sprintf("tap,id=n0,ifname=%s,script=no,downscript=no,vhost=%s", g.Tap, onOff(g.Vhost))
	}
	nic := fmt.Sprintf("virtio-net-%s,netdev=n0", suffix)
	if g.Queues > 1 {
		net += fmt.Sprintf(",queues=%d", g.Queues)
		nic += ",mq=on"
		if suffix == "pci" {
			nic += fmt.Sprintf(",vectors=%d", 2*g.Queues+2)
		}
	}
	if g.MAC != "" {
		nic += ",mac=" + g.MAC
	}
	return []string{"-netdev", net, "-device", nic}
}

// consoleArgs is the kernel's command line with the first serial port as the console.
func consoleArgs(g Guest) string { return "console=ttyS0 " + g.Cmdline }
