package vm

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/gureum/gureum/virtio/queue"
)

// rngCounters are those of the entropy device's queue.
func rngCounters(t *testing.T, m *Machine) queue.Counters {
	t.Helper()
	for _, d := range m.Counters() {
		if d.Name == "rng0" {
			return d.Queues[0]
		}
	}
	t.Fatal("no entropy device")
	return queue.Counters{}
}

// TestKVMTransports reads from the entropy device on both transports, with ACPI and
// without, and holds that a request takes no exit to user space: neither the kick
// nor the interrupt.
func TestKVMTransports(t *testing.T) {
	for _, c := range []struct {
		transport Transport
		appended  string
	}{
		{TransportMMIO, ""},
		{TransportMMIO, "acpi=off"},
		{TransportPCI, ""},
		{TransportPCI, "acpi=off"},
	} {
		t.Run(string(c.transport)+" "+c.appended, func(t *testing.T) {
			l := startLinux(t, Config{Transport: c.transport, Append: c.appended})
			const requests = 500
			read := fmt.Sprintf("dd if=/dev/hwrng of=/dev/null bs=64 count=%d 2>/dev/null", requests)
			l.sh(read)
			before, exits := rngCounters(t, l.Machine), l.Exits()["mmio"]
			l.sh(read)
			after, more := rngCounters(t, l.Machine), l.Exits()["mmio"]-exits
			// A request that comes while the device is still awake needs no kick.
			chains, kicks, raised := after.Chains-before.Chains, after.Kicks-before.Kicks, after.Interrupts-before.Interrupts
			if chains < requests || kicks < requests/2 || raised < requests/2 {
				t.Errorf("%d requests, %d chains, %d kicks, %d interrupts", requests, chains, kicks, raised)
			}
			// What is left is the agent's doing.
			if more > requests/10 {
				t.Errorf("%d requests took %d MMIO exits", requests, more)
			}
			if after.Errors != 0 {
				t.Errorf("counters %+v", after)
			}
			if log, _ := l.try("dmesg | grep -i virtio | grep -Eiv 'enabling device|registering device|command line:'"); strings.TrimSpace(log) != "" {
				t.Errorf("the guest says:\n%s", log)
			}
			if pci := l.sh("ls /sys/bus/pci/devices | wc -l") != "0"; pci != (c.transport == TransportPCI) {
				t.Errorf("there are PCI devices: %v", pci)
			}
		})
	}
}

// TestKVMFullBus has a guest find as many devices as a PCI bus has room for, each
// with its own interrupts and data.
func TestKVMFullBus(t *testing.T) {
	config := Config{Memory: 512 << 20, Transport: TransportAuto}
	dir := t.TempDir()
	for i := range maxDisks {
		path := filepath.Join(dir, fmt.Sprintf("disk%d.raw", i))
		if err := os.WriteFile(path, fmt.Appendf(nil, "%-511d\n", i), 0o600); err != nil {
			t.Fatal(err)
		}
		config.Disks = append(config.Disks, Disk{Path: path})
	}
	l := startLinux(t, config)
	devices := len(l.virtio.devices)
	if devices < maxDisks+3 {
		t.Fatalf("%d virtio devices", devices)
	}
	if n := l.sh("ls /sys/bus/pci/devices | wc -l"); n != fmt.Sprint(devices+1) {
		t.Errorf("%s PCI functions for %d devices and the bridge", n, devices)
	}
	if n := l.sh("ls -d /sys/bus/virtio/drivers/*/virtio* | wc -l"); n != fmt.Sprint(devices) {
		t.Errorf("%s of %d devices have a driver", n, devices)
	}
	// sda to sdz, then two letters, in whatever order: each disk once.
	seen := strings.Fields(l.sh("cat /dev/vd? /dev/vd??"))
	once := map[string]bool{}
	for _, s := range seen {
		once[s] = true
	}
	if len(seen) != maxDisks || len(once) != maxDisks {
		t.Errorf("disks say %v", seen)
	}
}
