package bench

import (
	"fmt"
	"os/exec"
	"regexp"
	"strings"

	"github.com/gureum/gureum/bench/host"
)

// IORow is one measurement of disk or network, made in each contestant's guest.
type IORow struct {
	Name string
	// command is what the guest runs.
	command string
	// figure is the word before the figure in what that prints, unit what it is.
	figure, unit string
}

// Addresses of the host and the guest on the tap of a measurement.
const (
	ioHostAddr  = "10.213.0.1"
	ioGuestAddr = "10.213.0.2"
	// TapName is the tap that PrepareTap makes.
	TapName = "gbench0"
)

// SelectRows gives the rows whose name a regular expression matches.
func SelectRows(rows []IORow, match *regexp.Regexp) []IORow {
	var some []IORow
	for _, r := range rows {
		if match.MatchString(r.Name) {
			some = append(some, r)
		}
	}
	return some
}

// ioInit is the init of a measurement's guest; rows go in at the %s.
const ioInit = `#!/bin/sh
/bin/busybox mount -t proc proc /proc
/bin/busybox mount -t sysfs sys /sys
/bin/busybox mount -t devtmpfs dev /dev 2>/dev/null
/bin/busybox ifconfig lo 127.0.0.1 up
/bin/busybox ifconfig eth0 %s netmask 255.255.255.0 up
%s
/bin/busybox poweroff -f
`

// initScriptFor says which rows a guest makes, each behind a mark.
func initScriptFor(rows []IORow) string {
	var b strings.Builder
	for i, r := range rows {
		fmt.Fprintf(&b, "echo \"gureum-bench row %d $(%s)\"\n", i, r.command)
	}
	return fmt.Sprintf(ioInit, ioGuestAddr, b.String())
}

// IOConfig says what to measure.
type IOConfig struct {
	// Disk is the file or block device that all guests use, one after the other.
	Disk string
	// Cache is "writeback" or "none".
	Cache string
	// Machine is QEMU's machine, "microvm" or "q35".
	Machine string
	// Queues is the number of queue pairs of the network, and of CPUs.
	Queues int
	// Vhost is who moves frames: "off", "on", or "both" for one after the other.
	Vhost string
}

// transport is Gureum's transport that is like QEMU's machine.
func (c *IOConfig) transport() string {
	if c.Machine == "microvm" {
		return "mmio"
	}
	return "pci"
}

// IOContestants are Gureum and QEMU with the same disk and the same tap, with and
// without vhost.
func (s *Stage) IOContestants(c IOConfig) []Contestant {
	var all []Contestant
	qemu, err := exec.LookPath("qemu-system-x86_64")
	for _, vhost := range []string{"off", "on"} {
		if c.Vhost != "both" && c.Vhost != vhost {
			continue
		}
		all = append(all, s.gureumIO(c, vhost))
		if err == nil {
			all = append(all, s.qemuIO(c, qemu, vhost))
		}
	}
	return all
}

// gureumIO has no balloon, as QEMU's machine has none: two seconds after a guest
// has freed memory, giving that back takes a CPU of the host for milliseconds, out
// of whatever row is being made then.
func (s *Stage) gureumIO(c IOConfig, vhost string) Contestant {
	return Contestant{Name: "gureum, vhost " + vhost, Args: []string{
		s.Gureum, "run", "--kernel", s.kernel, "--initrd", s.initrd, "--memory", fmt.Sprintf("%dM", guestMemory),
		"--append", "quiet rdinit=/bench-io", "--transport", c.transport(), "--cpus", fmt.Sprint(c.Queues), "--no-balloon",
		"--disk", fmt.Sprintf("%s,format=raw,cache=%s", c.Disk, c.Cache),
		"--net", fmt.Sprintf("tap:%s,vhost=%s,queues=%d", TapName, vhost, c.Queues),
	}}
}

func (s *Stage) qemuIO(c IOConfig, qemu, vhost string) Contestant {
	suffix, aio := "pci", "io_uring"
	if c.Machine == "microvm" {
		suffix = "device"
	}
	cache := "writeback"
	if c.Cache == "none" {
		cache, aio = "none", "native"
	}
	netdev, nic := fmt.Sprintf("tap,id=n0,ifname=%s,script=no,downscript=no,vhost=%s", TapName, vhost), fmt.Sprintf("virtio-net-%s,netdev=n0", suffix)
	if c.Queues > 1 {
		netdev += fmt.Sprintf(",queues=%d", c.Queues)
		nic += ",mq=on"
		if suffix == "pci" {
			nic += fmt.Sprintf(",vectors=%d", 2*c.Queues+2)
		}
	}
	return Contestant{Name: "QEMU " + c.Machine + ", vhost " + vhost, Peer: true, Args: []string{
		qemu, "-M", c.Machine, "-accel", "kvm", "-cpu", "host", "-m", fmt.Sprint(guestMemory), "-smp", fmt.Sprint(c.Queues),
		"-nodefaults", "-no-user-config", "-display", "none", "-no-reboot", "-serial", "stdio",
		"-kernel", s.kernel, "-initrd", s.initrd, "-append", "console=ttyS0 quiet panic=-1 rdinit=/bench-io",
		"-object", "iothread,id=io0",
		"-drive", fmt.Sprintf("file=%s,if=none,id=d0,format=raw,cache=%s,aio=%s", c.Disk, cache, aio),
		"-device", fmt.Sprintf("virtio-blk-%s,drive=d0,iothread=io0", suffix),
		"-netdev", netdev,
		"-device", nic,
	}}
}

// PrepareTap makes the tap for a number of queue pairs; the function returned removes it.
func PrepareTap(queues int) (remove func() error, err error) {
	return host.PrepareTap(TapName, ioHostAddr+"/24", queues)
}
