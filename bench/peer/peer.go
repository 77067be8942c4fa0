// Package peer starts virtual machine monitors, ours and others, with the same guest.
// Each is an adapter in a file of its own, which turns a Guest into a command line.
package peer

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os/exec"
	"slices"
	"strings"
	"time"
)

// Transport is how virtio devices reach a guest.
type Transport string

// The transports.
const (
	MMIO Transport = "mmio"
	PCI  Transport = "pci"
)

// Guest is what to boot. Its console is the first serial port, on the standard output of
// the VMM.
type Guest struct {
	// Kernel is a file, an ELF vmlinux or a bzImage; Initrd is its RAM disk.
	Kernel, Initrd string
	BzImage        bool
	// Cmdline goes to the kernel beside what the console needs.
	Cmdline   string
	MemoryMiB int
	CPUs      int
	Transport Transport
	// NoClock is without a real-time clock where the VMM leaves it out of itself.
	NoClock bool
	// Disk is a raw file or block device, "" for none, with a queue for each CPU where the VMM
	// has several; Direct goes past the host's page cache.
	Disk   string
	Direct bool
	// Tap is an interface of the host, "" for none, with so many pairs of queues. Vhost has
	// the host's kernel move the frames.
	Tap    string
	Queues int
	Vhost  bool
	// UserNet is a network in user space in place of the tap, by which the guest, at
	// UserGuest, reaches the host's 127.0.0.1 as UserHost.
	UserNet bool
	// MAC of the network, "" for the VMM's own choice.
	MAC string
	// Dir is a folder for the VMM's own files, which is empty.
	Dir string
}

// Addresses of a network in user space, which those who have one agree on.
const (
	UserGuest = "10.0.2.15"
	UserHost  = "10.0.2.2"
)

// ErrUnsupported is for a guest that a VMM has no way to run.
var ErrUnsupported = errors.New("not supported")

func unsupported(what string) error { return fmt.Errorf("%s: %w", what, ErrUnsupported) }

// Peer is a VMM.
type Peer struct {
	// Name is the word of the command line, Path the program.
	Name, Path string
	// AnyStatus accepts an exit status other than 0, for a VMM that ends on a reset of its
	// guest only by an error.
	AnyStatus bool
	// Reset is for one whose guest cannot switch itself off: it is to reset instead.
	Reset   bool
	command func(path string, g Guest) ([]string, error)
	version []string // arguments that have it print its version
}

// ResetWord is on the kernel's command line of guests that are to reset at their end; others
// switch off.
const ResetWord = "bench-reset"

// Command is the command line for a guest. The error is ErrUnsupported if there is none.
func (p Peer) Command(g Guest) ([]string, error) {
	if p.Reset {
		g.Cmdline += " reboot=k " + ResetWord
	}
	return p.command(p.Path, g)
}

// AgentCommand is the command line that has an agent in a guest with the embedded user land run
// a command. The error is ErrUnsupported for a VMM that has no agent.
func (p Peer) AgentCommand(g Guest, command ...string) ([]string, error) {
	if p.Name != OwnName {
		return nil, unsupported("a command in the guest, by an agent")
	}
	return agentCommand(p.Path, g, command), nil
}

// Version is the first line that the program prints of itself.
func (p Peer) Version(ctx context.Context) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	out, err := exec.CommandContext(ctx, p.Path, p.version...).CombinedOutput()
	if err != nil {
		return "", fmt.Errorf("%s %s: %w: %s", p.Path, strings.Join(p.version, " "), err, bytes.TrimSpace(out))
	}
	line, _, _ := strings.Cut(strings.TrimSpace(string(out)), "\n")
	return line, nil
}

// peers are all adapters, with the program that each looks for.
func peers() []Peer {
	return []Peer{
		{Name: "qemu", Path: "qemu-system-x86_64", command: qemu, version: []string{"--version"}},
		{Name: "firecracker", Path: "firecracker", Reset: true, command: firecracker, version: []string{"--version"}},
		{Name: "cloud-hypervisor", Path: "cloud-hypervisor", command: cloudHypervisor, version: []string{"--version"}},
		{Name: "kvmtool", Path: "lkvm", Reset: true, command: kvmtool, version: []string{"version"}},
	}
}

// Names of the peers.
func Names() []string {
	var names []string
	for _, p := range peers() {
		names = append(names, p.Name)
	}
	return names
}

// Gureum is this program.
func Gureum(path string) Peer {
	return Peer{Name: OwnName, Path: path, command: gureum, version: []string{"version"}}
}

// Named tells whether there is a peer of that name, or NAME=PATH.
func Named(text string) bool {
	name, path, given := strings.Cut(text, "=")
	return slices.Contains(Names(), name) && (!given || path != "")
}

// Find finds the peer that NAME or NAME=PATH stands for. The error says that its program is
// not there.
func Find(text string) (Peer, error) {
	name, path, given := strings.Cut(text, "=")
	i := slices.IndexFunc(peers(), func(p Peer) bool { return p.Name == name })
	if i < 0 || given && path == "" {
		return Peer{}, fmt.Errorf("peer %q: give one of %s, or NAME=PATH", text, strings.Join(Names(), ", "))
	}
	p := peers()[i]
	if given {
		p.Path = path
	}
	found, err := exec.LookPath(p.Path)
	if err != nil {
		return Peer{}, fmt.Errorf("peer %s: %w: install it, or give its path: %s=PATH", name, err, name)
	}
	p.Path = found
	return p, nil
}
