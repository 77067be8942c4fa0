package vm

import (
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/gureum/gureum/guest/memory"
)

// Limits of a Config. They are what the machine model can express; a host may
// offer less, which New reports as a *HostError.
const (
	// MinMemory is the smallest guest memory, in bytes.
	MinMemory = memory.MinSize
	// MaxMemory is the largest guest memory, in bytes.
	MaxMemory = memory.MaxSize
	// MaxCPUs is the largest number of virtual CPUs: KVM_MAX_VCPUS of
	// arch/x86/include/asm/kvm_host.h.
	MaxCPUs = 1024
	// maxName is the longest DNS label (RFC 1035, section 2.3.4): a name is
	// also the guest's host name.
	maxName = 63
)

// Config says what machine to build. The zero value of a field means its
// default, which Validate fills in.
type Config struct {
	// Name is the machine's name and the guest's host name: a DNS label.
	Name string
	// CPUs is the number of virtual CPUs; default 1.
	CPUs int
	// Memory is the guest's memory in bytes, a multiple of the 4 KiB page;
	// default DefaultMemory.
	Memory uint64
	// HugePages backs the guest's memory with hugetlb pages of that size; 0
	// takes ordinary pages.
	HugePages memory.PageSize
	// THP asks for transparent huge pages: fewer faults, more memory.
	THP bool
	// Kernel is the path of an ELF vmlinux or a bzImage; "" is the embedded
	// default kernel.
	Kernel string
	// Initrd is the path of an initial RAM disk. Without it the guest gets the
	// embedded user land.
	Initrd string
	// NoUserLand leaves the embedded user land out: the guest then has Initrd
	// alone, or no initial RAM disk at all.
	NoUserLand bool
	// Agent starts the embedded agent in the guest as its init, on the second
	// serial port. With Initrd it is laid over the user's files.
	Agent bool
	// OwnAgent says that the guest's system starts an agent itself, gureum-agent as a
	// service: it comes by vsock alone, and nothing is laid over the RAM disk.
	OwnAgent bool
	// Append is added to the end of the kernel command line.
	Append string
	// Verbose lets the kernel print its messages on the first serial port;
	// otherwise only what matters comes out, as each byte costs an exit.
	Verbose bool
	// Terminal is which device is the guest's console; "" is TerminalSerial.
	Terminal Terminal
	// Console receives what the guest writes to its consoles. nil discards it. The
	// machine keeps the last lines anyway.
	Console io.Writer
	// Transport is how virtio devices reach the guest; "" is TransportAuto.
	Transport Transport
	// RNG is the entropy device.
	RNG RNG
	// Balloon returns the guest's memory to the host.
	Balloon Balloon
	// Shares are folders of the host that the guest can mount.
	Shares []Share
	// PMEM are files in the guest's address space.
	PMEM []PMEM
	// NICs are the guest's network interfaces; there is none by default.
	NICs []NIC
	// Vsock is the guest's socket device.
	Vsock Vsock
	// CacheDir holds unpacked kernels; "" is a folder of the user's cache.
	CacheDir string
	// KVM is the path of the KVM device; "" is /dev/kvm.
	KVM string
	// Disks are the guest's disks, /dev/vda first. See Disk.
	Disks []Disk
	// OnEvent, when set, is told of each stage as it is reached. It is called
	// from the machine's own goroutines and must not block.
	OnEvent func(Event)
	// OnVCPUThread, when set, is called on each virtual CPU's locked thread before it
	// enters the guest. Its error ends the machine.
	OnVCPUThread func() error
}

// DefaultMemory is the guest memory of a Config that names none, in bytes.
const DefaultMemory = 256 << 20

// Validate fills in defaults and checks everything that can be checked without
// asking the host. Its errors are *InputError.
func (c *Config) Validate() error {
	if c.CPUs == 0 {
		c.CPUs = 1
	}
	if c.Memory == 0 {
		c.Memory = DefaultMemory
	}
	if err := checkName(c.Name); err != nil {
		return err
	}
	if c.CPUs < 1 || c.CPUs > MaxCPUs {
		return inputErrorf("cpus: %d: give a number from 1 to %d", c.CPUs, MaxCPUs)
	}
	if err := c.memoryConfig().Validate(); err != nil {
		return &InputError{err}
	}
	if err := c.checkDevices(); err != nil {
		return err
	}
	if c.OwnAgent && (c.Agent || c.Vsock.Vhost) {
		return inputErrorf("agent: a guest's own agent comes by the vsock that this process serves, and there is no other: leave vhost out of the vsock")
	}
	if strings.ContainsAny(c.Append, "\x00\n") {
		return inputErrorf("append: the kernel command line holds a NUL or a line break: leave it out")
	}
	if err := checkFile("kernel", c.Kernel); err != nil {
		return err
	}
	return checkFile("initrd", c.Initrd)
}

func (c *Config) memoryConfig() memory.Config {
	return memory.Config{Size: c.Memory, HugePages: c.HugePages, THP: c.THP}
}

// checkName accepts "" and DNS labels (RFC 1123, section 2.1).
func checkName(name string) error {
	if name == "" {
		return nil
	}
	if len(name) > maxName {
		return inputErrorf("name %q: %d characters: a name has at most %d", name, len(name), maxName)
	}
	for i, r := range name {
		letter := r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9'
		if letter || r == '-' && i > 0 && i < len(name)-1 {
			continue
		}
		return inputErrorf("name %q: use letters, digits and inner hyphens", name)
	}
	return nil
}

// checkFile finds out early that a path cannot be read or is no plain file.
func checkFile(what, path string) error {
	if path == "" {
		return nil
	}
	st, err := os.Stat(path)
	if err != nil {
		return inputErrorf("%s: %w", what, err)
	}
	if !st.Mode().IsRegular() {
		return inputErrorf("%s: %s: is a %s, not a file", what, path, kindOf(st.Mode()))
	}
	f, err := os.Open(path)
	if err != nil {
		return inputErrorf("%s: %w", what, err)
	}
	return f.Close()
}

func kindOf(mode os.FileMode) string {
	switch {
	case mode.IsDir():
		return "directory"
	case mode&os.ModeDevice != 0:
		return "device"
	case mode&os.ModeNamedPipe != 0:
		return "pipe"
	case mode&os.ModeSocket != 0:
		return "socket"
	}
	return "special file"
}

// FormatSize prints a number of bytes in the largest binary unit that divides
// it, such as "256 MiB".
func FormatSize(n uint64) string {
	units := []string{"bytes", "KiB", "MiB", "GiB", "TiB"}
	i := 0
	for n != 0 && n%1024 == 0 && i < len(units)-1 {
		n /= 1024
		i++
	}
	return fmt.Sprintf("%d %s", n, units[i])
}
