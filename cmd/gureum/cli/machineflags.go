package cli

import (
	"github.com/spf13/pflag"

	"github.com/gureum/gureum/fleet/spec"
	"github.com/gureum/gureum/vm"
)

// addMachineFlags adds the flags that define a machine, in the words of package spec.
func addMachineFlags(f *pflag.FlagSet, s *spec.Spec) {
	f.StringVar(&s.Kernel, "kernel", "", "kernel `FILE`, an ELF vmlinux or a bzImage (default: the embedded kernel)")
	f.StringVar(&s.Initrd, "initrd", "", "initial RAM disk `FILE` (default: the embedded user land)")
	f.StringVar(&s.Append, "append", "", "`ARGS` to add to the kernel command line")
	f.IntVar(&s.CPUs, "cpus", 1, "number of virtual CPUs")
	f.StringVar(&s.Memory, "memory", "256M", "guest memory, a `SIZE`")
	f.StringVar(&s.Name, "name", "", "name of the machine and host name of the guest")
	f.StringVar(&s.HugePages, "hugepages", "", "back guest memory with huge pages: 2M, 1G or thp")
	f.StringArrayVarP(&s.Env, "env", "e", nil, "set `NAME=VALUE` in the command's environment")
	f.StringVarP(&s.Workdir, "workdir", "w", "", "run the command in this `DIR` of the guest")
	f.StringVar(&s.Transport, "transport", string(vm.TransportAuto), "how virtio devices reach the guest: auto, pci or mmio")
	f.BoolVar(&s.NoRNG, "no-rng", false, "give the guest no entropy device")
	f.StringVar(&s.Balloon, "balloon", "", "how much memory to take back from the guest once it runs, a `SIZE`")
	f.BoolVar(&s.NoBalloon, "no-balloon", false, "give the guest no balloon: its free memory then stays with it")
	f.BoolVar(&s.NoReboot, "no-reboot", false, "end when the guest reboots")
	f.StringVar(&s.KVMDevice, "kvm-device", "", "the KVM `DEVICE` (default /dev/kvm)")
	addDeviceFlags(f, s)
	addSeedFlags(f, s)
	addFleetFlags(f, s)
}

func addDeviceFlags(f *pflag.FlagSet, s *spec.Spec) {
	f.StringArrayVar(&s.PMEM, "pmem", nil, "map `FILE[,ro]` into the guest as persistent memory (/dev/pmem0, ...)")
	f.StringArrayVar(&s.Share, "share", nil, "share a folder, `HOSTDIR:TAG[:ro]`, which the embedded guest has at /mnt/TAG; others: mount -t virtiofs TAG DIR")
	f.StringVar(&s.Vsock, "vsock", "", "let programs of the host and the guest talk by this `SOCKET`: PATH, a Unix socket to be made "+
		"(write \"CONNECT port\" to it first; the guest's connections to port N of CID 2 go to PATH_N), "+
		"or vhost, for AF_VSOCK on the host; ,cid=N is the guest's address (default 3)")
	f.StringArrayVar(&s.Net, "net", nil, "give the guest a `NETWORK` interface (repeatable): "+
		"NAME, a network of the fleet (see gureum network; options ip=ADDRESS); "+
		"tap:INTERFACE, a tap of the host, made if it does not exist; "+
		"or user, a network in user space, which needs no privilege; "+
		"options behind a comma: mac=ADDRESS, mtu=N, bps=SIZE and pps=N (bytes and packets a second, each way), "+
		"with a tap queues=N and vhost=auto|on|off, "+
		"with user host=on (the host's 127.0.0.1 is 10.0.2.2)")
	f.StringArrayVar(&s.Disk, "disk", nil, "give the guest a disk, an image or block device at `PATH` (repeatable), "+
		"or boot the image of the store of that name on a scratch layer (persist=FILE keeps it, size=SIZE makes the disk larger); "+
		"options behind a comma: ro, format=raw|qcow2, cache=writeback|none, engine=auto|io_uring|workers, id=NAME, "+
		"queues=N, bps=SIZE and iops=N (bytes and requests a second), block-size=SIZE, "+
		"backing=allow (the image may have a backing file, in its folder or below)")
	f.StringVar(&s.Cache, "cache", "", "cache of disks that do not say: writeback (the host's page cache, the default) or none (past it)")
}

func addSeedFlags(f *pflag.FlagSet, s *spec.Spec) {
	f.StringVar(&s.CloudInit, "cloud-init", "", "give the guest's cloud-init this `FILE` as its user data")
	f.StringArrayVar(&s.SSHKey, "ssh-key", nil, "let the keys in this `FILE` (id_ed25519.pub) into the guest by ssh, by cloud-init; repeatable")
	f.StringVar(&s.User, "user", "", "make this `USER` in the guest, by cloud-init (default: the image's own)")
	f.StringVar(&s.PasswordFile, "password-file", "", "give that user the password in this `FILE`, for the console")
	f.StringVar(&s.IP, "ip", "", "`ADDRESS`/BITS[,gw=ADDRESS][,dns=ADDRESS] of the first interface, by cloud-init (default: DHCP)")
}

func addFleetFlags(f *pflag.FlagSet, s *spec.Spec) {
	addLimitFlags(f, s)
	f.StringArrayVar(&s.Publish, "publish", nil, "lead a port of the host into the guest, `[ADDRESS:]HOSTPORT:GUESTPORT[/udp]`; repeatable")
	f.StringVar(&s.Restart, "restart", "", "when to start the machine again once it has ended: no, on-failure[:N] or always")
	f.StringArrayVar(&s.Label, "label", nil, "give the machine a label, `KEY=VALUE`; repeatable")
	f.BoolVar(&s.Rm, "rm", false, "remove the machine when it has ended")
}

// Flags of limits.
const (
	flagCPULimit    = "cpu-limit"
	flagMemoryLimit = "memory-limit"
	flagPidsLimit   = "pids-limit"
	flagIOLimit     = "io-limit"
)

func addLimitFlags(f *pflag.FlagSet, s *spec.Spec) {
	f.StringVar(&s.CPULimit, flagCPULimit, "", "let the machine's process use this `NUMBER` of the host's CPUs at most, as 1.5")
	f.StringVar(&s.MemoryLimit, flagMemoryLimit, "", "let it have this `SIZE` of the host's memory at most, the guest's included; beyond that the host kills it")
	f.IntVar(&s.PidsLimit, flagPidsLimit, 0, "let it have this `NUMBER` of threads at most (default 1024 and one for each CPU)")
	f.StringVar(&s.IOLimit, flagIOLimit, "", "limit its use of each of the host's disks: `rbps=SIZE,wbps=SIZE,riops=N,wiops=N`, bytes and operations a second, or some of these")
}

func limitChanged(f *pflag.FlagSet) bool {
	return f.Changed(flagCPULimit) || f.Changed(flagMemoryLimit) || f.Changed(flagPidsLimit) || f.Changed(flagIOLimit)
}

// copyLimits copies those limits that were given.
func copyLimits(f *pflag.FlagSet, to, from *spec.Spec) {
	if f.Changed(flagCPULimit) {
		to.CPULimit = from.CPULimit
	}
	if f.Changed(flagMemoryLimit) {
		to.MemoryLimit = from.MemoryLimit
	}
	if f.Changed(flagPidsLimit) {
		to.PidsLimit = from.PidsLimit
	}
	if f.Changed(flagIOLimit) {
		to.IOLimit = from.IOLimit
	}
}
