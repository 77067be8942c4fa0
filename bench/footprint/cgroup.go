package footprint

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"
)

// cgroupRoot is where cgroup v2 is mounted (cgroups(7)).
const cgroupRoot = "/sys/fs/cgroup"

// cgroup is a control group for one VMM, by which the kernel tells what it holds for it
// (Documentation/admin-guide/cgroup-v2.rst, memory.stat).
type cgroup struct {
	dir string
	fd  *os.File
}

// cgroups makes control groups. enabled says that the memory controller had to be given to
// the groups of this host first, and is to be taken from them again.
type cgroups struct {
	root    string
	enabled bool
	made    int
}

// newCgroups finds out whether this process can make control groups that count memory.
func newCgroups(root string) (*cgroups, error) {
	control := filepath.Join(root, "cgroup.subtree_control")
	text, err := os.ReadFile(control)
	if err != nil {
		return nil, fmt.Errorf("no control groups of version 2: %w", err)
	}
	g := &cgroups{root: root}
	if slices.Contains(strings.Fields(string(text)), "memory") {
		return g, nil
	}
	if err := os.WriteFile(control, []byte("+memory"), 0); err != nil {
		return nil, fmt.Errorf("control groups that count memory: %w", err)
	}
	g.enabled = true
	return g, nil
}

// make makes a group with nothing in it.
func (g *cgroups) make() (*cgroup, error) {
	g.made++
	dir := filepath.Join(g.root, fmt.Sprintf("gureum-bench-%d-%d", os.Getpid(), g.made))
	if err := os.Mkdir(dir, 0o755); err != nil {
		return nil, err
	}
	fd, err := os.Open(dir)
	if err != nil {
		return nil, errors.Join(err, os.Remove(dir))
	}
	return &cgroup{dir, fd}, nil
}

// close leaves the host's groups as they were.
func (g *cgroups) close() error {
	if !g.enabled {
		return nil
	}
	return os.WriteFile(filepath.Join(g.root, "cgroup.subtree_control"), []byte("-memory"), 0)
}

// emptied is how long a group may take to be empty once its processes have ended.
const emptied = 2 * time.Second

// remove takes an empty group away. The kernel takes processes out of it a moment after
// they have been waited for.
func (g *cgroup) remove() error {
	_ = g.fd.Close()
	for end := time.Now().Add(emptied); ; time.Sleep(5 * time.Millisecond) {
		err := os.Remove(g.dir)
		if err == nil || time.Now().After(end) {
			return err
		}
	}
}

// kernelMemory is what the kernel holds for a group, in bytes.
type kernelMemory map[string]float64

// The keys of memory.stat that are told, by figure.
var kernelFigures = []struct{ name, key string }{
	{"kernel memory", "kernel"},
	{"kernel memory: slab", "slab"},
	{"kernel memory: page tables", "pagetables"},
	{"kernel memory: per CPU", "percpu"},
	{"sockets' memory", "sock"},
}

func (g *cgroup) kernelMemory() (kernelMemory, error) {
	text, err := os.ReadFile(filepath.Join(g.dir, "memory.stat"))
	if err != nil {
		return nil, err
	}
	return parseKernelMemory(string(text))
}

// parseKernelMemory finds the figures in memory.stat. A kernel before 5.18 has no sum.
func parseKernelMemory(text string) (kernelMemory, error) {
	m := kernelMemory{}
	for line := range strings.Lines(text) {
		key, value, _ := strings.Cut(strings.TrimSpace(line), " ")
		for _, f := range kernelFigures {
			if f.key != key {
				continue
			}
			n, err := strconv.ParseUint(value, 10, 64)
			if err != nil {
				return nil, fmt.Errorf("memory.stat: %q: %w", line, err)
			}
			m[f.name] = float64(n)
		}
	}
	if len(m) == 0 {
		return nil, errors.New("memory.stat tells nothing of the kernel's memory")
	}
	return m, nil
}
