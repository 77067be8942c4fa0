package peer

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
)

// The part of Firecracker's configuration file that is used here (its documentation,
// docs/getting-started.md, and the API's definition, firecracker.yaml).
type firecrackerConfig struct {
	Boot struct {
		Kernel string `json:"kernel_image_path"`
		Initrd string `json:"initrd_path"`
		Args   string `json:"boot_args"`
	} `json:"boot-source"`
	Machine struct {
		CPUs   int `json:"vcpu_count"`
		Memory int `json:"mem_size_mib"`
	} `json:"machine-config"`
	Drives     []firecrackerDrive     `json:"drives"`
	Interfaces []firecrackerInterface `json:"network-interfaces,omitempty"`
}

type firecrackerDrive struct {
	ID       string `json:"drive_id"`
	Path     string `json:"path_on_host"`
	Root     bool   `json:"is_root_device"`
	ReadOnly bool   `json:"is_read_only"`
	Cache    string `json:"cache_type"`
}

type firecrackerInterface struct {
	ID  string `json:"iface_id"`
	Tap string `json:"host_dev_name"`
	MAC string `json:"guest_mac,omitempty"`
}

// firecracker takes a bzImage and --enable-pci from version 1.13 or so on: an older one says
// that it does not know them, and is left out of these cases.
func firecracker(path string, g Guest) ([]string, error) {
	switch {
	case g.Direct:
		return nil, unsupported("a disk past the page cache")
	case g.Vhost:
		return nil, unsupported("vhost")
	case g.Queues > 1:
		return nil, unsupported("several queues")
	case g.UserNet:
		return nil, unsupported("a network in user space")
	}
	var c firecrackerConfig
	c.Boot.Kernel, c.Boot.Initrd, c.Boot.Args = g.Kernel, g.Initrd, consoleArgs(g)
	c.Machine.CPUs, c.Machine.Memory = g.CPUs, g.MemoryMiB
	c.Drives = []firecrackerDrive{} // the file must have the list
	if g.Disk != "" {
		c.Drives = append(c.Drives, firecrackerDrive{ID: "d0", Path: g.Disk, Cache: "Unsafe"}) // no flushes to the medium, as with our writeback
	}
	if g.Tap != "" {
		c.Interfaces = append(c.Interfaces, firecrackerInterface{ID: "n0", Tap: g.Tap, MAC: g.MAC})
	}
	text, err := json.Marshal(c)
	if err != nil {
		return nil, err
	}
	file := filepath.Join(g.Dir, "firecracker.json")
	if err := os.WriteFile(file, text, 0o600); err != nil {
		return nil, fmt.Errorf("firecracker's configuration: %w", err)
	}
	// Its messages would be in the midst of the guest's console, and are not what is measured.
	args := []string{path, "--no-api", "--level", "Error"}
	if g.Transport == PCI {
		args = append(args, "--enable-pci")
	}
	return append(args, "--config-file", file), nil
}
