package peer

import (
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

func full(t *testing.T) Guest {
	return Guest{
		Kernel: "/k", Initrd: "/i", Cmdline: "quiet", MemoryMiB: 300, CPUs: 3, Transport: PCI,
		Disk: "/d", Tap: "tap9", Queues: 1, Dir: t.TempDir(),
	}
}

// TestCommands: each adapter passes on all of a guest.
func TestCommands(t *testing.T) {
	for _, tt := range []struct {
		peer   Peer
		change func(*Guest)
		want   []string
	}{
		{Gureum("gureum"), func(g *Guest) { g.Vhost, g.Queues = true, 2 }, []string{
			"--memory 300M", "--cpus 3", "--transport pci", "--kernel /k", "--initrd /i", "--disk /d,format=raw,cache=writeback", "--net tap:tap9,vhost=on,queues=2",
		}},
		{byName("qemu"), func(g *Guest) { g.Direct = true }, []string{
			"-M q35", "-m 300", "-smp 3", "file=/d,if=none,id=d0,format=raw,cache=none,aio=native", "virtio-blk-pci,", "ifname=tap9,", "vhost=off", "virtio-net-pci,", "console=ttyS0 quiet",
		}},
		{byName("qemu"), func(g *Guest) { g.Transport, g.Queues, g.Vhost = MMIO, 4, true }, []string{
			"-M microvm,rtc=on", "virtio-blk-device,", "num-queues=3", "virtio-net-device,netdev=n0,mq=on", "vhost=on,queues=4",
		}},
		{Gureum("gureum"), func(g *Guest) { g.Tap, g.UserNet, g.MAC = "", true, "02:00:00:00:00:01" }, []string{"--net user,host=on,mac=02:00:00:00:00:01"}},
		{byName("qemu"), func(g *Guest) { g.Tap, g.UserNet, g.MAC = "", true, "02:00:00:00:00:01" }, []string{"-netdev user,id=n0 ", "netdev=n0,mac=02:00:00:00:00:01"}},
		{byName("cloud-hypervisor"), func(g *Guest) { g.Queues = 2 }, []string{
			"boot=3", "size=300M", "path=/d,direct=off,num_queues=3", "tap=tap9,num_queues=4", "--serial tty",
		}},
		{byName("kvmtool"), func(g *Guest) { g.BzImage, g.Vhost = true, true }, []string{
			"--mem 300", "--cpus 3", "--disk /d", "mode=tap,tapif=tap9,vhost=1", "reboot=k " + ResetWord,
		}},
		{byName("kvmtool"), func(g *Guest) { g.BzImage, g.Tap, g.Disk = true, "", "" }, []string{"mode=none"}},
	} {
		g := full(t)
		tt.change(&g)
		args, err := tt.peer.Command(g)
		text := strings.Join(args, " ")
		for _, want := range tt.want {
			if err != nil || !strings.Contains(text, want) {
				t.Errorf("%s: %v, %q lacks %q", tt.peer.Name, err, text, want)
			}
		}
	}
}

func byName(name string) Peer {
	i := slices.IndexFunc(peers(), func(p Peer) bool { return p.Name == name })
	return peers()[i]
}

func TestFirecrackerConfig(t *testing.T) {
	g := full(t)
	g.Transport = MMIO
	args, err := byName("firecracker").Command(g)
	if err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(args[len(args)-1])
	if err != nil {
		t.Fatal(err)
	}
	var c firecrackerConfig
	if err := json.Unmarshal(text, &c); err != nil {
		t.Fatal(err)
	}
	if c.Boot.Kernel != "/k" || c.Boot.Initrd != "/i" || !strings.Contains(c.Boot.Args, ResetWord) || c.Machine.CPUs != 3 || c.Machine.Memory != 300 ||
		len(c.Drives) != 1 || c.Drives[0].Path != "/d" || len(c.Interfaces) != 1 || c.Interfaces[0].Tap != "tap9" {
		t.Errorf("%s", text)
	}
}

// TestUnsupported: what a VMM lacks is said, not measured as something else.
func TestUnsupported(t *testing.T) {
	for _, tt := range []struct {
		name   string
		change func(*Guest)
	}{
		{"firecracker", func(g *Guest) { g.Vhost = true }},
		{"firecracker", func(g *Guest) { g.Direct = true }},
		{"firecracker", func(g *Guest) { g.Queues = 2 }},
		{"firecracker", func(g *Guest) { g.Tap, g.UserNet = "", true }},
		{"cloud-hypervisor", func(g *Guest) { g.Transport, g.Tap, g.UserNet = PCI, "", true }},
		{"kvmtool", func(g *Guest) { g.BzImage, g.Transport, g.Tap, g.UserNet = true, PCI, "", true }},
		{"cloud-hypervisor", func(g *Guest) {}},
		{"cloud-hypervisor", func(g *Guest) { g.Transport, g.Vhost = PCI, true }},
		{"kvmtool", func(g *Guest) { g.Transport = PCI }},
		{"kvmtool", func(g *Guest) { g.BzImage = true }},
		{"kvmtool", func(g *Guest) { g.BzImage, g.Transport, g.Queues = true, PCI, 2 }},
	} {
		g := full(t)
		g.Transport = MMIO
		tt.change(&g)
		if _, err := byName(tt.name).Command(g); !errors.Is(err, ErrUnsupported) {
			t.Errorf("%s, %+v: %v", tt.name, g, err)
		}
	}
}

func TestFind(t *testing.T) {
	path := filepath.Join(t.TempDir(), "vmm")
	if err := os.WriteFile(path, []byte("#!/bin/sh\necho vmm 1.2; echo more\n"), 0o700); err != nil {
		t.Fatal(err)
	}
	p, err := Find("firecracker=" + path)
	if err != nil || p.Path != path || !p.Reset {
		t.Errorf("%+v, %v", p, err)
	}
	if v, err := p.Version(t.Context()); err != nil || v != "vmm 1.2" {
		t.Errorf("version %q, %v", v, err)
	}
	for _, bad := range []string{"xen", "qemu=", "qemu=/no/such/program", ""} {
		if _, err := Find(bad); err == nil {
			t.Errorf("%q is found", bad)
		}
	}
	if !Named("qemu") || !Named("kvmtool=/x") || Named("kvmtool=") || Named("host") {
		t.Error("names")
	}
}
